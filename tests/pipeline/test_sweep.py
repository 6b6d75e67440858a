"""The runner: nothing is embedded twice, nothing is half there, and whoever breaks ends alone."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from worlds import CPU, backdoored, clean, learned, schema_of, vectors

from foretaste.cache import Store
from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.detectors.activation_clustering import ActivationClustering
from foretaste.detectors.contract import Scorer
from foretaste.detectors.spectral_signature import SpectralSignature
from foretaste.detectors.states import moved, restored, tensors
from foretaste.embedders.column import Column
from foretaste.embedders.pixels import Pixels
from foretaste.embedders.store import embed_shard, identity, read_shard, stored
from foretaste.errors import DataError, NotApplicable
from foretaste.pipeline.scoring import score_shard
from foretaste.pipeline.sweep import attempt, fold_shard, merge
from foretaste.stats.moments import ClassMoments
from foretaste.types import tables
from foretaste.types.batch import Batch
from foretaste.types.findings import Status
from foretaste.types.runs import Outcome, RunKey


class Counting:
    """An encoder that counts its calls, and breaks at the one it is told to."""

    def __init__(self, encoder, digest="counting", fail_at=None, spoil=None):
        self.encoder, self.digest, self.fail_at, self.spoil, self.calls = encoder, digest, fail_at, spoil, 0

    @property
    def dim(self):
        return self.encoder.dim

    def embed(self, payload):
        self.calls += 1
        if self.calls == self.fail_at:
            raise OSError("disk")
        batch = self.encoder.embed(payload)
        if self.spoil is not None:
            batch.embedding[3, 0] = self.spoil
        return batch


@pytest.fixture
def world(tmp_path):
    batch = backdoored(0, rows=60, poison=24).batch
    return batch, vectors(tmp_path / "train.parquet", batch, group=64)


@pytest.fixture
def place(tmp_path):
    return Store.at(str(tmp_path / "cache"))


def column(dataset):
    return Column().fit(payloads(dataset), dataset, CPU)


def embed_all(dataset, encoders, place, **how):
    return [embed_shard(shard, dataset=dataset, encoders=encoders, folder=place, **how) for shard in dataset.shards]


def test_stored_embeddings_are_read_back_as_they_were(world, place):
    batch, dataset = world
    encoder = column(dataset)
    unread = embed_all(dataset, [encoder], place, rows=13)
    assert [len(one) for one in unread] == [0] * len(dataset.shards)
    assert len(dataset.shards) > 2
    back = [
        part for shard in dataset.shards
        for part in read_shard(stored(place, dataset, shard, identity(encoder)), shard, device=CPU, rows=50)
    ]  # fmt: skip
    assert len(back) > len(dataset.shards)  # in batches
    assert torch.equal(torch.cat([part.row for part in back]), batch.row)
    assert torch.equal(torch.cat([part.label for part in back]), batch.label)
    assert torch.equal(torch.cat([part.embedding for part in back]), batch.embedding)


def test_probabilities_are_stored_beside(world, place):
    _, dataset = world

    class Believing(Counting):
        def embed(self, payload):
            batch = super().embed(payload)
            return replace(batch, prob=batch.embedding[:, :6].softmax(1))

    encoder, shard = Believing(column(dataset)), dataset.shards[1]
    embed_shard(shard, dataset=dataset, encoders=[encoder], folder=place)
    (back,) = read_shard(stored(place, dataset, shard, identity(encoder)), shard, device=CPU)
    assert torch.equal(back.prob, back.embedding[:, :6].softmax(1))
    assert int(back.row[0]) == shard.first_row


class Believing(Counting):
    """An encoder of every `step`-th row alone, with class probabilities made of some of its coordinates."""

    def __init__(self, encoder, digest, *, first=0, step=1, **how):
        super().__init__(encoder, digest, **how)
        self.first, self.step = first, step

    def embed(self, payload):
        batch = super().embed(payload)
        batch = batch[batch.row % self.step == 0]
        return replace(batch, prob=self.of(batch))

    def of(self, batch):
        return batch.embedding[:, self.first : self.first + 6].softmax(1)


def test_beliefs_go_with_rows_that_have_none_of_their_own(world, place):
    _, dataset = world
    plain, whole = column(dataset), Believing(column(dataset), "whole")
    embed_all(dataset, [plain, whole], place, rows=13)
    for shard in dataset.shards:
        path, beliefs = stored(place, dataset, shard, identity(plain)), stored(place, dataset, shard, identity(whole))
        alone = list(read_shard(path, shard, device=CPU, rows=20))
        found = list(read_shard(path, shard, device=CPU, rows=20, beliefs=beliefs))
        assert [len(one) for one in found] == [len(one) for one in alone]
        for one, other in zip(found, alone, strict=True):
            assert other.prob is None
            assert torch.equal(one.row, other.row)
            assert torch.equal(one.embedding, other.embedding)
            assert torch.equal(one.prob, whole.of(one))


def test_all_classes_are_alike_to_a_row_nobody_has_beliefs_about(world, place):
    _, dataset = world
    plain, some = column(dataset), Believing(column(dataset), "some", step=3)
    embed_all(dataset, [plain, some], place)
    for shard in dataset.shards:
        path, beliefs = stored(place, dataset, shard, identity(plain)), stored(place, dataset, shard, identity(some))
        (batch,) = read_shard(path, shard, device=CPU, beliefs=beliefs)
        expected = torch.where((batch.row % 3 == 0)[:, None], some.of(batch), torch.tensor(1 / 6))
        assert torch.equal(batch.prob, expected)


def test_rows_with_probabilities_of_their_own_keep_them(world, place):
    _, dataset = world
    own, other = Believing(column(dataset), "own", first=6), Believing(column(dataset), "other")
    embed_all(dataset, [own, other], place)
    shard = dataset.shards[1]
    paths = [stored(place, dataset, shard, name) for name in (identity(own), identity(other))]
    (batch,) = read_shard(paths[0], shard, device=CPU, beliefs=paths[1])
    assert torch.equal(batch.prob, own.of(batch))


def test_sweeps_and_scores_see_the_beliefs(world, place, device):
    _, dataset = world
    plain, whole = column(dataset), Believing(column(dataset), "whole")
    embed_all(dataset, [plain, whole], place)
    look, shard, seen = RunKey("seeing", "column", identity(plain)), dataset.shards[1], []

    class Seeing(Breaking):
        def reduce(self, state, batch):
            seen.append(batch)
            return super().reduce(state, batch)

        def score(self, batch):
            seen.append(batch)
            return learned(SpectralSignature(), world[0]).score(batch.to(CPU))

    seeing = Seeing("never", ValueError())
    how = {"dataset": dataset, "folder": place, "device": device}
    for beliefs in (identity(whole), ""):
        fold_shard(shard, live={look: seeing}, beliefs=beliefs, **how)
        score_shard(shard, scorers={look: seeing}, beliefs=beliefs, **how)
    assert len(seen) == 4
    for one in seen[:2]:
        assert one.prob.device.type == device.type
        assert torch.equal(one.prob.cpu(), whole.of(one.to(CPU)))
    assert [one.prob for one in seen[2:]] == [None, None]


def test_what_is_there_is_not_embedded_again(world, place):
    _, dataset = world
    one, other = Counting(column(dataset), "one"), Counting(column(dataset), "other")
    embed_all(dataset, [one], place)
    calls = one.calls
    before = {name: os.stat(f"{place.folder}/{name}").st_ino for name in os.listdir(place.folder)}
    embed_all(dataset, [one], place)
    assert one.calls == calls
    embed_all(dataset, [one, other], place)
    assert (one.calls, other.calls) == (calls, calls)
    for shard in dataset.shards:
        path = stored(place, dataset, shard, identity(one))
        assert os.stat(path).st_ino == before[os.path.basename(path)]


def test_what_is_of_use_is_not_the_longest_unused(world, place):
    _, dataset = world
    encoder = column(dataset)
    embed_all(dataset, [encoder], place)
    for name in os.listdir(place.folder):
        os.utime(f"{place.folder}/{name}", (0, 0))
    embed_shard(dataset.shards[0], dataset=dataset, encoders=[encoder], folder=place)
    fresh = {name for name in os.listdir(place.folder) if os.stat(f"{place.folder}/{name}").st_mtime > 1}
    assert fresh == {
        os.path.basename(stored(place, dataset, dataset.shards[0], one)) for one in (identity(encoder), "unread")
    }


def test_the_digest_the_roles_and_the_bytes_name_the_file(world, place, tmp_path):
    batch, dataset = world
    shard = dataset.shards[0]
    changed = vectors(tmp_path / "other.parquet", Batch(batch.row, batch.label, batch.embedding + 1))
    names = {
        stored(place, dataset, shard, "a"),
        stored(place, dataset, shard, "b"),
        stored(place, dataset, dataset.shards[1], "a"),
        stored(place, replace(dataset, classes=("x", "y")), shard, "a"),
        stored(place, replace(dataset, roles=replace(dataset.roles, label=None)), shard, "a"),
        stored(place, changed, changed.shards[0], "a"),
    }
    assert len(names) == 6


@pytest.mark.parametrize("others", [0, 1])
def test_a_shard_that_breaks_half_way_leaves_nothing_and_is_done_again(world, place, others):
    _, dataset = world
    shard = dataset.shards[0]
    good = [Counting(column(dataset), f"good {k}") for k in range(others)]
    bad = Counting(column(dataset), "bad", fail_at=3)
    with pytest.raises(OSError, match="disk"):
        embed_shard(shard, dataset=dataset, encoders=[*good, bad], folder=place, rows=30)
    assert os.listdir(place.folder) == []
    embed_shard(shard, dataset=dataset, encoders=[*good, bad], folder=place, rows=30)
    assert len(os.listdir(place.folder)) == others + 2
    assert not any("partial" in name for name in os.listdir(place.folder))


def test_nothing_can_be_seen_before_it_is_whole(world, place):
    _, dataset = world
    seen = []

    class Watching(Counting):
        def embed(self, payload):
            seen.append([name for name in os.listdir(place.folder) if name.endswith(".sealed")])
            return super().embed(payload)

    embed_shard(dataset.shards[0], dataset=dataset, encoders=[Watching(column(dataset))], folder=place, rows=20)
    assert len(seen) > 3
    assert not any(seen)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_an_embedding_that_is_not_finite_is_refused(world, place, bad):
    _, dataset = world
    spoilt = Counting(column(dataset), spoil=bad)
    with pytest.raises(DataError, match=r"train.parquet, row group 0: 1 of 64 embeddings are not finite"):
        embed_shard(dataset.shards[0], dataset=dataset, encoders=[spoilt], folder=place)
    assert os.listdir(place.folder) == []


# Rows that cannot be read


@pytest.fixture
def album(tmp_path):
    """Ten pictures, of which 2 and 7 do not decode."""
    draw, cells = np.random.default_rng(0), []
    for row in range(10):
        file = io.BytesIO()
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
        cells.append({"bytes": b"no picture" if row in (2, 7) else file.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(cells, kind), "label": [0, 1] * 5}), tmp_path / "a.parquet", row_group_size=5
    )
    return open_dataset([str(tmp_path / "a.parquet")], request=Request(image="image", label="label"), shard_rows=5)


def unread_rows(tables_):
    return [row for table in tables_ for row in table["row"].to_pylist()]


def test_unread_rows_are_reported_again_by_whoever_comes_later(album, place):
    encoder = Pixels(grid=8).fit([], album, CPU)
    first = embed_all(album, [encoder], place)
    assert unread_rows(first) == [2, 7]
    assert "UnidentifiedImageError" in first[0]["reason"][0].as_py()
    assert first[0].schema == tables.BROKEN
    assert unread_rows(embed_all(album, [encoder], place)) == [2, 7]
    assert unread_rows(embed_all(album, [encoder, Pixels(grid=4).fit([], album, CPU)], place)) == [2, 7]
    rows = [
        int(row)
        for shard in album.shards
        for part in read_shard(stored(place, album, shard, identity(encoder)), shard, device=CPU)
        for row in part.row
    ]
    assert rows == [0, 1, 3, 4, 5, 6, 8, 9]


def test_unread_rows_are_still_reported_when_only_their_list_was_pruned(album, place):
    encoder = Pixels(grid=8).fit([], album, CPU)
    embed_all(album, [encoder], place)
    for shard in album.shards:
        os.remove(stored(place, album, shard, "unread"))
    assert unread_rows(embed_all(album, [encoder], place)) == [2, 7]


# Sweeps


@dataclass(frozen=True)
class Breaking:
    """An aggregator that breaks at one of its verbs."""

    at: str
    error: Exception

    def _maybe(self, verb):
        if verb == self.at:
            raise self.error

    def zero(self):
        self._maybe("zero")
        return ClassMoments.zero(6, 32, pooled=True)

    def reduce(self, state, batch):
        self._maybe("reduce")
        return state + ClassMoments.of(batch.embedding, batch.label, classes=6, pooled=True)

    def merge(self, left, right):
        self._maybe("merge")
        return left + right


def folded_states(dataset, live, place):
    return [fold_shard(shard, live=live, dataset=dataset, folder=place, device=CPU) for shard in dataset.shards]


@pytest.mark.parametrize("verb", ["zero", "reduce", "merge"])
@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("odd"), Status.FAILED), (NotApplicable("no"), Status.NOT_APPLICABLE)]
)
def test_a_detector_that_breaks_ends_alone(world, place, verb, error, status):
    _, dataset = world
    encoder = column(dataset)
    embed_all(dataset, [encoder], place)
    bad, good = RunKey("bad", "column", identity(encoder)), RunKey("good", "column", identity(encoder))
    live = {bad: Breaking(verb, error), good: Breaking("never", error)}
    total = reduce(lambda left, right: merge(live, left, right), folded_states(dataset, live, place))
    assert isinstance(total[bad], Outcome)
    assert total[bad].status is status
    assert str(error) in total[bad].reason
    assert total[good].count.sum() == dataset.rows


def sweep(detectors, dataset, encoder, place, device=CPU):
    live = {
        RunKey(name, "column", identity(encoder)): one.begin(schema_of(clean(rows=60).batch, rows=dataset.rows))
        for name, one in detectors.items()
    }
    scorers = {}
    while live:
        parts = [fold_shard(shard, live=live, dataset=dataset, folder=place, device=device) for shard in dataset.shards]
        total = reduce(lambda left, right: merge(live, left, right), parts)
        steps = {look: one.finish(moved(total[look], device)) for look, one in live.items()}
        scorers |= {look: step for look, step in steps.items() if isinstance(step, Scorer)}
        live = {look: step for look, step in steps.items() if not isinstance(step, Scorer)}
    return scorers


def test_a_sweep_over_stored_shards_learns_what_one_batch_teaches(world, place, device):
    batch, dataset = world
    encoder = column(dataset)
    embed_all(dataset, [encoder], place)
    detectors = {"spectral": SpectralSignature(), "clusters": ActivationClustering()}
    scorers = sweep(detectors, dataset, encoder, place, device)
    for look, scorer in scorers.items():
        expected = learned(detectors[look.check], batch)
        assert_close(scorer.groups.p_value.cpu(), expected.groups.p_value, rtol=1e-4, atol=1e-6)
        found = [
            score_shard(shard, scorers=scorers, dataset=dataset, folder=place, device=device)[look]
            for shard in dataset.shards
        ]
        table = pa.concat_tables(found)
        assert table.schema == tables.SCORES
        assert table["row"].to_pylist() == batch.row.tolist()
        assert set(table["detector"].to_pylist()) == {look.check}
        np.testing.assert_allclose(table["score"], expected.score(batch).value, rtol=0.01, atol=1e-3)


class Lying:
    """A scorer that gives NaN, or too few scores."""

    def __init__(self, scorer, how):
        self.scorer, self.how, self.groups = scorer, how, scorer.groups

    def score(self, batch):
        scores = self.scorer.score(batch)
        if self.how == "nan":
            return replace(scores, value=scores.value * torch.nan)
        return self.scorer.score(batch[1:])


@pytest.mark.parametrize(("how", "reason"), [("nan", "not finite"), ("few", "scores for")])
def test_scores_that_break_the_contract_end_the_run(world, place, how, reason):
    batch, dataset = world
    encoder = column(dataset)
    embed_all(dataset, [encoder], place)
    look = RunKey("lying", "column", identity(encoder))
    lying = Lying(learned(SpectralSignature(), batch), how)
    found = score_shard(dataset.shards[0], scorers={look: lying}, dataset=dataset, folder=place, device=CPU)[look]
    assert isinstance(found, Outcome)
    assert found.status is Status.FAILED
    assert reason in found.reason


# States


def test_states_are_restored_as_they_were():
    batch = clean().batch
    state = ClassMoments.of(batch.embedding, batch.label, classes=6, pooled=False)
    saved = tensors(state)
    assert set(saved) == {"count", "mean", "scatter"}
    assert all(one.is_contiguous() for one in saved.values())
    for name, value in tensors(restored(ClassMoments.zero(6, 32, pooled=False), saved)).items():
        assert torch.equal(value, saved[name])


def test_moving_keeps_what_is_no_tensor():
    stopped = Outcome(Status.FAILED, "why")
    assert moved(stopped, CPU) is stopped
    assert moved(3, CPU) == 3


def test_an_exception_never_becomes_a_result():
    def crash():
        raise RuntimeError("x" * 1000)

    found = attempt(crash)
    assert found.status is Status.FAILED
    assert found.reason.startswith("RuntimeError: xxx")
    assert len(found.reason) == 500
    with pytest.raises(KeyboardInterrupt):
        attempt(interrupt)


def interrupt():
    raise KeyboardInterrupt
