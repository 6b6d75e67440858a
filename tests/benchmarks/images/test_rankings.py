"""The published formulas, against independent computations and on what they were made for."""

import numpy as np
import pytest
from scipy.linalg import expm
from sklearn.covariance import MinCovDet
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.images import rankings


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def crowd(draw, *, classes=2, rows=400, dim=20, planted=20, length=8.0):
    """Classes of normal rows, some rows of the last one moved along one axis: values, labels, which are moved."""
    value = draw.normal(size=(classes * rows, dim))
    label = np.repeat(np.arange(classes), rows)
    moved = np.zeros(classes * rows, dtype=bool)
    moved[-planted:] = True
    value[moved, 0] += length
    return value, label, moved


def found(ranking, moved):
    """Of the moved rows, those among as many worst ones."""
    return moved[np.argsort(-ranking.score)[: moved.sum()]].mean()


def test_que_is_the_formula_of_the_paper(draw):
    value = draw.normal(size=(300, 6)) * [2, 1, 1, 1, 1, 1]
    covariance = value.T @ value / 300
    weight = expm(4 * (covariance - np.eye(6)) / (np.linalg.norm(covariance, 2) - 1))
    by_hand = np.einsum("ni,ij,nj->n", value, weight, value) / np.trace(weight)
    np.testing.assert_allclose(rankings.que(value), by_hand, rtol=1e-9)


@pytest.mark.parametrize("dim", [2, 4, 16])
def test_the_robust_covariance_is_that_of_scikit_learn(draw, dim):
    value = draw.normal(size=(800, dim)) @ (np.eye(dim) + 0.3 * draw.normal(size=(dim, dim)))
    value[:80] += 15.0
    centre, covariance = rankings.robust(value)
    known = MinCovDet(random_state=0).fit(value)
    scale = np.sqrt(np.diag(known.covariance_))
    assert np.abs((centre - known.location_) / scale).max() < 0.1
    assert np.abs((covariance - known.covariance_) / np.outer(scale, scale)).max() < 0.12
    assert np.cov(value.T).max() > 5 * covariance.max()  # which the rows that were moved would have made


def test_spectre_needs_the_robust_covariance(draw):
    """Among directions that vary more by nature the first one says nothing, and QUE finds what is too much."""
    value, label, moved = crowd(draw, length=6.0)
    value[:, 1] *= 10
    assert found(rankings.in_each(value, label, rankings.first_direction), moved) < 0.2
    assert found(rankings.in_each(value, label, rankings.spectre), moved) > 0.9


def test_the_first_direction_is_the_first_singular_vector(draw):
    value = draw.normal(size=(200, 5)) * [1, 5, 1, 1, 1] + 3
    centred = value - value.mean(0)
    by_hand = (centred @ np.linalg.svd(centred)[2][0]) ** 2
    np.testing.assert_allclose(rankings.first_direction(value), by_hand, rtol=1e-6)


def test_every_class_loses_as_much(draw):
    value, label, _ = crowd(draw)
    dropped = rankings.in_each(value, label, rankings.first_direction).dropped
    assert [dropped[label == k].sum() for k in (0, 1)] == [30, 30]


def test_classes_of_other_units_compare(draw):
    label = np.repeat([0, 1], 500)
    score = draw.normal(size=1000) * np.where(label == 1, 50, 1) + np.where(label == 1, -300, 0)
    assert 30 < (label[np.argsort(-rankings.standardised(score, label))[:100]] == 0).sum() < 70


def test_whitening_leaves_only_what_a_class_has_alone(draw):
    value, label, moved = crowd(draw, classes=6)
    value[:, 1] *= 10
    inner = rankings.whitened(value, label)
    np.testing.assert_allclose((inner**2).sum(1), inner.shape[1])
    assert found(rankings.in_each(inner, label, rankings.first_direction), moved) > 0.8


def test_scan_drops_the_smaller_part_of_the_class_that_falls_in_two(draw):
    value = draw.normal(size=(1600, 10))
    label = np.repeat(np.arange(8), 200)
    moved = np.zeros(1600, dtype=bool)
    moved[:60] = True
    value[moved] += 4
    ranking = rankings.scan(value, label)
    assert found(ranking, moved) > 0.95
    assert ranking.dropped[moved].mean() > 0.95
    assert ranking.dropped[~moved].mean() < 0.01
    assert not rankings.scan(draw.normal(size=(1600, 10)), label).dropped.any()


