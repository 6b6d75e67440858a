"""Natural clusters are left alone; a pattern planted on all sorts of content is not."""

from __future__ import annotations

import os
from functools import reduce
from operator import add
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import normalize
from torch.testing import assert_close
from worlds import CPU, clean, vectors

from foretaste import sealed
from foretaste.cache import Store
from foretaste.dataset.parquet import payloads
from foretaste.decide.natural_clusters import (
    Candidate,
    NeighbourShares,
    Outline,
    Sample,
    Sums,
    by_chance,
    evenly_spaced,
    natural,
    projected_out,
    shares,
)
from foretaste.decide.settings import NaturalClusters
from foretaste.embedders.column import Column
from foretaste.embedders.store import embed_shard, identity, stored
from foretaste.pipeline.decision import neighbours_shard, outline_shard
from foretaste.stats.neighbours import Neighbours
from foretaste.types.batch import Batch

SETTINGS = NaturalClusters()
K, MOST, FLAT = SETTINGS.neighbours, SETTINGS.sample, SETTINGS.flat


def prepared(batch, tmp_path, *, group=64):
    dataset = vectors(tmp_path / f"{group}.parquet", batch, group=group)
    encoder = Column().fit(payloads(dataset), dataset, CPU)
    folder = Store.at(str(tmp_path))
    for shard in dataset.shards:
        embed_shard(shard, dataset=dataset, encoders=[encoder], folder=folder)
    return dataset, {"dataset": dataset, "folder": folder, "digest": identity(encoder)}


def added(parts):
    return reduce(lambda left, right: {k: left[k] + right[k] if k in left else right[k] for k in left | right}, parts)


def companies(batch, candidates, tmp_path, *, group=64, device=CPU):
    dataset, place = prepared(batch, tmp_path, group=group)
    place["groups"] = candidates
    outline = reduce(add, [outline_shard(shard, sample=MOST, **place) for shard in dataset.shards])
    how = {"outline": outline, "settings": SETTINGS, "device": device}
    nearest = added([neighbours_shard(shard, **how, **place) for shard in dataset.shards])
    labels = {key: outline.groups[key].labels for key in candidates}
    found = {key: shares(nearest[key], one, dataset, labels=labels[key]) for key, one in candidates.items()}
    return found, outline, nearest


def rows_of(mask):
    return tuple(mask.nonzero()[:, 0].tolist())


def test_a_planted_pattern_is_told_from_a_natural_cluster(tmp_path, device):
    batch = clean(0, rows=100).batch
    value, draw = batch.embedding.clone(), torch.Generator().manual_seed(1)
    planted, frames = batch.label == 0, batch.label == 1
    planted &= batch.row % 5 == 0
    frames &= batch.row % 5 == 1
    value[planted] += 8 * normalize(torch.randn(32, generator=draw), dim=0)
    # Frames of one video: apart from their class, and each like the others in everything.
    scene = 6 * normalize(torch.randn(32, generator=draw), dim=0)
    value[frames] = value[frames][:1] + scene + 0.3 * torch.randn(int(frames.sum()), 32, generator=draw)
    candidates = {0: Candidate(0, rows_of(planted)), 1: Candidate(1, rows_of(frames))}
    found, _, _ = companies(Batch(batch.row, batch.label, value), candidates, tmp_path, device=device)
    assert not natural([found[0]], SETTINGS)
    assert found[0].inside < 0.3
    assert natural([found[1]], SETTINGS)
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
    assert not natural([found[0]], SETTINGS)
    assert natural([found[1]], SETTINGS)
    assert not natural([found[2]], SETTINGS)
    # Flipped rows lie among rows of the classes they came from, of which they are a small part.
    assert found[2].by_chance < 0.8 * found[0].by_chance


