import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch

from foretaste.stats import quantiles
from foretaste.stats.binormal import mixed, normal_scores


def counted(score: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Normal scores of bins, descending, counts of rows in them, and the scores that rows have in their bins."""
    normal = quantiles.centres().flip(-1)
    spot = quantiles.BINS - 1 - quantiles.bin_of(torch.from_numpy(score))
    return normal[None], torch.bincount(spot, minlength=quantiles.BINS)[None], normal[spot].numpy()


@pytest.mark.parametrize("spread", [1.0, 1.4])
def test_the_mixture_is_the_one_that_maximises_the_likelihood(spread: float) -> None:
    generator = np.random.default_rng(0)
    score = np.concatenate([generator.normal(size=60), generator.normal(4, spread, size=400)])
    normal, own, score = counted(score)
    fit = mixed(normal, own, fewest=20)

    def loss(at: np.ndarray) -> float:
        native = scipy.stats.norm.pdf(score, at[1], at[2])
        return -float(np.log(at[0] * scipy.stats.norm.pdf(score) + (1 - at[0]) * native).sum())

    best = scipy.optimize.minimize(loss, [0.1, 3.0, 1.2], bounds=[(1e-6, 0.999), (0, 9), (1, 5)])
    without = scipy.stats.norm.logpdf(score, score.mean(), max(score.std(), 1)).sum()
    assert float(fit.share) == pytest.approx(best.x[0], abs=2e-3)
    assert float(fit.mean) == pytest.approx(best.x[1], abs=1e-2)
    assert float(fit.spread) == pytest.approx(best.x[2], abs=1e-2)
    assert float(fit.gain) == pytest.approx(-best.fun - without, abs=0.01)


def test_a_wide_distribution_is_no_share_of_foreign_rows() -> None:
    """Rows that a classifier knows by degrees, against as many rows at zero among well-known ones."""
    generator = np.random.default_rng(1)
    graded = [mixed(*counted(generator.normal(1.8, 1.5, size=150))[:2], fewest=20) for _ in range(40)]
    assert np.quantile([float(fit.gain) for fit in graded], 0.9) < 3
    planted = np.concatenate([generator.normal(size=30), np.full(120, 3.1)])
    assert float(mixed(*counted(planted)[:2], fewest=20).gain) > 20


def test_the_more_doubted_a_row_the_more_probably_it_is_foreign() -> None:
    generator = np.random.default_rng(2)
    normal, own, _ = counted(np.concatenate([generator.normal(size=30), generator.normal(3, 2, size=300)]))
    odds = mixed(normal, own, fewest=20).odds(normal)[0]
    assert bool((odds.diff() >= 0).all())


def test_rows_of_other_classes_have_normal_scores() -> None:
    doubt = torch.rand(5000, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 9
    count = quantiles.histogram(doubt, torch.zeros(5000, dtype=torch.int64), 1)
    score = normal_scores(count)[0, quantiles.bin_of(doubt)].numpy()
    assert scipy.stats.kstest(score, "norm").statistic < 0.01
    order = doubt.argsort()
    assert (np.diff(score[order.numpy()]) <= 0).all()
