"""Doubted signatures: honest doubt and natural patterns alone, triggers under false labels found."""

from __future__ import annotations

import dataclasses
import functools

import pytest
import torch
from worlds import TARGET, auroc, backdoored, clean, learned, schema_of

from foretaste.detectors.doubted_signature import DoubtedSignature, doubted
from foretaste.detectors.sweeps.two_component import TwoComponent
from foretaste.errors import NotApplicable, PlanError
from foretaste.types.batch import Batch

HONEST = {"apart": 2.5, "rows": 900}  # every class has rows that look like another's, enough of them to be tested
DOUBT = 2.0


def trigger(dim=32, size=9.0, seed=77):
    return size * torch.nn.functional.normalize(torch.randn(dim, generator=torch.Generator().manual_seed(seed)), dim=0)


@functools.cache
def poisoned(seed=0):
    world = backdoored(seed, poison=100, shift=9.0, **HONEST)
    return world, learned(DoubtedSignature(), world.batch)


def all_to_all(seed=0, *, share=30, **sizes):
    """Every `share`-th row of every class carries the trigger and the next class's label."""
    batch = clean(seed, **(HONEST | sizes)).batch
    classes = int(batch.label.max()) + 1
    planted = (batch.row // classes) % share == 0
    value = batch.embedding + planted[:, None] * trigger()
    return Batch(batch.row, torch.where(planted, (batch.label + 1) % classes, batch.label), value, batch.prob), planted


def every(share, label, kind):
    """Every `share`-th row of each class and `kind`, so that a pattern is as frequent in all of them."""
    cell = label * 2 + kind
    rank = torch.stack([(cell == one).cumsum(0) for one in range(int(cell.max()) + 1)], 1)
    return rank.gather(1, cell[:, None])[:, 0] % share == 0


def is_tested(scorer):
    return bool(scorer.line.seed.tested.sum() >= len(scorer.groups.label) - 1)


def plain(labels, right, wrong):
    """Certain beliefs: every row is taken for the class `right`, but those marked `wrong` for the next one."""
    taken = torch.where(wrong, (right + 1) % labels, right)
    return 0.9 * torch.nn.functional.one_hot(taken, labels).float() + 0.1 / labels


@pytest.mark.parametrize("seed", range(5))
def test_honest_doubt_is_left_alone(seed):
    batch = clean(seed, **HONEST).batch
    scorer = learned(DoubtedSignature(), batch)
    groups = scorer.groups
    assert is_tested(scorer)
    assert groups.p_value.min() > 0.01
    assert groups.label.tolist() == [0, 1, 2, 3, 4, 5, -1]


def test_data_without_doubt_has_no_group_to_test():
    batch = clean(0, apart=12.0).batch
    scorer = learned(DoubtedSignature(), batch)
    assert not bool(doubted(batch, DOUBT).any())
    assert scorer.groups.p_value.tolist() == [1.0] * 7
    assert bool((scorer.score(batch).posterior == 0).all())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [2, 4])
def test_a_natural_subgroup_is_left_alone(seed, share):
    """A half or a quarter of a class, as many of its doubted rows as of its believed ones, lie off the rest."""
    batch = clean(seed, **HONEST).batch
    subgroup = (batch.label == TARGET) & every(share, batch.label, doubted(batch, DOUBT))
    value = batch.embedding + subgroup[:, None] * trigger()
    batch = dataclasses.replace(batch, embedding=value)
    scorer = learned(DoubtedSignature(), batch)
    assert (doubted(batch, DOUBT) & subgroup).sum() > 10
    assert is_tested(scorer)
    assert scorer.groups.p_value.min() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_what_makes_rows_of_every_class_doubted_is_left_alone_by_class(seed):
    """Half of the doubted rows of every class share a pattern: no class stands out."""
    batch = clean(seed, **HONEST).batch
    blurred = doubted(batch, DOUBT) & every(2, batch.label, doubted(batch, DOUBT))
    batch = dataclasses.replace(batch, embedding=batch.embedding + blurred[:, None] * trigger())
    scorer = learned(DoubtedSignature(), batch)
    assert is_tested(scorer)
    assert scorer.groups.p_value[scorer.groups.label >= 0].min() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_poison_whose_label_is_believed_is_not_its_business(seed):
    world = backdoored(seed, source=TARGET, poison=100, shift=9.0, **HONEST)
    sure = plain(6, world.batch.label, torch.zeros_like(world.planted))
    prob = torch.where(world.planted[:, None], sure, world.batch.prob)
    believed = dataclasses.replace(world.batch, prob=prob)
    assert not bool((doubted(believed, DOUBT) & world.planted).any())
    scorer = learned(DoubtedSignature(), believed)
    assert is_tested(scorer)
    assert scorer.groups.p_value.min() > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_backdoored_rows_are_found(seed):
    world, scorer = poisoned(seed)
    groups, scores = scorer.groups, scorer.score(world.batch)
    assert groups.p_value[TARGET] < 0.001
    assert groups.p_value[:-1].argmin() == TARGET
    found, inside = scores.posterior >= 0.5, world.batch.label == TARGET
    assert found[world.planted].double().mean() > 0.9
    assert (found & inside & ~world.planted).sum() < 0.1 * world.planted.sum()
    assert (found & ~world.planted).sum() < 0.01 * len(found)
    assert auroc(scores.value[inside], world.planted[inside]) > 0.99
    assert scores.p_value[world.planted].median() < 0.01


