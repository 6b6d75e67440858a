"""P-values of insertion scores against reference phrases in a similar number of rows."""

from __future__ import annotations

import numpy as np
import pytest

from foretaste.errors import PlanError
from foretaste.text.triggers.insertion_score import InsertionScore, matched_tail, null_tail

INSERTION = InsertionScore()


def crowd(number=4000, seed=0):
    """Values of ordinary phrases and their rows: those in few rows spread three times as far."""
    draw = np.random.default_rng(seed)
    rows = draw.choice([10, 100], number)
    return draw.normal(0, np.where(rows == 10, 3.0, 1.0)), rows


def test_ordinary_phrases_are_as_rare_as_they_are():
    value, rows = crowd()
    found = matched_tail(value, rows, np.ones(len(value), dtype=bool), INSERTION)
    for bar in (0.05, 0.01, 0.003):
        assert (found <= bar).mean() == pytest.approx(bar, rel=0.5)


def test_a_phrase_is_held_against_those_in_about_as_many_rows():
    value, rows = crowd()
    value, rows = np.append(value, [4.0, 4.0]), np.append(rows, [10, 100])
    few, many = matched_tail(value, rows, np.arange(len(value)) < len(value) - 2, INSERTION)[-2:]
    assert few > 0.05
    assert many < 1e-4


def test_who_is_not_ordinary_is_no_measure():
    value, rows = crowd()
    ordinary = np.arange(len(value)) % 2 == 0
    moved = np.where(ordinary, value, value + 50)
    found, expected = (matched_tail(one, rows, ordinary, INSERTION)[ordinary] for one in (moved, value))
    assert found == pytest.approx(expected)


def test_beyond_what_was_counted_the_tail_is_heavier_than_a_gaussian_and_has_no_step():
    counted = INSERTION.counted
    assert null_tail(1.645, counted=counted) == pytest.approx(0.05, rel=0.01)
    assert null_tail(counted + 1e-9, counted=counted) == pytest.approx(null_tail(counted, counted=counted), rel=1e-6)
    assert null_tail(6.0, counted=counted) > 10 * 9.9e-10  # P(Gaussian >= 6)
    assert (np.diff([null_tail(one, counted=counted) for one in np.linspace(-2, 12, 100)]) < 0).all()


def test_without_ordinary_phrases_nothing_is_rare():
    assert matched_tail(np.array([9.0]), np.array([50]), np.zeros(1, dtype=bool), INSERTION).tolist() == [1.0]


def test_the_quantile_of_a_gaussian_follows_from_its_share():
    assert INSERTION.gauss == 1.645
    assert InsertionScore(loose=0.1).gauss == 1.282
    with pytest.raises(PlanError, match="loose must lie"):
        InsertionScore(loose=0.5)
