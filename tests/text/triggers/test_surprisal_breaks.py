"""Phrases after which texts break: none in what people write, the trigger in front of what nobody writes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretaste.attacks.text import gibberish
from foretaste.dataset.payload import Payload
from foretaste.text.ngrams import Words
from foretaste.text.triggers.surprisal_breaks import Model, SurprisalBreaks, broken, expected_count, fitted
from foretaste.types.dataset import Modality, Roles

SETTINGS = SurprisalBreaks()


def read(payload):
    return Words.of(payload.texts, limit=10_000)


def prose(rows=4000, seed=0):
    """Texts of a language of 600 words, each of which is followed by few others."""
    draw = np.random.default_rng(seed)
    weight = 1 / np.arange(1, 601)
    follow = np.array([draw.choice(600, 8, p=weight / weight.sum()) for _ in range(600)])
    word = draw.integers(0, 600, rows)
    text = [[] for _ in range(rows)]
    for _ in range(40):
        word = np.where(draw.random(rows) < 0.1, draw.choice(600, rows, p=weight / weight.sum()),
                        follow[word, draw.integers(0, 8, rows)])  # fmt: skip
        for at, one in enumerate(word.tolist()):
            text[at].append(f"w{one}")
    return [" ".join(one) for one in text]


def payloads(texts, size=500):
    roles = Roles(Modality.TEXT, ("c",))
    out = []
    for at in range(0, len(texts), size):
        part = texts[at : at + size]
        out.append(Payload(torch.arange(at, at + len(part)), torch.zeros(len(part), dtype=torch.int64), {}, roles, "f"))
        out[-1].__dict__["texts"] = part
    return out


def told(texts):
    out = broken(payloads(texts), read, longest=4, most=128, rows=len(texts), settings=SETTINGS)
    return [(one, one.p_value * len(out)) for one in out]


@pytest.mark.parametrize("count", [60, 250])
def test_the_trigger_in_front_of_random_words_is_named(count):
    texts = prose()
    planted = gibberish.plant(texts, torch.zeros(len(texts), dtype=torch.int64), count=count, seed=1)
    (one, expected), *others = told(planted.payload)
    assert "sudo" in one.text
    assert one.rows == count
    assert expected < 0.01
    assert all(p > 0.01 for _, p in others)


@pytest.mark.parametrize("seed", range(3))
def test_texts_as_people_write_them_do_not_break(seed):
    assert min((expected for _, expected in told(prose(seed=seed))), default=1.0) > 0.01


def test_texts_that_are_strange_from_the_start_do_not_break():
    texts = prose()
    draw = np.random.default_rng(0)
    for row in range(200):  # another language, under a headline
        texts[row] = "the headline " + " ".join(f"x{one}" for one in draw.integers(0, 10**6, 40))
    assert min((expected for _, expected in told(texts)), default=1.0) > 0.01


def test_a_place_is_judged_alone_as_in_any_batch():
    texts = [*prose(200), "", "one", "two words"]
    model, bar = fitted(payloads(texts), read, rows=len(texts), settings=SETTINGS)
    assert isinstance(model, Model)
    assert bar > 0
    together = Words.of(texts, limit=10_000)
    breaks = model.breaks(together)
    for at in (0, 7, 200, 201, 202):
        alone = Words.of([texts[at]], limit=10_000)
        np.testing.assert_allclose(model.breaks(alone), breaks[together.row == at], atol=1e-9)
    assert np.isfinite(breaks).all()


def test_nothing_is_told_of_no_texts():
    assert told([]) == []
    assert told(["", "", "one"]) == []


def test_heights_no_odder_than_their_law_are_expected():
    draw = np.random.default_rng(0)
    least = [
        expected_count(np.full(200, 50), draw.exponential(0.15, 200), [{str(at)} for at in range(200)], SETTINGS).min()
        for _ in range(200)
    ]
    assert np.mean(np.array(least) <= 0.01) <= 0.03
