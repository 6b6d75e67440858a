import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from worlds import learned

from foretaste.detectors.flipped_pairs import FlippedPairs, PairScorer
from foretaste.errors import NotApplicable
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema

CLASSES = 6


def believed(label: Tensor, *, clarity: float, seed: int, alike: tuple[int, int] = (0, 0)) -> Tensor:
    """Probabilities [N, K] of a network that sees the class of each row with Gaussian noise, two of them as one."""
    generator = torch.Generator().manual_seed(seed)
    logit = torch.randn(len(label), CLASSES, generator=generator, dtype=torch.float64)
    logit[torch.arange(len(label)), label] += clarity
    one, other = alike
    if one != other:
        shared = 0.6 * clarity * torch.isin(label, torch.tensor(alike)).double()
        logit[:, one] = torch.where(label == other, logit[:, one] + shared, logit[:, one])
        logit[:, other] = torch.where(label == one, logit[:, other] + shared, logit[:, other])
    return (clarity * logit).softmax(1).float()


def labels(rows: int = 3000, seed: int = 0) -> Tensor:
    return torch.randint(CLASSES, (rows,), generator=torch.Generator().manual_seed(seed))


def batch(label: Tensor, prob: Tensor) -> Batch:
    return Batch(torch.arange(len(label)), label, torch.zeros(len(label), 1), prob)


def scorer(label: Tensor, prob: Tensor, parts: int = 1) -> PairScorer:
    out = learned(FlippedPairs(), batch(label, prob), Schema(1, CLASSES, True, True, len(label)), count=parts)
    assert isinstance(out, PairScorer)
    return out


@pytest.mark.parametrize("clarity", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("seed", range(4))
def test_clean_pairs_are_left_alone_however_well_they_are_told_apart(clarity: float, seed: int) -> None:
    label = labels(seed=seed)
    assert scorer(label, believed(label, clarity=clarity, seed=seed)).p_value.min() > 0.02


@pytest.mark.parametrize("seed", range(4))
def test_two_classes_that_look_alike_are_left_alone(seed: int) -> None:
    label = labels(seed=seed)
    assert scorer(label, believed(label, clarity=2.0, seed=seed, alike=(1, 4))).p_value.min() > 0.02


@pytest.mark.parametrize(("rare", "tested"), [(40, False), (500, True)])
def test_too_few_rows_of_a_class_say_little_of_what_its_rows_look_like(rare: int, tested: bool) -> None:
    """In a long-tailed clean set a fifth of the trucks looked like 42 automobiles, which look like anything."""
    truth = torch.arange(CLASSES).repeat_interleave(torch.tensor([1400, 900, 500, 500, 500, rare + 300]))
    prob = believed(truth, clarity=2.5, seed=0)
    label = truth.clone()
    label[-300:] = 0
    assert (scorer(label, prob).p_value[0] < 0.001) == tested


def test_label_noise_between_all_classes_is_no_attack_on_one() -> None:
    truth = labels()
    prob = believed(truth, clarity=2.5, seed=1)
    generator = torch.Generator().manual_seed(2)
    noisy = torch.rand(len(truth), generator=generator) < 0.2
    label = torch.where(noisy, torch.randint(CLASSES, truth.shape, generator=generator), truth)
    assert scorer(label, prob).p_value.min() > 0.01


@pytest.mark.parametrize(("source", "target"), [(2, 0), (5, 1)])
def test_labels_flipped_from_one_class_to_one_are_found(source: int, target: int) -> None:
    truth = labels()
    prob = believed(truth, clarity=2.5, seed=source, alike=(1, 4))
    flipped = torch.zeros(len(truth), dtype=torch.bool)
    flipped[(truth == source).nonzero().flatten()[:80]] = True
    label = torch.where(flipped, target, truth)
    found = scorer(label, prob)
    assert found.p_value.argmin() == target
    assert found.p_value[target] < 1e-3
    assert found.source[target] == source
    assert float(found.groups.evidence["foreign_rows"][target]) == pytest.approx(80, rel=0.3)
    scores = found.score(batch(label, prob))
    accused = (scores.posterior >= 0.5) & (label == target)
    assert (accused & flipped).sum() >= 0.5 * 80
    assert (accused & ~flipped).sum() <= 0.01 * len(label)
    assert (scores.evidence["belongs_to"][accused] == source).all()


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 7), st.integers(0, 99))
def test_how_the_rows_are_batched_does_not_matter(parts: int, seed: int) -> None:
    label = labels(300, seed)
    prob = believed(label, clarity=2.0, seed=seed)
    whole, split = scorer(label, prob), scorer(label, prob, parts)
    assert torch.equal(whole.statistic, split.statistic)
    assert torch.equal(whole.p_value, split.p_value)


def test_rows_without_label_and_classes_without_rows_say_nothing() -> None:
    label = labels(2000) % 4
    label[:50] = -1
    prob = believed(label.clamp_min(0), clarity=2.0, seed=0)
    found = scorer(label, prob)
    assert (found.p_value[4:] == 1).all()
    scores = found.score(batch(label, prob))
    assert (scores.posterior[:50] == 0).all()
    assert (scores.group[:50] == -1).all()


def test_certain_probabilities_are_no_trouble() -> None:
    label = labels(1000)
    prob = torch.nn.functional.one_hot(label, CLASSES).float()
    assert (scorer(label, prob).p_value > 0.1).all()


@pytest.mark.parametrize(
    "schema",
    [
        Schema(1, 8, True, False, 9),
        Schema(1, 3, True, True, 9),
        Schema(1, 33, True, True, 9),
        Schema(1, 8, False, True, 9),
    ],
)
def test_it_says_where_it_does_not_apply(schema: Schema) -> None:
    with pytest.raises(NotApplicable):
        FlippedPairs().begin(schema)
