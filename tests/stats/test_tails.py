"""Tails held against tails: the m-th most extreme rows compared, as numpy sorts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foretaste.stats.quantiles import BINS, bin_of, histogram
from foretaste.stats.tails import QUARTILE, chosen, side

FEWEST = 8


def drawn(seed, rows=600, **planted):
    """Gaussian rows, the first of them replaced by `planted` values."""
    value = np.random.default_rng(seed).normal(size=rows)
    for at, number in planted.values():
        value[:number] = at
    return value


def counted(value):
    value = torch.as_tensor(value, dtype=torch.float64)
    return histogram(value, torch.zeros(len(value), dtype=torch.int64), 1)


def held(own, *nulls, median=0.0, scale=1.0, fewest=FEWEST, most=0.25):
    place, unit = (torch.tensor([one], dtype=torch.float64) for one in (median, scale))
    nulls = [counted(one) for one in nulls]
    return side(counted(own), nulls, median=place, scale=unit, fewest=fewest, most=most)


def sorted_out(own, *nulls, median=0.0, scale=1.0, fewest=FEWEST, most=0.25):
    """The excess from the rows themselves: m-th largest of `own` against the same quantile of the farthest null."""
    rows, excess, m = len(own), 0.0, fewest
    while m <= rows * most:
        ours = np.sort(own)[rows - m]
        theirs = max(np.quantile(one, 1 - (m - 0.5) / rows, method="inverted_cdf") for one in nulls)
        out, null = (max((value - median) / scale, QUARTILE) for value in (ours, theirs))
        excess, m = max(excess, np.log(out / null)), 2 * m
    return excess


@pytest.mark.parametrize("seed", range(4))
def test_what_comes_from_the_null_does_not_reach_farther(seed):
    own, null = drawn(seed, 2000), drawn(seed + 50, 2000)
    assert held(own, null).excess < 0.3
    assert held(own, own).excess == 0
    assert held(own / 2, own).excess == 0


def test_a_group_too_small_for_so_many_rows_to_be_its_tail_has_none():
    own = np.full(31, 50.0)
    assert held(own, drawn(0)).excess == 0  # 8 of 31 rows are more than a quarter
    assert held(np.full(32, 50.0), drawn(0)).excess > 2
    assert held(own, drawn(0), most=0.5).excess > 2


@pytest.mark.parametrize("planted", [0, 8, 13, 40, 200])
@pytest.mark.parametrize(("median", "scale"), [(0.0, 1.0), (-0.6, 1.7), (0.4, 0.5)])
@pytest.mark.parametrize("most", [0.25, 0.5])
def test_the_excess_is_that_of_numpys_sorted_rows(planted, median, scale, most):
    own, nulls = drawn(planted, poison=(6.0, planted)), (drawn(2, 900), 1.3 * drawn(3, 350))
    how = {"median": median, "scale": scale, "most": most}
    # Two values, each right to half a bin of 0.7 %, held against the median.
    assert held(own, *nulls, **how).excess.item() == pytest.approx(sorted_out(own, *nulls, **how), abs=0.02)


@pytest.mark.parametrize("fewest", [1, 8, 16])
@pytest.mark.parametrize("rows", [64, 600, 4097])
def test_as_many_rows_as_asked_for_are_enough_and_one_less_is_not(rows, fewest):
    null = drawn(1, rows)
    own, short = (drawn(0, rows, p=(30.0, number)) for number in (fewest, fewest - 1))
    enough, missed = (held(one, null, fewest=fewest).excess.item() for one in (own, short))
    assert enough == pytest.approx(np.log(30 / max(np.sort(null)[-fewest], QUARTILE)), abs=0.02)
    assert missed == pytest.approx(sorted_out(short, null, fewest=fewest), abs=0.02)
    assert missed < enough - 1.5


def test_many_planted_rows_are_seen_beyond_the_fewest():
    """A null with a handful of odd rows hides as many planted ones, not ten times as many."""
    own, null = drawn(0, p=(5.0, 80)), drawn(1, p=(5.0, 12))
    assert held(own, null).excess.item() == pytest.approx(sorted_out(own, null), abs=0.02)
    assert held(own, null).excess > 0.8
    assert held(drawn(0, p=(5.0, 12)), null).excess < 0.3


def test_of_several_nulls_the_farther_one_counts():
    own, near, far = drawn(0, p=(6.0, 40)), drawn(1, 2000), 2.5 * np.abs(drawn(2, 2000))
    both, swapped, one = held(own, near, far), held(own, far, near), held(own, far)
    assert both.excess == swapped.excess == one.excess
    assert both.excess < held(own, near).excess - 0.5
    assert torch.equal(both.posterior, one.posterior)
    assert bool((both.p_row >= held(own, near).p_row).all())


def test_the_p_value_of_a_row_is_the_share_of_null_rows_in_its_bin_or_farther_out():
    own, near, far = drawn(0, p=(6.0, 40)), drawn(1, 500), drawn(2, 800) - 0.5
    p_row = held(own, near, far).p_row[0]
    for at in (-2.0, 0.0, 0.7, 2.5, 50.0):
        bin_ = int(bin_of(torch.tensor(at)))
        share = max(np.mean(bin_of(torch.from_numpy(one)).numpy() >= bin_) for one in (near, far))
        assert p_row[bin_].item() == pytest.approx(max(share, 1 / (2 * 800 + 2)))


def test_planted_rows_are_told_from_the_null_by_their_posterior():
    found = held(drawn(0, p=(6.0, 40)), drawn(1, 5000)).posterior[0]
    assert found[bin_of(torch.tensor(6.0))] > 0.95
    assert found[bin_of(torch.tensor(1.0))] < 0.2
    innocent = held(drawn(0), drawn(1, 5000)).posterior[0]
    assert innocent[bin_of(torch.tensor(1.5))] < 0.3


numbers = st.lists(st.floats(-150, 150), max_size=60)


@settings(max_examples=25, deadline=None)
@given(numbers, st.lists(numbers, min_size=1, max_size=2), st.floats(-5, 5), st.floats(0.001, 5))
def test_rows_farther_out_are_the_likelier_ones_whatever_the_data(own, nulls, median, scale):
    one = held(own, *nulls, median=median, scale=scale)
    assert bool(((one.p_row > 0) & (one.p_row <= 1)).all())
    assert bool((one.p_row.diff() <= 0).all())
    assert bool(((one.posterior >= 0) & (one.posterior <= 1)).all())
    assert bool((one.posterior.diff() >= 0).all())
    assert bool((one.excess >= 0).all())
    assert bool(one.excess.isfinite().all())


def test_the_side_that_reaches_farther_out_is_chosen():
    """Four directions at once: planted on the right, on the left, on both unequally, and nowhere."""
    lower, upper = [0.0, -9.0, -9.0, 0.0], [9.0, 0.0, 5.0, 0.0]
    rows = np.stack([drawn(k) for k in range(4)])
    for value, left, right in zip(rows, lower, upper, strict=True):
        value[:20], value[20:40] = left or value[:20], right or value[20:40]
    own, null = (torch.cat([counted(one) for one in many]) for many in (rows, [drawn(9, 2000)] * 4))
    middle, unit = torch.zeros(4, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    right, left = (
        side(a, [b], median=middle, scale=unit, fewest=FEWEST, most=0.25)
        for a, b in ((own, null), (own.flip(-1), null.flip(-1)))
    )
    far, first = chosen([right, left])
    assert first[:3].tolist() == [True, False, False]
    assert torch.equal(far.excess, torch.maximum(right.excess, left.excess))
    assert bool((far.excess[:3] > 1).all())
    assert far.excess[3] < 0.3
    for k, taken in enumerate(right if one else left for one in first):
        assert torch.equal(far.posterior[k], taken.posterior[k])
        assert torch.equal(far.p_row[k], taken.p_row[k])
    assert far.p_row.shape == far.posterior.shape == (4, BINS)


def test_sides_that_are_alike_give_the_right_one():
    value = np.concatenate([drawn(0), -drawn(0)])
    one = held(value, value)
    assert chosen([one, one])[1].tolist() == [True]
