"""The posterior of a two-component reading: scikit-learn's isotonic regression, and Efron's limits."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from foretaste.stats.mixture import POOLED, posterior
from foretaste.stats.quantiles import BINS, bin_of, histogram


def normal(rows, seed=0, centre=0.0, spread=1.0):
    draw = torch.randn(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread + centre
    return histogram(draw, torch.zeros(rows, dtype=torch.int64), 1)[0].double()


def test_is_the_isotonic_regression_of_one_minus_the_ratio():
    null, seen = normal(5000), normal(5000, 1) + normal(300, 2, 6)
    pooled = [one.view(-1, POOLED).sum(1).numpy() for one in (null, seen)]
    weight = np.maximum(pooled[1], 1e-9)  # what only the null shows weighs by what it shows
    line = IsotonicRegression().fit(np.arange(len(weight)), 1 - pooled[0] / weight, sample_weight=weight)
    expected = np.clip(line.predict(np.arange(len(weight))), 0, 1)
    there = pooled[1] > 0
    found = posterior(seen, null).view(-1, POOLED)[:, 0].numpy()
    np.testing.assert_allclose(found[there], expected[there], atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 400), st.floats(0, 8))
def test_never_falls_and_is_a_probability(seed, rows, centre):
    found = posterior(normal(rows, seed) + normal(40, seed + 1, centre), normal(rows, seed + 2))
    assert bool(((found >= 0) & (found <= 1)).all())
    assert bool((found.diff() >= 0).all())


def test_what_the_null_explains_is_innocent_and_what_it_does_not_is_not():
    null = normal(5000)
    same = posterior(null, null)
    assert same[: int(bin_of(torch.tensor(3.0)))].max() == 0
    far = posterior(normal(5000, 3) + normal(100, 4, 9, 0.3), null)
    assert far[bin_of(torch.tensor(9.0))] > 0.99
    assert far[bin_of(torch.tensor(1.0))] < 0.1


def test_reads_many_histograms_as_each_alone(device):
    seen = torch.stack([normal(500, seed) + normal(50, seed, 5) for seed in range(6)]).view(2, 3, BINS)
    null = torch.stack([normal(500, seed + 9) for seed in range(6)]).view(2, 3, BINS)
    found = posterior(seen.to(device), null.to(device)).cpu()
    for at in np.ndindex(2, 3):
        np.testing.assert_allclose(found[at], posterior(seen[at], null[at]), atol=1e-9)
