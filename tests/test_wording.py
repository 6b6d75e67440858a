"""What the texts of a group share is found; what they only might share is not."""

from __future__ import annotations

import random

from auditors.wording import MOST, shared

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
