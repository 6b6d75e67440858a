import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch

from foretaste.stats import quantiles
from foretaste.stats.binormal import mixed, normal_scores


def test_the_mixture_is_the_one_that_maximises_the_likelihood() -> None:
    generator = np.random.default_rng(0)
    score = np.concatenate([generator.normal(size=60), generator.normal(2.2, 1, size=400)])
    spot = quantiles.bin_of(torch.from_numpy(score))
    normal = quantiles.centres()[None]
    share, place, gain = mixed(normal, torch.bincount(spot, minlength=quantiles.BINS)[None], fewest=20)
    score = quantiles.centres()[spot].numpy()

    def loss(at: np.ndarray) -> float:
        density = at[0] * scipy.stats.norm.pdf(score) + (1 - at[0]) * scipy.stats.norm.pdf(score, at[1])
        return -float(np.log(density).sum())

    best = scipy.optimize.minimize(loss, [0.1, 2.0], bounds=[(1e-6, 0.999), (0, 5)])
    without = scipy.stats.norm.logpdf(score, score.mean()).sum()
    assert float(share) == pytest.approx(best.x[0], abs=2e-3)
    assert float(place) == pytest.approx(best.x[1], abs=5e-3)
    assert float(gain) == pytest.approx(-best.fun - without, abs=0.01)


def test_rows_of_other_classes_have_normal_scores() -> None:
    doubt = torch.rand(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 9
    count = quantiles.histogram(doubt, torch.zeros(5000, dtype=torch.int64), 1)
    score = normal_scores(count)[0, quantiles.bin_of(doubt)].numpy()
    assert scipy.stats.kstest(score, "norm").statistic < 0.01
    order = doubt.argsort()
    assert (np.diff(score[order.numpy()]) <= 0).all()
