"""Activation clustering: two clusters alone are no crime; a small one that looks like another class is."""

from __future__ import annotations

import pytest
import torch
from worlds import TARGET, auroc, backdoored, clean, learned, schema_of

from foretaste.detectors.activation_clustering import ActivationClustering, two_means
from foretaste.errors import NotApplicable
from foretaste.types.batch import Batch


def test_clean_data_is_left_alone():
    for seed in range(8):
        assert learned(ActivationClustering(), clean(seed, rows=100).batch).groups.p_value.min() > 0.1


def test_a_natural_cluster_of_its_own_class_is_left_alone():
    batch = clean(0).batch
    value, members = batch.embedding.clone(), (batch.label == TARGET).nonzero()[::4, 0]
    apart = torch.randn(32, generator=torch.Generator().manual_seed(3))
    value[members] += 9 * torch.nn.functional.normalize(apart, dim=0)
    groups = learned(ActivationClustering(), Batch(batch.row, batch.label, value)).groups
    assert groups.evidence["share"][TARGET] == pytest.approx(0.25, abs=0.03)  # it was seen
    assert groups.evidence["silhouette"].argmax() == TARGET
    assert groups.p_value.min() > 0.1


@pytest.mark.parametrize("shift", [4.0, 8.0, 15.0])
@pytest.mark.parametrize("direction", ["random", "opposite to the class mean", "one coordinate"])
def test_a_trigger_does_not_hide_itself_by_being_strong(shift, direction):
    world = backdoored(0, shift=shift, direction=direction)
    scorer = learned(ActivationClustering(), world.batch)
    scores, inside = scorer.score(world.batch), world.batch.label == TARGET
    assert auroc(scores.value[inside], world.planted[inside]) > 0.99
    assert scorer.groups.p_value[TARGET] < 0.01
    assert (scorer.groups.p_value < 0.01).sum() == 1
    assert scorer.groups.evidence["foreign"][TARGET] > 0.9
    assert scorer.groups.evidence["share"][TARGET] == pytest.approx(30 / 180, abs=0.02)
    assert bool((scores.posterior[world.planted] > 0.5).all())
    assert scores.posterior[~world.planted].max() == 0


def test_poison_from_all_other_classes_is_found():
    world = backdoored(1, source=None, shift=12.0)
    assert learned(ActivationClustering(), world.batch).groups.p_value[TARGET] < 0.01


def test_clustering_a_sample_finds_the_same():
    world = backdoored(2, rows=200)
    whole, part = (learned(ActivationClustering(sample=sample), world.batch) for sample in (4096, 100))
    assert torch.equal(part.groups.p_value.argmin(), whole.groups.p_value.argmin())
    assert torch.equal(part.score(world.batch).posterior > 0.5, whole.score(world.batch).posterior > 0.5)


def test_two_means_are_those_of_two_clouds():
    draw = torch.Generator().manual_seed(0)
    cloud = torch.randn(300, 4, generator=draw, dtype=torch.float64)
    cloud[:40] += 20
    centre = two_means(cloud, sample=4096)
    expected = torch.stack([cloud[:40].mean(0), cloud[40:].mean(0)])
    assert torch.cdist(centre, expected).min(0).values.max() < 1e-4


def test_says_where_it_does_not_apply():
    batch = clean().batch
    with pytest.raises(NotApplicable, match="two classes"):
        ActivationClustering().begin(schema_of(batch, 1))
    with pytest.raises(NotApplicable, match="at least 48 rows"):
        ActivationClustering().begin(schema_of(batch, rows=47))
    with pytest.raises(NotApplicable, match="2 GiB"):
        ActivationClustering().begin(schema_of(batch, 300_000))
    with pytest.raises(NotApplicable, match="do not vary"):
        learned(ActivationClustering(), Batch(batch.row, batch.label, torch.ones_like(batch.embedding)))
