import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from worlds import learned

from foretaste.detectors.flipped_labels import FlippedLabels, FlipScorer
from foretaste.errors import NotApplicable
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema

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
    out = learned(FlippedLabels(), batch(label, prob), Schema(1, CLASSES, True, True, len(label)), count=parts)
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


@pytest.mark.parametrize("rows", [2400, 1200])
def test_a_class_that_is_taken_for_one_many_times_its_size_is_left_alone(rows: int) -> None:
    truth = torch.arange(CLASSES).repeat_interleave(torch.tensor([rows] + [400] * (CLASSES - 1)))
    prob = believed(truth, clarity=2.5, seed=3)
    alike = (truth == 5).nonzero().flatten()[:60]
    prob[alike] = prob[truth == 0][:60]
    p_value = scorer(truth, prob).groups.p_value
    assert (p_value[5] < 1e-4) == (rows < 4 * 400)  # of a class of its own size it is held against its peers


@pytest.mark.parametrize("target", [0, 5])
def test_labels_flipped_into_one_class_are_found(target: int) -> None:
    truth = labels()
    prob = believed(truth, clarity=2.5, seed=target)
    flipped = torch.zeros(len(truth), dtype=torch.bool)
    flipped[(truth != target).nonzero().flatten()[:80]] = True
    label = torch.where(flipped, target, truth)
    found = scorer(label, prob)
    assert found.groups.p_value.argmin() == target
    assert found.groups.p_value[target] < 1e-4
    share = 80 / int((label == target).sum())
    assert float(found.fit.share[target]) == pytest.approx(share, rel=0.3)
    scores = found.score(batch(label, prob))
    accused = (scores.posterior >= 0.5) & (label == target)
    assert (accused & flipped).sum() >= 0.7 * 80
    assert (accused & ~flipped).sum() <= 0.005 * len(label)
    assert (scores.p_value[flipped].median()) < 0.05


@given(st.integers(1, 7), st.integers(0, 99))
def test_how_the_rows_are_batched_does_not_matter(parts: int, seed: int) -> None:
    label = labels(300, seed)
    prob = believed(label, clarity=2.0, seed=seed)
    whole, split = scorer(label, prob), scorer(label, prob, parts)
    assert torch.equal(whole.fit.share, split.fit.share)
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