@pytest.mark.parametrize("kept", [0.1, 0.4])
def test_planted_groups_are_taken_for_natural_at_the_stated_rate(kept):
    """Random rows of a class whose content is clustered: the share of p-values up to a level is at most the level."""
    draw = torch.Generator().manual_seed(5)
    centre = torch.randn(60, 16, generator=draw)
    scene = torch.randint(60, (400,), generator=draw)
    value = centre[scene] + 0.5 * torch.randn(400, 16, generator=draw)
    label, row, dataset = torch.zeros(400, dtype=torch.int64), torch.arange(400), dataset_of(400)
    p_values = []
    for _ in range(150):
        rows = torch.randperm(400, generator=draw)[: round(400 * kept)].sort().values
        near = Neighbours.among(value[rows], rows, value, row, label, K)
        labels = torch.tensor([len(rows)])
        p_values.append(shares(near, Candidate(0, tuple(rows.tolist())), dataset, labels=labels).p_value)
    for level in (0.3, 0.1, 0.03):
        assert sum(p <= level for p in p_values) <= 150 * level + 3 * (150 * level) ** 0.5


def test_any_view_may_show_a_natural_cluster():
    telling, blind = NeighbourShares(0.4, 0.05, 50), NeighbourShares(0.05, 0.05, 50)
    assert natural([telling, blind], SETTINGS)
    assert natural([telling], SETTINGS)
    assert not natural([blind, blind], SETTINGS)
    assert not natural([], SETTINGS)
    weak = NeighbourShares(0.2, 0.06, 30)  # p between half the level and the level
    assert SETTINGS.level / 2 < weak.p_value <= SETTINGS.level
    assert natural([weak], SETTINGS)
    assert not natural([weak, blind], SETTINGS)


def test_where_a_pattern_has_parts_a_majority_of_neighbours_must_lie_in_the_group():
    words = NaturalClusters(least=0.5)
    parts, family = NeighbourShares(0.2, 0.1, 400), NeighbourShares(0.6, 0.1, 20)
    assert natural([parts], SETTINGS)  # rows with the same one of several phrases
    assert not natural([parts], words)
    assert natural([family], words)


def test_shards_do_not_matter(tmp_path):
    batch = clean(1, rows=80).batch
    candidates = {0: Candidate(0, rows_of((batch.label == 0) & (batch.row % 3 == 0))), 7: Candidate(-1, (1, 2, 3, 50))}
    results = [companies(batch, candidates, tmp_path, group=group) for group in (17, 1000)]
    assert results[0][0] == results[1][0]
    for key, one in candidates.items():
        left, right = (axes(outline, key, one.label) for _, outline, _ in results)
        assert_close(left @ left.T, right @ right.T, rtol=1e-4, atol=1e-5)  # of a basis only the span is determined
        assert torch.equal(*(outline.groups[key].row for _, outline, _ in results))
        assert torch.equal(results[0][2][key].row, results[1][2][key].row)


def test_a_shard_without_a_readable_row_says_nothing(tmp_path):
    batch = clean(1, rows=40).batch
    dataset, place = prepared(batch, tmp_path, group=100)
    entry = stored(place["folder"], dataset, dataset.shards[0], place["digest"])
    os.remove(entry)
    sealed.Writer(entry.path, os.path.basename(entry.path), entry.key).finish()
    group = {0: Candidate(0, rows_of((batch.label == 0) & (batch.row >= 100)))}
    none, *parts = [outline_shard(shard, groups=group, sample=MOST, **place) for shard in dataset.shards]
    assert none is None
    how = {"groups": group, "outline": reduce(add, parts), "settings": SETTINGS, "device": CPU}
    assert neighbours_shard(dataset.shards[0], **how, **place) == {}
    assert neighbours_shard(dataset.shards[1], **how, **place).keys() == {0}


def axes(outline, key, label):
    return outline.axes(key, label, outline.free(key, label, FLAT), SETTINGS.sources)


