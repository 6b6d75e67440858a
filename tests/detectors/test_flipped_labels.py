import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from auditors.batch import Batch
from auditors.detectors.flipped_labels import FlippedLabels, FlipScorer, mixed, normal_scores
from auditors.errors import NotApplicable
from auditors.stats import quantiles
from auditors.values import Schema

CLASSES = 8


def believed(label: Tensor, *, clarity: float, seed: int) -> Tensor:
    """Probabilities [N, K] of a network that sees the class of each row with Gaussian noise."""
    generator = torch.Generator().manual_seed(seed)
    logit = torch.randn(len(label), CLASSES, generator=generator, dtype=torch.float64)
    logit[torch.arange(len(label)), label] += clarity
    return (clarity * logit).softmax(1).float()


def labels(rows: int = 4000, seed: int = 0) -> Tensor:
    return torch.randint(CLASSES, (rows,), generator=torch.Generator().manual_seed(seed))


def scorer(label: Tensor, prob: Tensor, parts: int = 1) -> FlipScorer:
    found = FlippedLabels().begin(Schema(1, CLASSES, True, True, len(label)))
    state = found.zero()
    for part in torch.arange(len(label)).tensor_split(parts):
        state = found.merge(state, found.reduce(found.zero(), batch(label[part], prob[part])))
    out = found.finish(state)
    assert isinstance(out, FlipScorer)
    return out


def batch(label: Tensor, prob: Tensor) -> Batch:
    return Batch(torch.arange(len(label)), label, torch.zeros(len(label), 1), prob)


@pytest.mark.parametrize("clarity", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(5))
def test_clean_classes_are_left_alone_however_well_they_are_told_apart(clarity: float, seed: int) -> None:
    label = labels(seed=seed)
    groups = scorer(label, believed(label, clarity=clarity, seed=seed)).groups
    assert groups.p_value.min() > 0.002


@pytest.mark.parametrize("seed", range(3))
def test_a_class_that_is_harder_than_the_others_is_left_alone(seed: int) -> None:
    label = labels(seed=seed)
    prob = believed(label, clarity=2.5, seed=seed)
    hard = label == 3
    prob[hard] = believed(label[hard], clarity=1.0, seed=seed + 100)
    assert scorer(label, prob).groups.p_value[3] > 0.01


def test_label_noise_of_all_classes_is_no_attack_on_one() -> None:
    truth = labels()
    prob = believed(truth, clarity=2.5, seed=1)
    generator = torch.Generator().manual_seed(2)
    noisy = torch.rand(len(truth), generator=generator) < 0.2
    label = torch.where(noisy, torch.randint(CLASSES, truth.shape, generator=generator), truth)
    assert scorer(label, prob).groups.p_value.min() > 0.01


@pytest.mark.parametrize("target", [0, 5])
def test_labels_flipped_into_one_class_are_found(target: int) -> None:
    truth = labels()
    prob = believed(truth, clarity=2.5, seed=target)
    flipped = torch.zeros(len(truth), dtype=torch.bool)
    flipped[(truth != target).nonzero().flatten()[:80]] = True
    label = torch.where(flipped, target, truth)
    found = scorer(label, prob)
    assert found.groups.p_value.argmin() == target
    assert found.groups.p_value[target] < 1e-5
    share = 80 / int((label == target).sum())
    assert float(found.share[target]) == pytest.approx(share, rel=0.3)
    scores = found.score(batch(label, prob))
    accused = (scores.posterior >= 0.5) & (label == target)
    assert (accused & flipped).sum() >= 0.7 * 80
    assert (accused & ~flipped).sum() <= 0.005 * len(label)
    assert (scores.p_value[flipped].median()) < 0.05


def test_the_mixture_is_the_one_that_maximises_the_likelihood() -> None:
    generator = np.random.default_rng(0)
    score = np.concatenate([generator.normal(size=60), generator.normal(2.2, 1, size=400)])
    spot = quantiles.bin_of(torch.from_numpy(score))
    normal = quantiles.centres()[None]
    share, place, gain = mixed(normal, torch.bincount(spot, minlength=quantiles.BINS)[None])
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


@given(st.integers(1, 7), st.integers(0, 99))
def test_how_the_rows_are_batched_does_not_matter(parts: int, seed: int) -> None:
    label = labels(300, seed)
    prob = believed(label, clarity=2.0, seed=seed)
    whole, split = scorer(label, prob), scorer(label, prob, parts)
    assert torch.equal(whole.share, split.share)
    assert torch.equal(whole.groups.p_value, split.groups.p_value)


def test_rows_without_label_and_classes_without_rows_say_nothing() -> None:
    label = labels(2000) % 6
    label[:50] = -1
    prob = believed(label.clamp_min(0), clarity=2.0, seed=0)
    found = scorer(label, prob)
    assert (found.groups.p_value[6:] == 1).all()
    scores = found.score(batch(label, prob))
    assert (scores.posterior[:50] == 0).all()
    assert (scores.group[:50] == -1).all()


def test_certain_probabilities_are_no_trouble() -> None:
    label = labels(1000)
    prob = torch.nn.functional.one_hot(label, CLASSES).float()
    assert (scorer(label, prob).groups.p_value > 0.1).all()


@pytest.mark.parametrize(
    "schema", [Schema(1, 8, True, False, 9), Schema(1, 3, True, True, 9), Schema(1, 8, False, True, 9)]
)
def test_it_says_where_it_does_not_apply(schema: Schema) -> None:
    with pytest.raises(NotApplicable):
        FlippedLabels().begin(schema)