def test_planted_rows_that_the_model_believes_are_found_by_those_it_doubts():
    """A network that has learned the trigger for a third of the rows believes their label."""
    world, _ = poisoned(0)
    learnt = world.planted & ((torch.arange(len(world.batch)) // 6) % 3 == 0)
    prob = torch.where(learnt[:, None], plain(6, world.batch.label, torch.zeros_like(learnt)), world.batch.prob)
    batch = dataclasses.replace(world.batch, prob=prob)
    scores = learned(DoubtedSignature(), batch).score(batch)
    assert 10 < learnt.sum() < 60
    assert (scores.posterior[learnt] >= 0.5).double().mean() > 0.7


@pytest.mark.parametrize("seed", range(3))
def test_an_attack_on_all_classes_is_found_by_the_group_of_all(seed):
    batch, planted = all_to_all(seed)
    scorer = learned(DoubtedSignature(), batch)
    everyone = scorer.groups.label == -1
    assert scorer.groups.p_value[everyone].item() < 0.01
    scores = scorer.score(batch)
    found = scores.posterior >= 0.5
    assert found[planted].double().mean() > 0.9
    assert (found & ~planted).sum() < 0.1 * planted.sum()
    assert bool((scores.group[planted & found] == len(everyone) - 1).any())


def test_the_group_of_all_needs_no_peers():
    """Two classes are too few to say how alike innocent ones are."""
    batch, planted = all_to_all(0, classes=2, share=12)
    scorer = learned(DoubtedSignature(), batch, schema_of(batch, 2))
    assert scorer.groups.p_value[-1] < 0.01
    assert (scorer.score(batch).posterior[planted] >= 0.5).double().mean() > 0.8
    innocent = clean(0, classes=2, **HONEST).batch
    assert learned(DoubtedSignature(), innocent, schema_of(innocent, 2)).groups.p_value.min() > 0.01


def test_few_doubted_rows_are_not_tested():
    batch = clean(0, apart=12.0).batch
    few = (batch.label == TARGET) & (batch.row // 6 < 4 * TwoComponent().fewest)  # of which a half holds less than 32
    batch = Batch(batch.row, batch.label, batch.embedding + few[:, None] * trigger(), plain(6, batch.label, few))
    groups = learned(DoubtedSignature(), batch).groups
    assert doubted(batch, DOUBT).sum() == 4 * TwoComponent().fewest
    assert groups.p_value.tolist() == [1.0] * 7
    assert groups.statistic.tolist() == [0.0] * 7


def test_scores_are_finite_probabilities():
    world, scorer = poisoned(0)
    scores = scorer.score(world.batch)
    for one in (scores.p_value, scores.posterior):
        assert bool(((one >= 0) & (one <= 1)).all())
    for one in (scores.value, *scores.evidence.values(), *scorer.groups.evidence.values(), scorer.groups.statistic):
        assert bool(one.isfinite().all())


def test_a_label_is_doubted_when_another_class_is_so_many_times_as_likely():
    prob = torch.tensor([[0.5, 0.4, 0.1], [0.3, 0.59, 0.11], [0.3, 0.61, 0.09], [0.3, 0.61, 0.09]])
    batch = Batch(torch.arange(4), torch.tensor([0, 0, 0, -1]), torch.zeros(4, 2), prob)
    assert doubted(batch, 2.0).tolist() == [False, False, True, False]
    assert doubted(batch, 1.5).tolist() == [False, True, True, False]
    with pytest.raises(ValueError, match="probabilities"):
        doubted(dataclasses.replace(batch, prob=None), 2.0)


def test_says_where_it_does_not_apply():
    batch = clean().batch
    with pytest.raises(NotApplicable, match="probabilities"):
        DoubtedSignature().begin(schema_of(batch, probs=False))
    with pytest.raises(NotApplicable, match="two classes"):
        DoubtedSignature().begin(schema_of(batch, 1))
    with pytest.raises(NotApplicable, match="labels"):
        DoubtedSignature().begin(schema_of(batch, labelled=False))
    constant = dataclasses.replace(batch, embedding=torch.ones_like(batch.embedding))
    with pytest.raises(NotApplicable, match="do not vary"):
        learned(DoubtedSignature(), constant)


@pytest.mark.parametrize("setting", [{"rank": 0}, {"doubt": 0.5}], ids=str)
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(PlanError, match="at least 1"):
        DoubtedSignature(**setting)


def test_a_class_that_the_model_does_not_know_is_left_alone():
    batch = clean(0, **HONEST).batch
    unknown = batch.label == TARGET
    prob = batch.prob.clone()
    other = (TARGET + 1) % prob.shape[1]
    prob[unknown] = 0.02
    prob[unknown, other] = 1 - 0.02 * (prob.shape[1] - 1)
    # Its rows share what makes them its rows, and no row of it is believed to compare them with.
    value = batch.embedding + unknown[:, None] * trigger()
    scorer = learned(DoubtedSignature(), Batch(batch.row, batch.label, value, prob))
    assert float(scorer.groups.p_value[TARGET]) == 1.0