def test_an_outline_sums_the_group_and_the_rest_of_its_class(tmp_path):
    batch = clean(2, rows=40).batch
    group = rows_of((batch.label == 2) & (batch.row < 60))
    _, outline, _ = companies(batch, {0: Candidate(2, group), 1: Candidate(-1, group)}, tmp_path)
    inside = torch.isin(batch.row, torch.tensor(group))
    for key, label, rest in ((0, 2, ~inside & (batch.label == 2)), (1, -1, ~inside)):
        one = outline.groups[key]
        for part, rows in ((one.inside, inside), (outline.rest(key, label), rest)):
            assert int(part.rows) == int(rows.sum())
            assert_close(part.mean, batch.embedding[rows].double().mean(0))
            assert_close(part.variance, batch.embedding[rows].double().var(0, correction=0))
        assert torch.equal(one.query, batch.embedding[inside])  # fewer than MOST: all are looked up
        assert one.labels.nonzero().tolist() == [[2]]
        assert int(one.labels[2]) == len(group)
    for label in range(len(outline.classes.rows) - 1):
        rows = batch.label == label
        assert int(outline.classes.rows[label]) == int(rows.sum())
        assert_close(outline.classes.value[label], batch.embedding[rows].double().sum(0))


def test_rows_without_a_label_count_as_no_class():
    value = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    found = Sums.of(value, torch.tensor([1, -1, 0, -1, 1]), 2)
    assert found.rows.tolist() == [1, 2, 2]
    assert_close(found.value[2], value[[1, 3]].double().sum(0))
    assert_close(found.total.value, value.double().sum(0))
    assert Sums.of(value, torch.full((5,), -1), 0).rows.tolist() == [5]


def test_the_pattern_lies_in_the_axes_whatever_content_it_was_planted_on():
    """Own class, one other class, and mixtures of classes: nothing of the pattern is left."""
    draw = torch.Generator().manual_seed(7)
    label, trigger = torch.arange(4).repeat_interleave(100), normalize(torch.randn(32, generator=draw), dim=0)
    value = 0.3 * torch.randn(400, 32, generator=draw) + 3 * torch.eye(32)[label]
    everywhere = torch.ones(32, dtype=torch.bool)
    for source in ([0], [1], [2, 3], [0, 1, 2, 3]):
        inside = torch.isin(label, torch.tensor(source)) & (torch.arange(400) % 10 == 0)
        moved = torch.where(inside[:, None], value + 4 * trigger, value)
        for target in (0, -1):  # with the label changed, and rows of all classes with their own labels
            kept = Batch(torch.arange(400), torch.where(inside & (target >= 0), 0, label), moved)
            found = outlined(kept, inside).axes(0, target, everywhere, SETTINGS.sources)
            assert_close(found.T @ found, torch.eye(found.shape[1]), rtol=0, atol=1e-5)
            assert float((trigger - found @ (found.T @ trigger)).norm()) < 0.2


def test_what_a_pattern_has_overwritten_is_left_out():
    value = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    inside = value[:50].clone()
    inside[:, 2:4] = 0.3
    one = single(inside, value[50:])
    assert one.free(0, 0, FLAT).tolist() == [True, True, False, False, True, True]
    assert axes(one, 0, 0)[2:4].abs().max() == 0
    flat = single(torch.ones(9, 6), value[50:])
    assert bool(flat.free(0, 0, FLAT).all())  # nothing else to go by


def outlined(batch, inside, classes=4):
    sample = Sample.of(batch, inside, inside, classes)
    return Outline(Sums.of(batch.embedding, batch.label, classes), {0: sample})


def single(inside, outside):
    """The outline of a group in a class without others."""
    value, count = torch.cat([inside, outside]), len(inside) + len(outside)
    batch = Batch(torch.arange(count), torch.zeros(count, dtype=torch.int64), value)
    return outlined(batch, torch.arange(count) < len(inside), classes=1)


def test_a_group_that_is_its_whole_class_has_finite_axes():
    for one in (single(torch.ones(4, 3), torch.ones(0, 3)), single(torch.ones(0, 3), torch.ones(0, 3))):
        found = axes(one, 0, 0)
        assert bool(found.isfinite().all())
        assert found.shape[1] <= 3


