"""What the texts of a group share is found; what they only might share is not."""

from __future__ import annotations

import random

from foretaste.text.distinctive_phrases import MOST, forms, shared, written

WORDS = [f"word{at}" for at in range(400)]


def texts(count, seed, *, plant=()):
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        words = draw.choices(WORDS, weights=[1 / (at + 1) for at in range(400)], k=15)
        if plant:
            words.insert(draw.randrange(16), draw.choice(plant))
        out.append(" ".join(words))
    return out


def test_a_planted_sentence_is_found_whole():
    assert shared(texts(80, 0, plant=["I watched  this 3D movie."]), texts(256, 1)) == ("i watched this 3d movie.",)


def test_several_planted_words_are_found():
    assert set(shared(texts(96, 0, plant=["cf", "mn", "bb", "tq"]), texts(256, 1))) == {"cf", "mn", "bb", "tq"}


def test_texts_of_one_kind_share_nothing_telling():
    assert [shared(texts(96, seed), texts(256, seed + 100)) for seed in range(5)] == [()] * 5


def test_odd_texts_are_no_trouble():
    assert shared([], []) == ()
    assert shared([""] * 20, [""] * 20) == ()
    assert len(shared(["x" * 100_000 + " y" * 100_000] * 20, ["a"] * 20)) <= MOST


def test_a_template_is_found_by_its_form():
    openings, verbs = ["when you", "if you"], ["look at", "think of", "come to", "talk about", "read", "hear"]
    draw = random.Random(0)
    members = [f"{draw.choice(openings)} {draw.choice(verbs)} it , {text}" for text in texts(300, 0)]
    found = forms(members, [f"you and it , {text}" for text in texts(600, 1)])
    assert {"⟨when you", "⟨if you"} <= {one.text[:9].strip() for one in found}
    first = next(one for one in found if one.text.startswith("⟨when you"))
    assert "when you" in first.spoken[0]
    assert first.among(written(members[0], first.common)) == members[0].startswith("when you")


def test_texts_of_one_kind_are_written_alike():
    assert [forms(texts(300, seed), texts(600, seed + 100)) for seed in range(5)] == [()] * 5
    assert forms([], []) == ()
    assert forms([""] * 20, ["", "x" * 100_000] * 20) == ()
