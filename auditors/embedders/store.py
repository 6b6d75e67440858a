"""The cache of embeddings between audits: where it is, what may be believed of it, writing, reading, and pruning.

An entry is a sealed file (foretaste.sealed): a key in the user's config folder signs every piece of it. What was
damaged, exchanged or written by anybody without that key is never believed; `embed_shard` computes it again. Who can
read the key can forge entries: the user and root.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from foretaste import cache, sealed
from foretaste.cache import Store
from foretaste.dataset.parquet import payloads
from foretaste.embedders.contract import Encoder
from foretaste.errors import DataError, PlanError
from foretaste.registry import HOME
from foretaste.types import tables
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.digests import recipe
from foretaste.types.sources import sources

ROWS = 2048  # of a batch: enough for efficient matrix products, which still fit into the CPU's cache


# Every package whose code determines what an encoder of this package computes.
EMBEDS = ("types", "stats", "dataset", "image", "text", "embedders")


def identity(encoder: Encoder) -> str:
    """The cache key of an encoder's embeddings: its digest, and that of the sources that compute them.

    The sources are those of EMBEDS, and for an encoder of a plug-in those of its package.
    """
    package = type(encoder).__module__.partition(".")[0]
    foreign = () if package == HOME else (str(sources(package)),)
    return recipe(encoder.digest, str(sources(*(f"{HOME}.{name}" for name in EMBEDS))), *foreign)


@dataclass(frozen=True)
class Entry:
    """The file of one shard's embeddings by one encoder, and the key that it is sealed with."""

    path: str
    key: bytes = field(repr=False)

    def __fspath__(self) -> str:
        return self.path

    @property
    def whole(self) -> bool:
        """Whether the entry is there and, by reading all of it, as it was written."""
        try:
            for _ in sealed.pieces(self.path, self.key):
                pass
        except (FileNotFoundError, sealed.Broken):
            return False
        return True

    def batches(self) -> Iterator[pa.RecordBatch]:
        """What was written. Raises DataError where it is not there any more, or not as it was."""
        try:
            for piece in sealed.pieces(self.path, self.key):
                yield pa.ipc.open_stream(piece).read_next_batch()
        except (FileNotFoundError, sealed.Broken) as error:
            fault = error if isinstance(error, sealed.Broken) else "it was removed"
            raise DataError(f"{self.path}: stored embeddings changed during the audit, {fault}; run it again") from None


def stored(folder: Store, dataset: Dataset, shard: Shard, digest: str) -> Entry:
    """The embeddings of a shard by the encoder of this identity."""
    read = replace(dataset.roles, unaudited=())
    name = recipe("embedding", 2, str(shard.digest), read, dataset.classes, digest)
    return Entry(os.path.join(folder.folder, name + ".sealed"), folder.key)


def embed_shard(
    shard: Shard, *, dataset: Dataset, encoders: Sequence[Encoder], folder: Store, rows: int = 1024
) -> pa.Table:
    """Store every encoder's embeddings of the rows of a shard, decoding each row once; whole entries are kept.

    Returns the rows that cannot be read, as tables.BROKEN. Raises DataError where embeddings are not finite, PlanError
    where they cannot be stored.
    """
    unread = stored(folder, dataset, shard, "unread")
    entries = {stored(folder, dataset, shard, identity(encoder)): encoder for encoder in encoders}
    # Without the list of unreadable rows all are embedded again, because only decoding finds them.
    known = unread.whole
    missing = {entry: encoder for entry, encoder in entries.items() if not (known and entry.whole)}
    if missing or not known:
        with _together(folder) as write:
            for payload in payloads(dataset, [shard], rows=rows):
                readable = payload.readable()
                for entry, encoder in missing.items():
                    batch = encoder.embed(readable)
                    if not bool(torch.isfinite(batch.embedding).all()):
                        broken = int((~torch.isfinite(batch.embedding)).any(1).sum())
                        raise DataError(f"{payload.where}: {broken} of {len(batch)} embeddings are not finite")
                    write(entry, _record(batch, shard.first_row))
                found = payload.unread
                at = [int(payload.row[position]) - shard.first_row for position in found]
                write(unread, pa.record_batch([at, list(found.values())], schema=tables.BROKEN))
    for entry in (unread, *entries):
        cache.touch(entry.path)
    table = pa.Table.from_batches(unread.batches(), schema=tables.BROKEN)
    return table.set_column(0, tables.BROKEN.field(0), pc.add(table["row"], shard.first_row))


