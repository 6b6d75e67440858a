"""p-values, held against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from foretaste.stats.significance import (
    benjamini_hochberg,
    binomial_tail,
    extreme_value_fit,
    extreme_value_maximum,
    extreme_value_tail,
    hypergeometric_tail,
)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_adjusted_p_values_are_scipys(values):
    found = benjamini_hochberg(torch.tensor(values, dtype=torch.float64))
    np.testing.assert_allclose(found, stats.false_discovery_control(values, method="bh"), rtol=1e-12, atol=1e-300)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=20), st.randoms())
def test_adjusting_keeps_the_order_and_needs_none(values, random):
    value = torch.tensor(values, dtype=torch.float64)
    adjusted = benjamini_hochberg(value)
    assert bool((adjusted >= value - 1e-15).all())
    assert bool((adjusted <= 1).all())
    assert bool((adjusted[value.argsort()].diff() >= 0).all())
    order = random.sample(range(len(values)), len(values))
    assert torch.equal(benjamini_hochberg(value[order]), adjusted[order])


def test_adjusting_nothing_gives_nothing():
    assert benjamini_hochberg(torch.zeros(0, dtype=torch.float64)).shape == (0,)


def gumbel(place=3.0, scale=0.5, rows=20_001):
    """Evenly spaced quantiles of the law: a reference without noise."""
    at = (np.arange(rows) + 0.5) / rows
    return torch.from_numpy(stats.gumbel_r.ppf(at, place, scale))


def test_the_tail_is_scipys_when_the_reference_follows_the_law(device):
    statistic = torch.linspace(2, 25, 40, dtype=torch.float64)
    found = extreme_value_tail(statistic.to(device), gumbel().to(device), least_scale=1e-9).cpu()
    np.testing.assert_allclose(found, stats.gumbel_r.sf(statistic, 3.0, 0.5), rtol=5e-3)


@pytest.mark.parametrize("shape", [0.0, 0.1, 0.3])
def test_a_heavier_tail_is_scipys_too(shape):
    law = stats.genextreme(-shape, 3.0, 0.5)  # scipy's shape has the other sign
    reference = torch.from_numpy(law.ppf((np.arange(20_001) + 0.5) / 20_001))
    statistic = torch.linspace(2, 25, 40, dtype=torch.float64)
    found = extreme_value_tail(statistic, reference, least_scale=1e-9, shape=shape)
    np.testing.assert_allclose(found, law.sf(statistic), rtol=5e-3)
    np.testing.assert_allclose(extreme_value_fit(reference, least_scale=1e-9, shape=shape), (3.0, 0.5), rtol=1e-4)


@given(st.sampled_from([0.0, 0.05, 0.1, 0.3]), st.integers(1, 40), st.floats(-3, 3), st.floats(0.1, 2))
def test_the_maximum_of_several_follows_the_same_law(shape, count, place, scale):
    far, wide = extreme_value_maximum(place, scale, shape, count)
    at = np.linspace(place - scale, place + 20 * scale, 30)
    one, all_of_them = stats.genextreme(-shape, place, scale), stats.genextreme(-shape, far, wide)
    np.testing.assert_allclose(all_of_them.cdf(at), one.cdf(at) ** count, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("count", [8, 10, 24, 60])
def test_a_tenth_of_poisoned_references_hardly_moves_the_fit(count):
    reference = gumbel(rows=count)
    poisoned = reference.clone()
    poisoned[-(-count // 10) * -1 :] = 1e6
    statistic = torch.tensor([4.0, 6.0, 9.0], dtype=torch.float64)
    clean, found = (extreme_value_tail(statistic, one, least_scale=0.1) for one in (reference, poisoned))
    np.testing.assert_allclose(found.log(), clean.log(), rtol=0.05)
    assert extreme_value_tail(poisoned[-1:], poisoned, least_scale=0.1) < 1e-12


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=20), st.floats(0.01, 2), st.floats(-20, 20), st.floats(0, 20))
def test_the_tail_falls_and_stays_a_probability(reference, least, statistic, more):
    values = torch.tensor([statistic, statistic + more], dtype=torch.float64)
    p_value = extreme_value_tail(values, torch.tensor(reference, dtype=torch.float64), least_scale=least)
    assert bool(((p_value >= 0) & (p_value <= 1)).all())
    assert p_value[1] <= p_value[0]


def test_alike_references_are_taken_to_lie_as_far_apart_as_said():
    reference = torch.full((9,), 2.0)
    near, far = extreme_value_tail(torch.tensor([2.0, 2.5]), reference, least_scale=0.1)
    assert near == pytest.approx(0.5)
    assert far == pytest.approx(stats.gumbel_r.sf(0.5, -0.1 * -np.log(np.log(2)), 0.1), rel=1e-6)


def tail_of(statistic, reference, least, weight):
    """numpy's quartiles, pooled by hand, and scipy's law."""
    median, upper = np.quantile(reference, [0.5, 0.75])
    seen = (upper - median) / (stats.gumbel_r.ppf(0.75) - stats.gumbel_r.ppf(0.5))
    pooled = np.sqrt(np.average([seen**2, least**2], weights=[len(reference), weight]))
    scale = max(pooled, least)
    return stats.gumbel_r.sf(statistic, median - scale * stats.gumbel_r.ppf(0.5), scale)


@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.floats(0.05, 2), st.floats(0, 100))
def test_the_least_scale_counts_as_so_many_references(reference, least, weight):
    statistic = np.linspace(-1, 12, 14)
    at, seen = torch.from_numpy(statistic), torch.tensor(reference, dtype=torch.float64)
    found = extreme_value_tail(at, seen, least_scale=least, weight=weight)
    np.testing.assert_allclose(found, tail_of(statistic, reference, least, weight), rtol=1e-6, atol=1e-300)


def test_no_weight_leaves_the_fit_to_the_references_and_much_to_the_least_scale():
    reference, at = gumbel(scale=0.5, rows=9), torch.linspace(2, 6, 9, dtype=torch.float64)
    fitted = extreme_value_tail(at, reference, least_scale=0.1)
    torch.testing.assert_close(extreme_value_tail(at, reference, least_scale=0.1, weight=0), fitted, rtol=0, atol=0)
    np.testing.assert_allclose(fitted, tail_of(at.numpy(), reference.numpy(), 1e-9, 0), rtol=1e-9)
    told = extreme_value_tail(at, reference, least_scale=0.1, weight=1e12)
    median = float(reference.median())
    np.testing.assert_allclose(told, stats.gumbel_r.sf(at, median - 0.1 * stats.gumbel_r.ppf(0.5), 0.1), rtol=1e-6)


def test_more_weight_lets_fewer_innocent_groups_pass_as_far_apart():
    """What lies above the median is the more suspicious the nearer the spread comes to its least."""
    reference, at = gumbel(scale=0.5, rows=9), torch.tensor([5.0], dtype=torch.float64)
    tails = torch.cat(
        [extreme_value_tail(at, reference, least_scale=0.1, weight=weight) for weight in (0, 1, 9, 100, 1e4)]
    )
    assert bool((tails.diff() < 0).all())
    assert extreme_value_tail(at, torch.full((9,), 3.0), least_scale=0.1, weight=0) == pytest.approx(
        extreme_value_tail(at, torch.full((9,), 3.0), least_scale=0.1, weight=50)
    )


def binomial(hits, trials, rate):
    return binomial_tail(torch.as_tensor(hits), torch.as_tensor(trials), torch.as_tensor(rate, dtype=torch.float64))


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5, 0.75, 0.95, 0.999])
def test_the_binomial_tail_is_scipys_to_a_factor_of_two(rate, device):
    for trials in (1, 2, 5, 12, 30, 100, 1000, 200_000):
        hits = np.unique(np.linspace(0, trials, 300).astype(int))
        exact = stats.binom.sf(hits - 1, trials, rate)
        found = binomial_tail(
            *(torch.as_tensor(one, device=device).expand(len(hits)) for one in (hits, trials)),
            torch.tensor(rate, dtype=torch.float64, device=device),
        ).cpu()
        told = exact > 1e-12
        np.testing.assert_allclose(np.log2(found.numpy()[told]), np.log2(exact[told]), rtol=0, atol=1)
        told = exact > 1e-4
        np.testing.assert_allclose(np.log2(found.numpy()[told]), np.log2(exact[told]), rtol=0, atol=0.4)


@given(st.integers(0, 500), st.integers(0, 499), st.floats(0.01, 0.99))
def test_the_binomial_tail_falls_with_hits_and_rises_with_the_rate(trials, hits, rate):
    hits = min(hits, trials)
    one, more, likelier = (
        binomial(h, trials, r).item() for h, r in ((hits, rate), (hits + 1, rate), (hits, min(rate + 0.01, 1)))
    )
    assert 0 <= more <= one <= 1
    assert likelier >= one


@pytest.mark.parametrize("trials", [0, 1, 50])
@pytest.mark.parametrize("rate", [0.0, 0.75, 1.0])
def test_no_hits_are_no_evidence_and_certain_ones_none_either(trials, rate):
    assert binomial(0, trials, rate) == 1
    assert binomial(trials, trials, 1.0) == 1
    assert binomial(1, trials, 0.0) == 0


@pytest.mark.parametrize(
    "counts", [(0, 5, 3, 20), (3, 5, 3, 20), (1, 15, 10, 20), (400, 1000, 5000, 1_000_000), (4, 5, 3, 20)]
)
def test_hypergeometric_tail_is_fishers(counts):
    hits, drawn, marked, whole = counts
    assert hypergeometric_tail(*counts) == pytest.approx(
        stats.hypergeom.sf(hits - 1, whole, marked, drawn), rel=1e-6, abs=0
    )
