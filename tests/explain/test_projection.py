"""The map shows what is apart, and nothing as apart that is not."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from worlds import CPU, TARGET, backdoored, clean, vectors

from foretaste.cache import Store
from foretaste.dataset.parquet import payloads
from foretaste.embedders.column import Column
from foretaste.embedders.store import embed_shard, identity
from foretaste.explain.projection import FLAGGED, ROWS, atlas, plane
from foretaste.types.findings import Finding, Kind


def gap(spots, inside, label):
    """How far to the right the rows lie, in standard deviations of the others of their class."""
    others = spots[~inside & (label == TARGET), 0]
    return float((spots[inside, 0].mean() - others.mean()) / others.std())


def test_a_planted_group_lies_apart():
    world = backdoored(0, poison=30, shift=8.0)
    spots = plane(world.batch.embedding, world.batch.label, world.planted)
    assert spots.shape == (len(world.batch), 2)
    assert 0 <= float(spots.min()) <= float(spots.max()) <= 1
    assert gap(spots, world.planted, world.batch.label) > 5


@pytest.mark.parametrize("seed", range(3))
def test_rows_named_at_random_do_not_lie_apart(seed):
    batch = clean(seed, dim=400, rows=60).batch
    rows = (batch.label == TARGET).nonzero()[:, 0]
    inside = torch.zeros(len(batch), dtype=torch.bool)
    inside[rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:20]]] = True
    assert gap(plane(batch.embedding, batch.label, inside), inside, batch.label) < 2


def test_without_a_group_the_plane_is_that_of_principal_components():
    draw = torch.Generator().manual_seed(0)
    value = torch.randn(300, 12, generator=draw) * torch.tensor([9.0, 5.0] + [0.3] * 10)
    spots = plane(value, torch.zeros(300, dtype=torch.int64), None)
    inner = ((spots > 0) & (spots < 1)).all(1)
    both = torch.corrcoef(torch.cat([spots[inner].T, value[inner, :2].T])).abs()
    assert float(both[0, 2]) > 0.99
    assert float(both[1, 3]) > 0.99


def test_identical_rows_have_a_place():
    value, inside = torch.ones(40, 5), torch.arange(40) < 10
    for chosen in (None, inside):
        assert bool(torch.isfinite(plane(value, torch.zeros(40, dtype=torch.int64), chosen)).all())


def mapped(world, folder, *, group, flagged):
    dataset = vectors(folder / "rows.parquet", world.batch, group=group)
    encoder = Column().fit(payloads(dataset), dataset, CPU)
    store = Store.at(str(folder))
    for shard in dataset.shards:
        embed_shard(shard, dataset=dataset, encoders=[encoder], folder=store)
    rows = pl.DataFrame({"row": world.batch.row.tolist(), "flagged": flagged.tolist()}).with_columns(
        label=pl.Series([dataset.classes[at] for at in world.batch.label.tolist()]),
        kinds=pl.when("flagged").then(pl.lit(["backdoor"])).otherwise(pl.lit([], dtype=pl.List(pl.String))),
    )
    found = [Finding(Kind.BACKDOOR, dataset.classes[TARGET], 30, 0.0, (), "")]
    place = {"view": "column", "folder": store}
    return atlas(dataset, rows.lazy(), found, digest=identity(encoder), **place), dataset, rows, place


def test_the_map_of_stored_vectors(tmp_path):
    world = backdoored(1, poison=30, shift=8.0)
    drawn, dataset, rows, place = mapped(world, tmp_path, group=64, flagged=world.planted)
    assert drawn.guided
    assert drawn.whole == len(world.batch)
    assert {one.row for one in drawn.places if one.flagged} == set(world.planted.nonzero()[:, 0].tolist())
    assert {one.label for one in drawn.places if one.flagged} == {dataset.classes[TARGET]}
    assert atlas(dataset, rows.lazy(), (), digest="absent", **place) is None


def test_a_map_is_bounded(tmp_path):
    world = clean(0, dim=6, rows=1000)
    flagged = torch.arange(len(world.batch)) % 3 == 0
    drawn, *_ = mapped(world, tmp_path, group=100, flagged=flagged)
    assert ROWS / 4 < len(drawn.places) <= ROWS
    assert FLAGGED / 4 < sum(one.flagged for one in drawn.places) <= FLAGGED