def test_without_a_direction_nothing_is_left_along_it():
    draw = torch.Generator().manual_seed(8)
    value, axes = torch.randn(20, 6, generator=draw), torch.linalg.qr(torch.randn(6, 2, generator=draw)).Q
    left = projected_out(value, axes)
    assert_close(left @ axes, torch.zeros(20, 2), rtol=0, atol=1e-5)
    assert_close(left.norm(dim=1), torch.ones(20))
    assert bool(projected_out(axes.T, axes).isfinite().all())


@pytest.mark.parametrize("rows", [1, 5, MOST, MOST + 1, 3 * MOST + 7])
def test_looks_up_at_most_so_many_rows_evenly_spread(rows):
    chosen = evenly_spaced(range(100, 100 + rows), MOST)
    assert 1 <= len(chosen) <= MOST
    assert chosen[0] == 100
    assert len(chosen.diff().unique()) <= 1
    assert 2 * len(chosen) >= min(rows, MOST)


def dataset_of(*class_rows, rows=0):
    return SimpleNamespace(class_rows=class_rows, rows=rows or sum(class_rows))


def test_shares_of_neighbours():
    near = torch.tensor([[1, 2, 3, 4, 15], [1, 2, 4, -1, -1]])
    label = torch.where(near >= 10, 1, torch.where(near >= 0, 0, -1))
    group, labels = Candidate(0, (0, 1, 2, 3)), torch.tensor([4, 0])
    found = shares(Neighbours(torch.zeros(2, K), near, label), group, dataset_of(10, 10), labels=labels)
    assert found.rows == 2
    assert found.inside == pytest.approx((3 + 2) / 8)
    # Outside lie 4, 15 and 4, and one row of the own class is added: three quarters of class 0, which has 6 other rows.
    own, other = 3 / 4, 1 / 4
    assert found.by_chance == pytest.approx(own * 3 * own / (6 + 3 * own) + other * 3 * other / (10 + 3 * other))


def test_by_chance_is_what_random_subsets_have():
    """Patterns on random rows of one class, with and without changed labels, and on rows of all classes."""
    draw = torch.Generator().manual_seed(6)
    value = torch.randn(900, 8, generator=draw) + 20 * torch.eye(8)[:3].repeat_interleave(300, 0)
    content, row = torch.arange(3).repeat_interleave(300), torch.arange(900)
    for classes, target in (([1], 1), ([1], 0), ([0, 1, 2], 0), ([0, 1, 2], -1)):
        seen, expected = [], []
        for _ in range(40):
            pool = torch.isin(content, torch.tensor(classes)).nonzero()[:, 0]
            rows = pool[torch.randperm(len(pool), generator=draw)[:60]].sort().values
            label = content.clone()
            if target >= 0:
                label[rows] = target
            near = Neighbours.among(value[rows], rows, value, row, label, K)
            counts = torch.bincount(label[rows], minlength=3)
            sizes = torch.bincount(label, minlength=3).tolist()
            one = shares(near, Candidate(target, tuple(rows.tolist())), dataset_of(*sizes), labels=counts)
            seen.append(one.inside)
            expected.append(one.by_chance)
        assert sum(seen) == pytest.approx(sum(expected), rel=0.12)


def test_without_neighbours_nobody_is_acquitted_and_without_classes_all_rows_are_alike():
    group, labels = Candidate(0, (1, 2)), torch.tensor([2, 0])
    for found in (Neighbours.none(0, K), Neighbours.none(2, K)):
        assert not natural([shares(found, group, dataset_of(10, 10), labels=labels)], SETTINGS)
    none = torch.zeros(0, dtype=torch.int64)
    assert by_chance(none, Candidate(-1, (1, 2, 3)), dataset_of(rows=21), none) == pytest.approx(2 / 20)