@contextmanager
def _together(folder: Store) -> Iterator[Callable[[Entry, pa.RecordBatch], None]]:
    """Writes batches to entries, which appear together at the end of the block, or not at all.

    Raises PlanError where they cannot be written.
    """
    writers: dict[Entry, sealed.Writer] = {}
    suffix = f".partial-{os.getpid()}-{secrets.token_hex(4)}"

    def write(entry: Entry, batch: pa.RecordBatch) -> None:
        with _storable(folder):
            if entry not in writers:
                os.makedirs(folder.folder, mode=0o700, exist_ok=True)
                writers[entry] = sealed.Writer(entry.path + suffix, os.path.basename(entry.path), entry.key)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as stream:
                stream.write_batch(batch)
            writers[entry].write(memoryview(sink.getvalue()))

    try:
        yield write
        with _storable(folder):
            for writer in writers.values():
                writer.finish()
            for entry in writers:
                if os.path.isdir(entry.path) and not os.path.islink(entry.path):
                    shutil.rmtree(entry.path)  # nothing of ours, and in the way
                os.replace(entry.path + suffix, entry.path)
    finally:
        for entry, writer in writers.items():
            writer.close()
            with suppress(OSError):
                os.remove(entry.path + suffix)


@contextmanager
def _storable(folder: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PlanError(
            f"{folder.folder}: embeddings cannot be stored there: {error.strerror}; name another folder as "
            "FORETASTE_CACHE"
        ) from error


def _record(batch: Batch, first_row: int) -> pa.RecordBatch:
    """A batch for storage. Rows are relative to the shard, so that files before it may be added or removed."""
    dim, probs = batch.embedding.shape[1], 0 if batch.prob is None else batch.prob.shape[1]
    columns = [pa.array((batch.row - first_row).numpy()), pa.array(batch.label.numpy()), _lists(batch.embedding)]
    if batch.prob is not None:
        columns.append(_lists(batch.prob))
    return pa.RecordBatch.from_arrays(columns, schema=tables.embeddings(dim, probs))


def _lists(value: Tensor) -> pa.Array:
    flat = np.ascontiguousarray(value.cpu().numpy(), dtype=np.float32).reshape(-1)
    item = pa.field("item", pa.float32())
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), type=pa.list_(item, value.shape[1]))


def read_shard(
    entry: Entry, shard: Shard, *, device: torch.device, rows: int = ROWS, beliefs: Entry | None = None
) -> Iterator[Batch]:
    """The stored embeddings of a shard in batches of at least `rows` rows, except the last.

    Where they have no class probabilities, those stored at `beliefs` are used, uniform for rows missing there. Raises
    DataError where they are not as they were stored.
    """
    believed = None if beliefs is None else _beliefs(beliefs, shard)
    for table in _gathered(entry.batches(), rows):
        batch = _batch(table, shard)
        if batch.prob is None and believed is not None:
            batch = replace(batch, prob=believed[batch.row - shard.first_row])
        yield batch.to(device)


def _gathered(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Consecutive batches as tables of at least `rows` rows, except the last."""
    waiting: list[pa.RecordBatch] = []
    held = 0
    for batch in batches:
        waiting.append(batch)
        held += len(batch)
        if held >= rows:
            yield pa.Table.from_batches(waiting)
            waiting, held = [], 0
    if held:
        yield pa.Table.from_batches(waiting)


def _beliefs(entry: Entry, shard: Shard) -> Tensor:
    """Class probabilities [rows, K] of all rows of a shard."""
    table = pa.Table.from_batches(entry.batches())
    prob = _matrix(table["prob"].combine_chunks())
    out = torch.full((shard.rows, prob.shape[1]), 1 / prob.shape[1])
    out[torch.tensor(table["row"].to_numpy())] = prob
    return out


def _batch(table: pa.Table, shard: Shard) -> Batch:
    column = {name: table.column(name).combine_chunks() for name in table.column_names}
    row = torch.from_numpy(np.array(column["row"])) + shard.first_row
    label = torch.from_numpy(np.array(column["label"]))
    return Batch(row, label, _matrix(column["embedding"]), _matrix(column["prob"]) if "prob" in column else None)


def _matrix(column: pa.FixedSizeListArray) -> Tensor:
    return torch.from_numpy(np.array(column.flatten())).view(-1, column.type.list_size)
