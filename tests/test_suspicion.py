"""Suspicion: several weak phrases are strong together, honest ones are not, and the error is shared out whole."""

from __future__ import annotations

import numpy as np
import pytest

from auditors.suspicion import shared, together


def sets(p_value, family=None):
    """P-values of one family of phrases that lead to one class."""
    mine = np.ones(len(p_value), dtype=bool) if family is None else family
    return together(p_value, mine, np.zeros(len(p_value), dtype=np.int64))


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
    assert (together(p_value, np.ones(40, dtype=bool), np.arange(40) % 2) == 1).all()


def test_the_error_is_shared_out_whole_and_the_commoner_phrases_get_more():
    rows = np.array([8.0, 8.0, 64.0, 512.0])
    family = np.array([True, False, True, True])
    bar = 0.01 / 4 / shared(np.full(4, 0.01 / 4), rows, family)[family] * 0.01 / 4  # p-values that come out as 0.01 / 4
    assert bar.sum() == pytest.approx(0.01)
    assert (np.diff(bar) > 0).all()
    assert shared(np.full(4, 1e-6), rows, family)[1] == 1