def test_the_nearest_rows_are_those_of_scikit_learn(draw):
    value, label, _ = crowd(draw)
    (own, own_row), (other, other_row) = rankings.nearest(value.astype(np.float32), label, 5)
    for k in (0, 1):
        mine, theirs = np.flatnonzero(label == k), np.flatnonzero(label != k)
        distance, at = NearestNeighbors(n_neighbors=5).fit(value[mine]).kneighbors()  # no row is its own neighbour
        np.testing.assert_allclose(own[mine], distance, rtol=1e-4)
        assert (own_row[mine] == mine[at]).mean() > 0.99
        distance, at = NearestNeighbors(n_neighbors=5).fit(value[theirs]).kneighbors(value[mine])
        np.testing.assert_allclose(other[mine], distance, rtol=1e-4)
        assert (other_row[mine] == theirs[at]).mean() > 0.99


def test_neighbours_know_outliers_crowds_and_strangers(draw):
    value = draw.normal(size=(900, 8)) + np.repeat([0, 6, -6], 300)[:, None]
    label = np.repeat([0, 1, 2], 300)
    label[:10] = 1  # rows of class 0 by content
    value[300:303] += 30 * draw.normal(size=(3, 8))
    value[600:612] = value[600] + 0.01 * draw.normal(size=(12, 8))
    seen = rankings.of_neighbours(value, label)

    def worst(name, rows):
        return set(np.argsort(-seen[name].score)[:rows].tolist())

    for name in ("nearer to others", "other labels near"):
        assert set(range(10)) <= worst(name, 13)
        assert seen[name].dropped[:10].all()
    assert {300, 301, 302} <= worst("SLOF", 3)
    assert {300, 301, 302} <= worst("sparse", 13)
    assert worst("dense", 12) == set(range(600, 612))
    assert seen["dense"].dropped.sum() == 12
    alike = LocalOutlierFactor(n_neighbors=rankings.NEAREST).fit(value).negative_outlier_factor_
    assert np.corrcoef(np.argsort(np.argsort(seen["SLOF"].score)), np.argsort(np.argsort(-alike)))[0, 1] > 0.85


def test_label_doubt_is_how_much_likelier_another_class_is():
    prob = np.tile([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]], (20, 1))
    label = np.tile([0, 1, 2], 20)
    label[0] = 2
    ranking = rankings.of_probabilities(prob.astype(np.float32), label)["label doubt"]
    np.testing.assert_allclose(ranking.score[:2], [0.7, -0.7], rtol=1e-6)
    assert ranking.dropped.tolist() == [True] + 59 * [False]


def test_what_training_was_like():
    """Three rows of class 0 over five epochs: learned at once, forgotten twice, never learned; one without a turn."""
    nan = float("nan")
    margin = np.array([[3, 1, -1, 2], [3, -1, -1, nan], [3, 1, -1, -2], [3, -1, -1, 2], [3, 1, -3, 2]])  # [E, N]
    logits = np.stack([margin, np.zeros_like(margin), np.full_like(margin, -9)], 2)
    logits[np.isnan(margin)] = nan
    label = np.zeros(4, dtype=np.int64)
    seen = rankings.of_epochs(logits, label)
    np.testing.assert_allclose(-seen["small margin"].score, [3, 0.2, -1.4, 1])
    assert seen["small margin"].dropped.tolist() == [False, False, True, False]
    assert seen["learned last"].score.round().tolist()[2] == 5
    assert seen["learned last"].dropped.tolist() == [False, False, True, False]
    sure = np.exp(margin) / (np.exp(margin) + 1 + np.exp(-9))
    np.testing.assert_allclose(-seen["low confidence"].score, np.nanmean(sure, 0), rtol=1e-9)
    np.testing.assert_allclose(seen["forgotten"].score + np.nanmean(sure, 0), [0, 2, 5, 1], atol=1e-9)
    assert seen["learned first"].score.argmax() == 0
