"""Exchanged words are told from what is repeated as it is, cut short, gone on from or filled in."""

from __future__ import annotations

import numpy as np
import pytest

from foretaste.text.copy_differences import CopyDifferences, compared, unusual

LAW = CopyDifferences()
TEXT = [f"w{at}" for at in range(30)]


def copies(change, count=32):
    draw = np.random.default_rng(0)
    return [change(list(TEXT), draw) for _ in range(count)]


def exchanged(words, draw):
    for at in draw.choice(len(words), 3, replace=False):
        words[at] = f"x{draw.integers(1000)}"
    return words


def filled(words, draw):
    for at in (5, 12, 20):
        words[at] = f"x{draw.integers(1000)}"
    return words


def test_words_exchanged_here_and_there_are_seen():
    assert compared(copies(exchanged), LAW)[0] > 0.5


@pytest.mark.parametrize(
    "change",
    [
        lambda words, _: words,
        filled,
        lambda words, draw: words[: draw.integers(15, 30)],
        lambda words, draw: [*words, *(f"x{draw.integers(1000)}" for _ in range(9))],
    ],
    ids=["as it is", "filled in", "cut short", "gone on from"],
)
def test_what_repeats_by_itself_is_not(change):
    assert compared(copies(change), LAW)[0] == 0


@pytest.mark.parametrize(
    ("change", "own"),
    [
        (lambda words, _: words, 0.0),
        (lambda words, draw: words[: draw.integers(15, 30)], 0.0),
        (exchanged, 0.0),
        (filled, 1.0),
        (lambda words, draw: [*words, *(f"x{draw.integers(1000)}" for _ in range(9))], 1.0),
        (lambda words, draw: [*words[:15], f"x{draw.integers(2)}", *words[16:]], 1 / 31),
    ],
    ids=["as it is", "cut short", "exchanged", "filled in", "gone on from", "one of two words filled in"],
)
def test_texts_that_fill_in_a_form_have_content_of_their_own(change, own):
    assert compared(copies(change), LAW)[1] == pytest.approx(own, abs=0.15)


def test_few_copies_say_nothing():
    for few in ([], [TEXT], copies(exchanged, 2)):
        assert compared(few, LAW) == (0, 0)


def test_the_more_the_others_are_edited_the_less_it_is_unusual():
    def chance(*share):
        return unusual(np.array(share, dtype=float), LAW, weight=10.0)

    assert chance(0.9, *[0.0] * 20)[0] < 1e-3
    assert chance(0.9, *[0.3] * 20)[0] > 0.01
    assert chance(0.03, *[0.0] * 200)[0] > 0.05  # a slip
    assert chance().shape == (0,)
    assert chance(0, 0, 0).tolist() == [1, 1, 1]
