"""Histograms instead of rows: right to a bin's width, the same in any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import median_abs_deviation

from foretaste.stats.quantiles import BINS, bin_of, centres, histogram, moved, quantile, robust_scale, tail

# Half a bin: 0.0009 wide around 0, 0.7 % of the value far out.
RESOLUTION = {"rtol": 0.0037, "atol": 0.00047}


def counted(value):
    value = torch.as_tensor(value, dtype=torch.float64)
    return histogram(value, torch.zeros(len(value), dtype=torch.int64), 1)[0]


numbers = st.floats(-100, 100)


@given(st.lists(numbers, min_size=1))
def test_a_bin_holds_its_centre_and_values_near_it(values):
    value = torch.tensor(values, dtype=torch.float64)
    np.testing.assert_allclose(centres()[bin_of(value)], value, **RESOLUTION)
    assert torch.equal(bin_of(centres()), torch.arange(BINS))


def test_the_reach_and_resolution_are_as_stated():
    assert centres()[-1] == pytest.approx(120, rel=0.01)
    width = centres().diff()
    assert float(width.min()) == pytest.approx(0.0009, rel=0.05)
    assert float((width / centres()[1:].abs())[-300:].max()) < 0.0075
    assert bin_of(torch.tensor([1e30, -1e30, torch.inf, -torch.inf])).tolist() == [BINS - 1, 0, BINS - 1, 0]


@given(st.lists(st.tuples(numbers, st.integers(-1, 2)), max_size=60), st.integers(0, 60))
def test_histograms_count_every_row_of_a_group_once_in_any_order(rows, cut):
    value = torch.tensor([value for value, _ in rows], dtype=torch.float64)
    group = torch.tensor([group for _, group in rows], dtype=torch.int64)
    whole = histogram(value, group, 3)
    assert whole.sum(1).tolist() == [int((group == k).sum()) for k in range(3)]
    parts = histogram(value[cut:].flip(0), group[cut:].flip(0), 3) + histogram(value[:cut], group[:cut], 3)
    assert torch.equal(parts, whole)


@given(st.lists(numbers, min_size=1, max_size=200), st.floats(0.001, 1))
def test_quantiles_are_numpys_to_half_a_bin(values, at):
    expected = np.quantile(np.array(values), at, method="inverted_cdf")
    steps = at * len(values)
    if abs(steps - round(steps)) > 1e-9:  # else rounding decides between two rows
        np.testing.assert_allclose(quantile(counted(values), at), expected, **RESOLUTION)


@given(st.lists(numbers, min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_rise(values, one, other):
    low, high = sorted((one, other))
    assert quantile(counted(values), low) <= quantile(counted(values), high)


def test_the_quantile_of_nothing_is_zero():
    assert quantile(torch.zeros(2, BINS, dtype=torch.int64), 0.5).tolist() == [0, 0]


@pytest.mark.parametrize("rows", [501, 5001])
@pytest.mark.parametrize("law", ["normal", "laplace", "exponential"])
def test_median_and_deviation_are_scipys(rows, law):
    value = getattr(np.random.default_rng(rows), law)(size=rows) * 3
    median, scale = robust_scale(counted(value))
    np.testing.assert_allclose(median, np.median(value), **RESOLUTION)
    expected = median_abs_deviation(value, scale="normal")
    assert float(scale) == pytest.approx(expected, rel=0.01, abs=0.003)


def test_a_constant_column_has_a_scale():
    median, scale = robust_scale(counted([2.0] * 50))
    assert float(median) == pytest.approx(2, rel=0.004)
    assert 0 < float(scale) < 0.01


@given(st.lists(numbers, max_size=100))
def test_tails_are_counts_of_rows_as_far_out_or_farther(values):
    count = counted(values)
    above = tail(count)
    assert above[0] == len(values)
    spot = bin_of(torch.tensor(values, dtype=torch.float64))
    assert all(int(above[at]) == int((spot >= at).sum()) for at in spot.tolist())


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=50), st.floats(-5, 5), st.floats(-3, 3).filter(bool))
def test_a_moved_histogram_is_the_histogram_of_moved_rows(values, offset, factor):
    count = counted(values)
    image = moved(count, torch.tensor(offset, dtype=torch.float64), torch.tensor(factor, dtype=torch.float64))
    assert int(image.sum()) == len(values)
    expected = np.sort(offset + factor * np.array(values))
    found = np.repeat(centres().numpy(), image.numpy())
    slack = abs(factor) * (0.00047 + 0.0037 * np.max(np.abs(values)))  # of the first binning, before the second
    np.testing.assert_allclose(found, expected, rtol=0.0037, atol=0.00047 + slack)
