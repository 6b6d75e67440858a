"""Stored embeddings are used as they were written or computed again; nothing else is ever believed."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest
import torch
from worlds import CPU, backdoored, vectors

from foretaste import sealed
from foretaste.cache import Store
from foretaste.dataset.parquet import payloads
from foretaste.embedders.column import Column
from foretaste.embedders.store import embed_shard, identity, read_shard, stored
from foretaste.errors import DataError, PlanError


@pytest.fixture
def shop(tmp_path):
    """A dataset whose embeddings are stored: embed it again, and read what is stored."""

    class Shop:
        store = Store(str(tmp_path / "cache"), bytes(32))
        batch = backdoored(0, rows=60, poison=24).batch
        dataset = vectors(tmp_path / "train.parquet", batch, group=64)
        encoder = Column().fit(payloads(dataset), dataset, CPU)

        def embed(self):
            for shard in self.dataset.shards:
                embed_shard(shard, dataset=self.dataset, encoders=[self.encoder], folder=self.store)

        def entries(self, digest=None):
            digest = digest or identity(self.encoder)
            return [stored(self.store, self.dataset, shard, digest) for shard in self.dataset.shards]

        def read(self):
            pairs = zip(self.entries(), self.dataset.shards, strict=True)
            return torch.cat([one.embedding for entry, shard in pairs for one in read_shard(entry, shard, device=CPU)])

    shop = Shop()
    shop.embed()
    return shop


def emptied(path, _):
    os.truncate(path, 0)


def halved(path, _):
    os.truncate(path, os.path.getsize(path) // 2)


def garbage(path, _):
    with open(path, "r+b") as file:
        file.write(os.urandom(os.path.getsize(path)))


def swapped(path, other):
    os.rename(path, f"{path}.x")
    os.rename(other, path)
    os.rename(f"{path}.x", other)


def folder(path, _):
    os.remove(path)
    os.mkdir(path)
    with open(os.path.join(path, "x"), "w", encoding="utf-8") as file:
        file.write("in the way")


def device(path, _):
    os.remove(path)
    os.symlink("/dev/zero", path)


def pipe(path, _):
    os.remove(path)
    os.mkfifo(path)


def noise(path, _, value=0.5, key=b"x" * 32):
    """As somebody would who knows the code and not the key: the same rows, with other vectors."""
    before = [pa.ipc.open_stream(piece).read_next_batch() for piece in sealed.pieces(path, bytes(32))]
    os.remove(path)
    writer = sealed.Writer(path, os.path.basename(path), key)
    for batch in before:
        kind = batch.schema.field("embedding").type
        flat = pa.array([value] * (len(batch) * kind.list_size), pa.float32())
        changed = batch.set_column(2, "embedding", pa.FixedSizeListArray.from_arrays(flat, type=kind))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, changed.schema) as stream:
            stream.write_batch(changed)
        writer.write(memoryview(sink.getvalue()))
    writer.finish()


def not_finite(path, other):
    noise(path, other, value=float("nan"))


DAMAGES = [emptied, halved, garbage, swapped, folder, device, pipe, noise, not_finite]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("which", [None, "unread"])
def test_a_damaged_entry_is_computed_again(shop, damage, which):
    if which and damage in (noise, not_finite):
        pytest.skip("it holds no vectors")
    first, second, *_ = shop.entries(which)
    damage(first.path, second.path)
    shop.embed()
    assert torch.equal(shop.read(), shop.batch.embedding)
    assert {entry.whole for entry in (*shop.entries(), *shop.entries("unread"))} == {True}
    assert not [name for name in os.listdir(shop.store.folder) if "partial" in name]


@pytest.mark.parametrize("damage", [os.remove, lambda path: halved(path, None)])
def test_an_entry_that_changes_during_the_audit_ends_it(shop, damage):
    damage(shop.entries()[1].path)
    with pytest.raises(DataError, match="changed during the audit"):
        shop.read()


def test_the_key_of_another_user_is_no_key(shop):
    before = {entry.path: os.stat(entry).st_ino for entry in shop.entries()}
    shop.store = Store(shop.store.folder, bytes(31) + b"x")
    shop.embed()
    assert torch.equal(shop.read(), shop.batch.embedding)
    assert all(os.stat(path).st_ino != node for path, node in before.items())


def test_a_disk_that_fills_up_is_one_sentence(shop, monkeypatch):
    os.remove(shop.entries()[0])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sealed.Writer, "write", full)
    with pytest.raises(PlanError, match=r"cannot be stored there: No space left on device; .* FORETASTE_CACHE"):
        shop.embed()
    assert not [name for name in os.listdir(shop.store.folder) if "partial" in name]
