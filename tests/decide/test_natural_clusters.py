"""Natural clusters are left alone; a pattern planted on all sorts of content is not."""

from __future__ import annotations

from functools import reduce
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close
from worlds import CPU, clean, vectors

from foretaste.dataset.parquet import payloads
from foretaste.decide.natural_clusters import (
    Candidate,
    NeighbourShares,
    Outline,
    Sums,
    evenly_spaced,
    hash_sampled,
    projected_out,
    shares,
)
from foretaste.decide.settings import NaturalClusters
from foretaste.embedders.column import Column
from foretaste.embedders.store import embed_shard, identity
from foretaste.pipeline.decision import neighbours_shard, outline_shard
from foretaste.stats.neighbours import Neighbours
from foretaste.types.batch import Batch

SETTINGS = NaturalClusters()
K, MOST, FLAT = SETTINGS.neighbours, SETTINGS.sample, SETTINGS.flat


def prepared(batch, tmp_path, *, group=64):
    dataset = vectors(tmp_path / f"{group}.parquet", batch, group=group)
    encoder = Column().fit(payloads(dataset), dataset, CPU)
    for shard in dataset.shards:
        embed_shard(shard, dataset=dataset, encoders=[encoder], folder=str(tmp_path))
    return dataset, {"dataset": dataset, "folder": str(tmp_path), "digest": identity(encoder)}


def added(parts):
    return reduce(lambda left, right: {k: left[k] + right[k] if k in left else right[k] for k in left | right}, parts)


def companies(batch, candidates, tmp_path, *, group=64, device=CPU):
    dataset, place = prepared(batch, tmp_path, group=group)
    outlines = added([outline_shard(shard, groups=candidates, sample=MOST, **place) for shard in dataset.shards])
    how = {"outlines": outlines, "settings": SETTINGS, "device": device}
    nearest = added([neighbours_shard(shard, **how, **place) for shard in dataset.shards])
    found = {key: shares(nearest[key], outlines[key].row, one, dataset) for key, one in candidates.items()}
    return found, outlines, nearest


def rows_of(mask):
    return tuple(mask.nonzero()[:, 0].tolist())


def test_a_planted_pattern_is_told_from_a_natural_cluster(tmp_path, device):
    batch = clean(0, rows=100).batch
    value, draw = batch.embedding.clone(), torch.Generator().manual_seed(1)
    planted, natural = batch.label == 0, batch.label == 1
    planted &= batch.row % 5 == 0
    natural &= batch.row % 5 == 1
    value[planted] += 8 * normalize(torch.randn(32, generator=draw), dim=0)
    # Frames of one video: apart from their class, and each like the others in everything.
    scene = 6 * normalize(torch.randn(32, generator=draw), dim=0)
    value[natural] = value[natural][:1] + scene + 0.3 * torch.randn(int(natural.sum()), 32, generator=draw)
    candidates = {0: Candidate(0, rows_of(planted)), 1: Candidate(1, rows_of(natural))}
    found, _, _ = companies(Batch(batch.row, batch.label, value), candidates, tmp_path, device=device)
    assert not found[0].natural(SETTINGS)
    assert found[0].inside < 0.3
    assert found[1].natural(SETTINGS)
    assert found[1].inside > 0.6


def test_a_way_to_write_a_digit_is_told_from_a_pattern_on_any_of_them(tmp_path, device):
    """Every class has a kind of content of its own; the neighbours of its rows are of it, but not near copies."""
    batch, draw = clean(3, rows=120).batch, torch.Generator().manual_seed(4)
    value = normalize(batch.embedding + 3 * torch.eye(32)[batch.label], dim=1)
    kind, planted = (batch.label == 1) & (batch.row % 4 == 1), (batch.label == 0) & (batch.row % 4 == 0)
    flipped = (batch.label >= 2) & (batch.row % 13 == 3)
    assert min(int(one.sum()) for one in (kind, planted, flipped)) >= 20
    curl = torch.randn(5, 32, generator=draw)
    # A loop is there in one way or another, what is planted is always the same.
    value[kind] += torch.randn(int(kind.sum()), 5, generator=draw).abs() @ normalize(curl, dim=1)
    value[planted | flipped] += 0.7 * normalize(curl[0] - curl[1], dim=0)
    label = torch.where(flipped, 0, batch.label)
    moved = Batch(batch.row, label, value)
    candidates = {0: Candidate(0, rows_of(planted)), 1: Candidate(1, rows_of(kind)), 2: Candidate(0, rows_of(flipped))}
    found, _, _ = companies(moved, candidates, tmp_path, device=device)
    assert not found[0].natural(SETTINGS)
    assert found[1].natural(SETTINGS)
    assert not found[2].natural(SETTINGS)
    for key, at_home in ((0, True), (2, False)):  # flipped rows lie among rows of the classes they came from
        assert (found[key].own > (found[key].anywhere + found[key].rest) / 2) is at_home


@pytest.mark.parametrize(
    ("inside", "by_chance", "own", "rest", "natural"),
    [
        (0.7, 0.0, 0.0, 1.0, True),  # near copies
        (0.4, 0.2, 0.9, 0.8, True),
        (0.25, 0.2, 0.9, 0.8, False),  # any rows of the class
        (0.4, 0.2, 0.2, 0.8, False),  # among rows of other classes
        (0.4, 0.2, 0.2, 0.2, False),  # neighbours tell nothing here
    ],
)
def test_what_company_makes_a_group_natural(inside, by_chance, own, rest, natural):
    assert NeighbourShares(inside, by_chance, own, rest, anywhere=0.1).natural(SETTINGS) is natural


