"""The cache of embeddings between audits: paths, writing, reading, and pruning."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from foretaste.dataset.parquet import payloads
from foretaste.embedders.contract import Encoder
from foretaste.errors import DataError
from foretaste.registry import HOME
from foretaste.types import tables
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.digests import recipe
from foretaste.types.sources import sources

OURS = re.compile(r"[0-9a-f]{32}\.arrow(\.partial-.*)?")


def folder() -> str:
    """The cache folder: $FORETASTE_CACHE, or foretaste below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("FORETASTE_CACHE") or os.path.join(base, "foretaste")


def limit() -> int:
    """Largest size of the cache in bytes: $FORETASTE_CACHE_GB gigabytes, 10 by default."""
    try:
        return int(float(os.environ.get("FORETASTE_CACHE_GB", "10")) * 1e9)
    except (ValueError, OverflowError):
        return 10_000_000_000


def touch(path: str) -> None:
    """Mark a stored result as used now."""
    with suppress(OSError):
        os.utime(path)


def prune(place: str, keep: int) -> None:
    """Delete the least recently used results until at most `keep` bytes are left."""
    held = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(place):
            # Files of others are never deleted.
            with suppress(FileNotFoundError):
                if not OURS.fullmatch(entry.name):
                    continue
                held.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    total = sum(size for _, size, _ in held)
    for _, size, path in sorted(held):
        if total <= keep:
            return
        with suppress(FileNotFoundError):
            os.remove(path)
        total -= size


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


def stored(folder: str, dataset: Dataset, shard: Shard, digest: str) -> str:
    """Path of the embeddings of a shard by the encoder of this identity."""
    name = recipe("embedding", 1, str(shard.digest), dataset.roles, dataset.classes, digest)
    return os.path.join(folder, name + ".arrow")


def embed_shard(
    shard: Shard, *, dataset: Dataset, encoders: Sequence[Encoder], folder: str, rows: int = 1024
) -> pa.Table:
    """Store every encoder's embeddings of the rows of a shard, decoding each row once; existing files are kept.

    Returns the rows that cannot be read, as tables.BROKEN. Raises DataError where embeddings are not finite.
    """
    unread = stored(folder, dataset, shard, "unread")
    paths = {stored(folder, dataset, shard, identity(encoder)): encoder for encoder in encoders}
    # Without the list of unreadable rows all are embedded again, because only decoding finds them.
    known = os.path.exists(unread)
    missing = {path: encoder for path, encoder in paths.items() if not (known and os.path.exists(path))}
    if missing or not known:
        os.makedirs(folder, exist_ok=True)
        with _together() as writer:
            writer(unread, tables.BROKEN)
            for payload in payloads(dataset, [shard], rows=rows):
                readable = payload.readable()
                for path, encoder in missing.items():
                    batch = encoder.embed(readable)
                    if not bool(torch.isfinite(batch.embedding).all()):
                        broken = int((~torch.isfinite(batch.embedding)).any(1).sum())
                        raise DataError(f"{payload.where}: {broken} of {len(batch)} embeddings are not finite")
                    record = _record(batch, shard.first_row)
                    writer(path, record.schema).write_batch(record)
                found = payload.unread
                at = [int(payload.row[position]) - shard.first_row for position in found]
                record = pa.record_batch([at, list(found.values())], schema=tables.BROKEN)
                writer(unread, tables.BROKEN).write_batch(record)
    for path in (unread, *paths):
        touch(path)
    with pa.memory_map(unread) as source:
        table = pa.ipc.open_file(source).read_all()
        return table.set_column(0, tables.BROKEN.field(0), pc.add(table["row"], shard.first_row))


@contextmanager
def _together() -> Iterator[Callable[[str, pa.Schema], pa.RecordBatchFileWriter]]:
    """Writers by path, opened on first use; their files appear together at the end of the block, or not at all."""
    writers: dict[str, pa.RecordBatchFileWriter] = {}
    suffix = f".partial-{os.getpid()}-{threading.get_ident()}"

    def writer(path: str, schema: pa.Schema) -> pa.RecordBatchFileWriter:
        if path not in writers:
            writers[path] = pa.ipc.new_file(path + suffix, schema)
        return writers[path]

    try:
        yield writer
        for path, opened in writers.items():
            opened.close()
            os.replace(path + suffix, path)
    finally:
        for path, opened in writers.items():
            opened.close()
            if os.path.exists(path + suffix):
                os.remove(path + suffix)


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
    path: str, shard: Shard, *, device: torch.device, rows: int = ROWS, beliefs: str | None = None
) -> Iterator[Batch]:
    """The stored embeddings of a shard in batches of at least `rows` rows, except the last.

    Where they have no class probabilities, those stored at `beliefs` are used, uniform for rows missing there.
    """
    believed = None if beliefs is None else _beliefs(beliefs, shard)
    # Read, not memory-mapped: mapped pages would count as this process's memory.
    with pa.OSFile(path) as source:
        reader = pa.ipc.open_file(source)
        waiting: list[pa.RecordBatch] = []
        held = 0
        for number in range(reader.num_record_batches):
            waiting.append(reader.get_batch(number))
            held += len(waiting[-1])
            if held and (held >= rows or number + 1 == reader.num_record_batches):
                batch = _batch(pa.Table.from_batches(waiting), shard)
                if batch.prob is None and believed is not None:
                    batch = replace(batch, prob=believed[batch.row - shard.first_row])
                yield batch.to(device)
                waiting, held = [], 0


def _beliefs(path: str, shard: Shard) -> Tensor:
    """Class probabilities [rows, K] of all rows of a shard."""
    with pa.OSFile(path) as source:
        table = pa.ipc.open_file(source).read_all()
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
