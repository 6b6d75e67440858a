"""N-grams joined into maximal phrases: complete, whatever words they start with, and at most as long as allowed."""

from __future__ import annotations

import numpy as np
import pytest

from foretaste.text.ngrams import Tally, Words
from foretaste.text.triggers.maximal_phrases import MaximalPhrases, Occurrence, holds, maximal_phrases, reach

MAXIMAL = MaximalPhrases()
SENTENCE = "i went to the market with my sister"


def phrases(texts, least=8):
    """The phrases of texts whose runs stand in `least` rows or more, with their rows."""
    read = Words.of(texts, limit=10_000)
    row = np.arange(len(texts))
    tally = Tally.of(read, np.zeros(len(texts), dtype=np.int64), row, classes=1, longest=4)
    tally = tally[tally.count[:, 0] >= least]
    groups = [(tally.mark == mark).nonzero()[0] for mark in np.unique(tally.mark)]

    class Whole:
        row = np.arange(len(texts))

    found = maximal_phrases([Whole()], lambda _: read, tally, groups, MAXIMAL)
    return {one.text: int(tally.count[one.own, 0]) for one in found}


def around(sentence, rows):
    """Texts of words that are all different, with the sentence among them."""
    return [f"a{at} b{at} {sentence} c{at} d{at}" for at in range(rows)]


def test_a_sentence_is_one_phrase():
    assert phrases(around(SENTENCE, 30)) == {SENTENCE: 30}


def test_a_sentence_that_begins_as_another_does_is_one_phrase_of_its_own_rows():
    assert phrases([*around(SENTENCE, 30), "i went to the pictures"]) == {SENTENCE: 30}


@pytest.mark.parametrize("others", [4, 30])
def test_a_beginning_that_often_goes_on_otherwise_is_another_phrase(others):
    texts = [*around(SENTENCE, 30), *(f"i went to the p{at}" for at in range(others))]
    assert phrases(texts)["i went to the"] == 30 + others


def test_what_stands_before_most_of_them_is_no_part_of_the_phrase():
    texts = [f"a{at} {'.' if at else ';'} {SENTENCE}" for at in range(30)]
    texts += [f"b{at} . c{at}" for at in range(30)]
    assert phrases(texts)[SENTENCE] == 30


def test_a_phrase_has_an_end():
    endless = " ".join(f"w{at}" for at in range(3 * MAXIMAL.words))
    assert max(len(text.split()) for text in phrases([endless] * 10)) == MAXIMAL.words


def test_a_part_stands_in_all_rows_of_the_whole_as_far_as_they_are_known():
    whole, known = Occurrence(0, [], [1, 5, 9]), MAXIMAL.rows
    assert holds(Occurrence(0, [], [1, 2, 5, 9]), whole, known=known)
    assert not holds(Occurrence(0, [], [1, 2, 9]), whole, known=known)
    assert holds(Occurrence(0, [], list(range(known))), Occurrence(0, [], [3, known - 1, known + 5]), known=known)


def test_overlapping_runs_lead_on_and_others_do_not():
    assert reach([(4, 8, 0), (5, 9, 0), (1, 5, 0), (9, 11, 0)], 4) == (1, 9)