def test_shards_do_not_matter(tmp_path):
    batch = clean(1, rows=80).batch
    candidates = {0: Candidate(0, rows_of((batch.label == 0) & (batch.row % 3 == 0))), 7: Candidate(-1, (1, 2, 3, 50))}
    results = [companies(batch, candidates, tmp_path, group=group) for group in (17, 1000)]
    assert results[0][0] == results[1][0]
    for key in candidates:
        one, other = results[0][1][key], results[1][1][key]
        assert_close(one.axis(one.free(FLAT)), other.axis(other.free(FLAT)), rtol=1e-5, atol=1e-6)
        assert torch.equal(one.row, other.row)
        assert torch.equal(results[0][2][key].row, results[1][2][key].row)


def test_an_outline_sums_the_group_and_the_rest_of_its_class(tmp_path):
    batch = clean(2, rows=40).batch
    group = rows_of((batch.label == 2) & (batch.row < 60))
    _, outlines, _ = companies(batch, {0: Candidate(2, group), 1: Candidate(-1, group)}, tmp_path)
    inside = torch.isin(batch.row, torch.tensor(group))
    for key, rest in ((0, ~inside & (batch.label == 2)), (1, ~inside)):
        one = outlines[key]
        for part, rows in ((one.inside, inside), (one.outside, rest)):
            assert int(part.rows) == int(rows.sum())
            assert_close(part.mean, batch.embedding[rows].double().mean(0))
            assert_close(part.variance, batch.embedding[rows].double().var(0, correction=0))
        assert torch.equal(one.query, batch.embedding[inside | rest])  # fewer than MOST: all are looked up
        gap = batch.embedding[inside].mean(0) - batch.embedding[rest].mean(0)
        assert_close(one.axis(one.free(FLAT)), normalize(gap * one.free(FLAT), dim=0), rtol=1e-4, atol=1e-5)


def test_what_a_pattern_has_overwritten_is_left_out():
    value = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    inside = value[:50].clone()
    inside[:, 2:4] = 0.3
    one = Outline(Sums.of(inside), Sums.of(value[50:]), inside, torch.arange(50))
    assert one.free(FLAT).tolist() == [True, True, False, False, True, True]
    assert one.axis(one.free(FLAT))[2:4].tolist() == [0, 0]
    flat = Outline(Sums.of(torch.ones(9, 6)), Sums.of(value[50:]), torch.ones(9, 6), torch.arange(9))
    assert bool(flat.free(FLAT).all())  # nothing else to go by


@pytest.mark.parametrize("among", [100, 5_000, 3_000_000])
def test_about_so_many_rows_of_the_rest_are_drawn(among):
    hits = int(hash_sampled(torch.arange(among) + 10**9, MOST, among).sum())
    assert min(among, MOST) * 0.8 <= hits <= min(among, MOST) * 1.2


def test_a_group_that_is_its_whole_class_has_a_finite_axis():
    nothing = Sums.of(torch.ones(0, 3))
    whole = Outline(Sums.of(torch.ones(4, 3)), nothing, torch.ones(4, 3), torch.arange(4))
    nobody = Outline(nothing, nothing, torch.ones(0, 3), torch.arange(0))
    assert bool(whole.axis(whole.free(FLAT)).isfinite().all())
    assert nobody.axis(nobody.free(FLAT)).abs().sum() == 0


def test_without_a_direction_nothing_is_left_along_it():
    value, axis = torch.randn(20, 6), normalize(torch.randn(6), dim=0)
    left = projected_out(value, axis)
    assert_close(left @ axis, torch.zeros(20), rtol=0, atol=1e-6)
    assert_close(left.norm(dim=1), torch.ones(20))
    assert bool(projected_out(axis[None], axis).isfinite().all())


@pytest.mark.parametrize("rows", [1, 5, MOST, MOST + 1, 3 * MOST + 7])
def test_looks_up_at_most_so_many_rows_evenly_spread(rows):
    chosen = evenly_spaced(range(100, 100 + rows), MOST)
    assert 1 <= len(chosen) <= MOST
    assert chosen[0] == 100
    assert len(chosen.diff().unique()) <= 1
    assert 2 * len(chosen) >= min(rows, MOST)


def test_shares_of_neighbours():
    dataset = SimpleNamespace(class_rows=(10, 10), rows=20)
    near = torch.tensor([[1, 2, 3, 4, 15], [1, 2, 4, -1, -1], [5, 6, 7, 16, 1]])
    label = torch.where(near >= 10, 1, torch.where(near >= 0, 0, -1))
    found = shares(
        Neighbours(torch.zeros(3, K), near, label), torch.tensor([0, 1, 8]), Candidate(0, (0, 1, 2, 3)), dataset
    )
    assert found.inside == pytest.approx((3 + 2) / 10)
    assert found.by_chance == pytest.approx((4 + 3) / 10 * 3 / 9)
    assert found.own == pytest.approx(2 / 3)  # 4, 4 of 4, 15, 4
    assert found.rest == pytest.approx(3 / 4)  # 5, 6, 7 of 5, 6, 7, 16
    assert found.anywhere == pytest.approx(6 / 16)


def test_without_neighbours_or_class_nobody_is_acquitted():
    dataset = SimpleNamespace(class_rows=(10, 10), rows=20)
    assert not shares(Neighbours.none(0, K), torch.arange(0), Candidate(0, (1, 2)), dataset).natural(SETTINGS)
    assert not shares(Neighbours.none(2, K), torch.tensor([1, 2]), Candidate(-1, (1, 2)), dataset).natural(SETTINGS)
