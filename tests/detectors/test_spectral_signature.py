"""Spectral signatures: clean classes alone, poison from any side found, whatever one odd row does."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close
from worlds import TARGET, auroc, backdoored, clean, learned, schema_of

from foretaste.detectors.spectral_signature import SpectralSignature
from foretaste.detectors.sweeps.two_component import TwoComponent
from foretaste.errors import NotApplicable
from foretaste.types.batch import Batch

BOTH = [SpectralSignature(), SpectralSignature(whiten=False)]
both = pytest.mark.parametrize("detector", BOTH, ids=["white", "plain"])


@both
def test_clean_data_is_left_alone(detector):
    least = torch.stack([learned(detector, clean(seed, rows=120).batch).groups.p_value.min() for seed in range(8)])
    assert least.min() > 0.01
    assert least.median() > 0.1


@both
def test_single_odd_rows_are_no_attack(detector):
    batch = clean(1).batch
    value = batch.embedding.clone()
    value[:24] += 60 * torch.randn(24, 32, generator=torch.Generator().manual_seed(0))  # 4 of each class, anywhere
    scorer = learned(detector, Batch(batch.row, batch.label, value))
    assert scorer.groups.p_value.min() > 0.01


@both
def test_a_heavy_tail_that_all_classes_have_is_left_alone(detector):
    batch = clean(2).batch
    value = batch.embedding.clone()
    heavy = torch.distributions.StudentT(3.0)
    torch.manual_seed(0)
    value[:, 0] += 3 * heavy.sample((len(batch),))
    value[:, 1] += torch.where(torch.arange(len(batch)) % 4 == 0, 9.0, 0.0)  # a quarter of every class, one way
    assert learned(detector, Batch(batch.row, batch.label, value)).groups.p_value.min() > 0.01


@both
@pytest.mark.parametrize("direction", ["random", "opposite to the class mean", "one coordinate"])
def test_poison_of_all_sources_is_found(detector, direction):
    world = backdoored(4, source=None, shift=12.0, direction=direction)
    scorer = learned(detector, world.batch)
    scores, inside = scorer.score(world.batch), world.batch.label == TARGET
    assert auroc(scores.value[inside], world.planted[inside]) > 0.99
    assert scorer.groups.p_value.argmin() == TARGET
    assert scorer.groups.p_value[TARGET] < 0.001
    assert scorer.groups.evidence["times_farther_out"].argmax() == TARGET
    flagged = scores.posterior >= 0.5
    assert (flagged & world.planted).sum() > 0.8 * world.planted.sum()
    assert (flagged & inside & ~world.planted).sum() < 0.05 * inside.sum()
    assert scores.p_value[world.planted].median() < 0.02


def test_the_side_opposite_to_the_class_mean_is_no_hiding_place():
    """Projecting what is not centred ranks these rows last: AUROC 0.1 instead of 1."""
    world = backdoored(0, source=TARGET, shift=6.0, direction="opposite to the class mean", apart=6.0)
    raw = world.batch.embedding[world.batch.label == TARGET]
    lead = torch.linalg.svd(raw, full_matrices=False).Vh[0]
    inside = world.batch.label == TARGET
    uncentred = auroc((raw @ lead) ** 2, world.planted[inside])
    centred = learned(SpectralSignature(whiten=False), world.batch).score(world.batch)
    assert uncentred < 0.1
    assert auroc(centred.value[inside], world.planted[inside]) > 0.99


def test_whitening_shows_what_a_strong_common_direction_hides():
    world = backdoored(3, shift=8.0, source=TARGET, direction="one coordinate")
    stretch = torch.ones(32)
    stretch[16:24] = 30.0  # all classes vary so along eight other coordinates
    batch = Batch(world.batch.row, world.batch.label, world.batch.embedding * stretch)
    axis = SpectralSignature(rank=4), SpectralSignature(rank=4, whiten=False)
    white, plain = (learned(one, batch) for one in axis)
    inside = batch.label == TARGET
    found, missed = (auroc(one.score(batch).value[inside], world.planted[inside]) for one in (white, plain))
    assert white.groups.p_value[TARGET] < 0.01
    assert found > 0.99
    assert missed < 0.8


def test_moving_and_scaling_the_embedding_changes_nothing():
    world = backdoored(5)
    other = Batch(world.batch.row, world.batch.label, world.batch.embedding * 1000 + 7)
    for detector in BOTH:
        one, two = (learned(detector, batch).groups.p_value for batch in (world.batch, other))
        assert_close(one[TARGET].log(), two[TARGET].log(), rtol=0.1, atol=0.1)


def test_fewer_rows_than_can_stand_out_are_not_tested():
    batch = clean(0).batch
    few = (batch.label != 0) | (batch.row < 6 * (4 * TwoComponent().fewest - 1))
    groups = learned(SpectralSignature(), batch[few]).groups
    assert groups.p_value[0] == 1
    assert groups.statistic[0] == 0


def test_says_where_it_does_not_apply():
    batch = clean().batch
    with pytest.raises(NotApplicable, match="two classes"):
        SpectralSignature().begin(schema_of(batch, 1))
    with pytest.raises(NotApplicable, match="at least 32 rows"):
        SpectralSignature(whiten=False).begin(schema_of(batch, rows=31))
    constant = Batch(batch.row, batch.label, torch.ones_like(batch.embedding))
    with pytest.raises(NotApplicable, match="do not vary"):
        learned(SpectralSignature(), constant)


@pytest.mark.parametrize("whiten", [True, False])
def test_one_class_has_nothing_to_be_compared_with(whiten):
    with pytest.raises(NotApplicable, match="what the other classes say"):
        SpectralSignature(whiten=whiten).begin(schema_of(clean().batch, 1, labelled=False))


@both
@pytest.mark.parametrize("others", [0, 3])
def test_along_a_single_dimension_no_direction_is_a_pattern(detector, others):
    """One number for each row, alone or beside constant ones: on a sphere it is one of two points."""
    batch = clean(3).batch
    value = torch.cat([batch.embedding[:, :1], torch.ones(len(batch), others)], 1)
    with pytest.raises(NotApplicable, match="two dimensions"):
        learned(detector, Batch(batch.row, batch.label, value))
    two = torch.cat([value, batch.embedding[:, 1:2]], 1)
    assert learned(detector, Batch(batch.row, batch.label, two)).groups.p_value.min() > 0.01
