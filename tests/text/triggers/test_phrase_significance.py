"""P-values of phrases: weak phrases are significant as a set, natural ones are not, and the error rate is used up."""

from __future__ import annotations

import numpy as np
import pytest

from foretaste.errors import PlanError
from foretaste.text.triggers.insertion_score import InsertionScore
from foretaste.text.triggers.label_contradiction import Contradicted
from foretaste.text.triggers.phrase_significance import (
    PhraseSignificance,
    phrase_p_values,
    set_p_values,
    similar_reference,
    weighted_bonferroni,
    with_companions,
)

SIGNIFICANCE, INSERTION = PhraseSignificance(), InsertionScore()
AKIN, CROWD, TAKEN = SIGNIFICANCE.akin, INSERTION.reference, SIGNIFICANCE.taken


def sets(p_value, family=None):
    """P-values of one family of phrases that lead to one class."""
    mine = np.ones(len(p_value), dtype=bool) if family is None else family
    return set_p_values(p_value, mine, np.zeros(len(p_value), dtype=np.int64), taken=TAKEN)


def test_honest_phrases_form_no_set():
    draw = np.random.default_rng(0)
    failed = sum(bool(sets(draw.random(80)).min() <= 0.01) for _ in range(400))
    assert failed <= 12  # 4 expected of 400


def test_five_weak_phrases_are_strong_together_and_nobody_else_is_taken_along():
    p_value = np.random.default_rng(1).uniform(0.1, 1, 80)
    p_value[:5] = 0.003
    found = sets(p_value)
    assert (found[:5] < 1e-4).all()
    assert (found[5:] == 1).all()


def test_one_phrase_is_no_set_and_others_than_the_family_are_not_looked_at():
    p_value = np.full(80, 0.5)
    p_value[:5] = 1e-3
    assert (sets(p_value, np.arange(80) >= 4) == 1).all()


def test_sets_of_different_classes_are_not_mixed():
    p_value = np.full(40, 0.5)
    p_value[:2] = 1e-3
    assert (set_p_values(p_value, np.ones(40, dtype=bool), np.arange(40) % 2, taken=TAKEN) == 1).all()


def test_the_error_of_a_class_is_shared_out_whole():
    share, home = np.array([3.0, 3.0, 6.0, 9.0, 1.0]), np.array([0, 0, 0, 0, 1])
    family = np.array([True, False, True, True, True])
    p_value = np.full(5, 1e-3)
    out = weighted_bonferroni(p_value, share, family, home)
    assert out[1] == 1
    bar = 1e-3 * p_value / out  # p-values that come out as 1e-3
    assert bar[[0, 2, 3]].sum() == pytest.approx(5e-3)  # of one of five phrases, as all p-values of phrases
    assert bar[[0, 2, 3]] / bar[0] == pytest.approx([1, 2, 3])
    assert bar[4] == pytest.approx(5e-3)  # alone in its class


ONE = np.zeros(60, dtype=np.int64)


def test_what_goes_with_a_trigger_is_as_sure_as_it_and_no_surer():
    chance, p_value = np.full(60, 0.9), np.full(60, 0.5)
    chance[:2], p_value[:2] = [1e-6, 1e-5], 1e-4
    p_value[2:5] = 2e-3
    out = with_companions(chance, p_value, np.ones(60, dtype=bool), ONE, taken=TAKEN)
    simes = (np.sort(out) / np.arange(1, 61)).min()
    assert simes == pytest.approx(1e-6)
    assert (out[2:5] <= 5e-6).all()
    assert (out[5:] == 0.9).all()
    assert out[:2] == pytest.approx([1e-6, 2e-6])


def test_nothing_goes_with_a_trigger_of_another_class_or_outside_the_family():
    chance, p_value = np.full(60, 0.9), np.full(60, 0.5)
    chance[0], p_value[:4] = 1e-6, 2e-3
    home = ONE.copy()
    home[2:] = 1
    family = np.arange(60) != 1
    assert (with_companions(chance, p_value, family, home, taken=TAKEN)[1:] == 0.9).all()


def test_the_measure_are_ordinary_phrases_in_texts_like_any_or_the_nearest_to_it():
    akin = np.append(np.linspace(0, 100, 400), -5.0)
    peer = np.append(np.ones(400, dtype=bool), False)
    found, wider = (similar_reference(one, peer, most=AKIN, fewest=CROWD) for one in (akin, akin / 50))
    assert found.sum() == CROWD
    assert found[:CROWD].all()
    assert wider.sum() == (akin[:400] / 50 <= AKIN).sum() > CROWD


def crowded(akin, place=None, seed=0):
    """The p-value of a loose phrase with true labels, whose rows are so akin, among 300 ordinary ones and 9 others."""
    draw = np.random.default_rng(seed)
    number = 310
    loose, rows = draw.normal(0, 1, number), np.full(number, 60)
    loose[0] = 6.0
    lies, said = draw.normal(0, 0.1, number), np.full(number, 0.1)
    lies[0] = lies[0] if place is None else place
    against = Contradicted(lies, np.full(number, 0.5), said, said)
    kin = draw.normal(0, 1, number)
    kin[0] = akin
    none, every = np.zeros(number, dtype=bool), np.ones(number, dtype=bool)
    words, home = np.ones(number, dtype=np.int64), np.zeros(number, dtype=np.int64)
    return phrase_p_values(
        loose, rows, words, none, every, home, against, kin, np.arange(number) >= 10, significance=SIGNIFICANCE,
        insertion=INSERTION,
    )  # fmt: skip


def test_a_loose_phrase_in_texts_like_any_of_its_class_is_suspected():
    out = crowded(akin=0.5)
    assert out[0] * 10 < 1e-4
    assert (out[1:] * 10 > 0.01).all()


def test_what_its_texts_are_about_is_suspected_only_if_they_contradict_their_label():
    assert crowded(akin=2 * AKIN)[0] == 1
    assert crowded(akin=2 * AKIN, place=1.0)[0] * 10 < 1e-4
    assert crowded(akin=2 * AKIN, place=0.4)[0] == 1  # they say less than the class's texts do, and nothing else


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.0, 0.5), (0.5, 0.0)])
def test_shares_of_the_error_that_leave_none_for_a_test_are_refused(shares):
    with pytest.raises(PlanError, match="error"):
        PhraseSignificance(error_changed=shares[0], error_loose=shares[1])
