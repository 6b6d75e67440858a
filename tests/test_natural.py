"""Natural clusters are left alone; a pattern planted on all sorts of content is not."""

from __future__ import annotations

from functools import reduce

import pytest
import torch
from torch.testing import assert_close
from worlds import CPU, clean, vectors

from auditors.batch import Batch
from auditors.embedders.column import Column
from auditors.natural import (
    MOST,
    NATURAL,
    Candidate,
    K,
    Outline,
    cohesion,
    looked_up,
    neighbours_shard,
    outline_shard,
    without,
)
from auditors.source import payloads
from auditors.stats.neighbours import Neighbours
from auditors.sweep import embed_shard


def prepared(batch, tmp_path, *, group=64):
    dataset = vectors(tmp_path / f"{group}.parquet", batch, group=group)
    encoder = Column().fit(payloads(dataset), dataset, CPU)
    for shard in dataset.shards:
        embed_shard(shard, dataset=dataset, encoders=[encoder], folder=str(tmp_path))
    return dataset, {"dataset": dataset, "folder": str(tmp_path), "digest": encoder.digest}


def added(parts):
    return reduce(lambda left, right: {k: left[k] + right[k] if k in left else right[k] for k in left | right}, parts)


def cohesions(batch, candidates, tmp_path, *, group=64, device=CPU):
    dataset, place = prepared(batch, tmp_path, group=group)
    outlines = added([outline_shard(shard, groups=candidates, **place) for shard in dataset.shards])
    nearest = added([neighbours_shard(shard, outlines=outlines, device=device, **place) for shard in dataset.shards])
    return {key: cohesion(nearest[key], one.rows) for key, one in candidates.items()}, outlines, nearest


def rows_of(mask):
    return tuple(mask.nonzero()[:, 0].tolist())


def test_a_planted_pattern_is_told_from_a_natural_cluster(tmp_path, device):
    batch = clean(0, rows=100).batch
    value, draw = batch.embedding.clone(), torch.Generator().manual_seed(1)
    planted, natural = batch.label == 0, batch.label == 1
    planted &= batch.row % 5 == 0
    natural &= batch.row % 5 == 1
    value[planted] += 8 * torch.nn.functional.normalize(torch.randn(32, generator=draw), dim=0)
    # Frames of one video: apart from their class, and each like the others in everything.
    scene = 6 * torch.nn.functional.normalize(torch.randn(32, generator=draw), dim=0)
    value[natural] = value[natural][:1] + scene + 0.3 * torch.randn(int(natural.sum()), 32, generator=draw)
    candidates = {0: Candidate(0, rows_of(planted)), 1: Candidate(1, rows_of(natural))}
    share, _, _ = cohesions(Batch(batch.row, batch.label, value), candidates, tmp_path, device=device)
    assert share[0] < NATURAL / 2
    assert share[1] > NATURAL


def test_shards_do_not_matter(tmp_path):
    batch = clean(1, rows=80).batch
    candidates = {0: Candidate(0, rows_of((batch.label == 0) & (batch.row % 3 == 0))), 7: Candidate(-1, (1, 2, 3, 50))}
    results = [cohesions(batch, candidates, tmp_path, group=group) for group in (17, 1000)]
    assert results[0][0] == results[1][0]
    for key in candidates:
        one, other = results[0][1][key], results[1][1][key]
        assert_close(one.axis, other.axis, rtol=1e-5, atol=1e-6)
        assert torch.equal(one.row, other.row)
        assert torch.equal(results[0][2][key].row, results[1][2][key].row)


def test_an_outline_sums_the_group_and_the_rest_of_its_class(tmp_path):
    batch = clean(2, rows=40).batch
    group = rows_of((batch.label == 2) & (batch.row < 60))
    _, outlines, _ = cohesions(batch, {0: Candidate(2, group), 1: Candidate(-1, group)}, tmp_path)
    inside = torch.isin(batch.row, torch.tensor(group))
    for key, rest in ((0, ~inside & (batch.label == 2)), (1, ~inside)):
        one = outlines[key]
        assert one.counts.tolist() == [int(inside.sum()), int(rest.sum())]
        assert_close(one.inside, batch.embedding[inside].double().sum(0))
        assert_close(one.outside, batch.embedding[rest].double().sum(0))
        assert torch.equal(one.query, batch.embedding[inside])
        gap = batch.embedding[inside].mean(0) - batch.embedding[rest].mean(0)
        assert_close(one.axis, gap / gap.norm(), rtol=1e-4, atol=1e-5)


def test_a_group_that_is_its_whole_class_has_a_finite_axis():
    sums = torch.ones(3, dtype=torch.float64)
    whole = Outline(sums, 0 * sums, torch.tensor([4, 0]), torch.ones(4, 3), torch.arange(4))
    nobody = Outline(0 * sums, 0 * sums, torch.tensor([0, 0]), torch.ones(0, 3), torch.arange(0))
    assert bool(whole.axis.isfinite().all())
    assert nobody.axis.abs().sum() == 0


def test_without_a_direction_nothing_is_left_along_it():
    value, axis = torch.randn(20, 6), torch.nn.functional.normalize(torch.randn(6), dim=0)
    left = without(value, axis)
    assert_close(left @ axis, torch.zeros(20), rtol=0, atol=1e-6)
    assert_close(left.norm(dim=1), torch.ones(20))
    assert bool(without(axis[None], axis).isfinite().all())


@pytest.mark.parametrize("rows", [1, 5, MOST, MOST + 1, 3 * MOST + 7])
def test_looks_up_at_most_so_many_rows_evenly_spread(rows):
    chosen = looked_up(range(100, 100 + rows))
    assert 1 <= len(chosen) <= MOST
    assert chosen[0] == 100
    assert len(chosen.diff().unique()) <= 1
    assert 2 * len(chosen) >= min(rows, MOST)


def test_cohesion_is_the_share_of_neighbours_inside():
    found = Neighbours(torch.zeros(2, K), torch.tensor([[1, 2, 3, 90, 91], [1, 2, 92, -1, -1]]))
    assert cohesion(found, (1, 2, 3)) == pytest.approx(0.5)
    assert cohesion(Neighbours.none(0, K), (1, 2)) == 0
