"""The runner: stored embeddings, and sweeps over them that all detectors share."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from foretaste.dataset.parquet import payloads
from foretaste.embedders import store
from foretaste.embedders.contract import Aggregator, Encoder, Scorer, SeparatesRows, State
from foretaste.errors import DataError, DetectorError, NotApplicable
from foretaste.types import tables
from foretaste.types.batch import Batch
from foretaste.types.findings import Dataset, Shard, Status, recipe

ROWS = 2048  # of a batch: enough to keep a matrix product busy, and its products fit into a cache


@dataclass(frozen=True)
class Outcome:
    """A detector that did not come to a Scorer, and why."""

    status: Status
    reason: str


def ended(error: Exception) -> Outcome:
    """The status of a run that raised: an exception never becomes a clean result."""
    if isinstance(error, NotApplicable):
        return Outcome(Status.NOT_APPLICABLE, str(error))
    return Outcome(Status.FAILED, f"{type(error).__name__}: {error}"[:500])


# Embeddings, one Arrow file per shard and encoder, named by what decided their content


def stored(folder: str, dataset: Dataset, shard: Shard, digest: str) -> str:
    """Path of the embeddings of a shard by the encoder with this digest."""
    name = recipe("embedding", 1, str(shard.digest), dataset.roles, dataset.classes, digest)
    return os.path.join(folder, name + ".arrow")


def embed_shard(
    shard: Shard, *, dataset: Dataset, encoders: Sequence[Encoder], folder: str, rows: int = 1024
) -> pa.Table:
    """Store what every encoder makes of the rows of a shard, decoding each row once; files that are there are kept.

    Returns the rows that cannot be read, as tables.BROKEN. Raises DataError where embeddings are not finite.
    """
    unread = stored(folder, dataset, shard, "unread")
    paths = {stored(folder, dataset, shard, one.digest): one for one in encoders}
    # Without the list of unread rows all are read again: only who decodes a picture can say that it does not.
    known = os.path.exists(unread)
    missing = {path: one for path, one in paths.items() if not (known and os.path.exists(path))}
    if missing or not known:
        os.makedirs(folder, exist_ok=True)
        with _together() as writer:
            writer(unread, tables.BROKEN)
            for payload in payloads(dataset, [shard], rows=rows):
                for path, encoder in missing.items():
                    batch = encoder.embed(payload)
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
        store.touch(path)
    with pa.memory_map(unread) as source:
        table = pa.ipc.open_file(source).read_all()
        return table.set_column(0, tables.BROKEN.field(0), pc.add(table["row"], shard.first_row))


@contextmanager
def _together() -> Iterator[Callable[[str, pa.Schema], pa.RecordBatchFileWriter]]:
    """Writers by path, opened when first asked for; the files appear when the block ends, or not at all."""
    writers: dict[str, pa.RecordBatchFileWriter] = {}
    suffix = f".partial-{os.getpid()}-{threading.get_ident()}"

    def writer(path: str, schema: pa.Schema) -> pa.RecordBatchFileWriter:
        if path not in writers:
            writers[path] = pa.ipc.new_file(path + suffix, schema)
        return writers[path]

    try:
        yield writer
        for path, one in writers.items():
            one.close()
            os.replace(path + suffix, path)
    finally:
        for path, one in writers.items():
            one.close()
            if os.path.exists(path + suffix):
                os.remove(path + suffix)


def _record(batch: Batch, first_row: int) -> pa.RecordBatch:
    """Rows are stored relative to their shard, so that files before it may come and go."""
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
    """The stored embeddings of a shard in batches of at least `rows` but for the last.

    Rows without class probabilities of their own get those stored at `beliefs`; all classes are alike to a row that
    is missing there.
    """
    believed = None if beliefs is None else _beliefs(beliefs, shard)
    # Read, not mapped: mapped pages count as this process's memory for as long as nobody else needs it.
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


# Sweeps


@dataclass(frozen=True)
class RunKey:
    """One detector of the plan on one embedder's vectors. `digest` is the encoder's, which names the stored files."""

    detector: str
    embedder: str
    digest: str


def fold_shard(
    shard: Shard,
    *,
    live: Mapping[RunKey, Aggregator],
    dataset: Dataset,
    folder: str,
    device: torch.device,
    beliefs: str = "",
) -> dict[RunKey, Any]:
    """The state of every live look after one shard. Each embedding is read once, however many look at it.

    `beliefs` is the digest of the encoder whose class probabilities go with every view, "" for none.
    """
    believed = stored(folder, dataset, shard, beliefs) if beliefs else None
    states: dict[RunKey, Any] = {look: moved(attempt(one.zero), device) for look, one in live.items()}
    for digest in dict.fromkeys(look.digest for look in live):
        for batch in read_shard(stored(folder, dataset, shard, digest), shard, device=device, beliefs=believed):
            for look, one in live.items():
                if look.digest == digest and not isinstance(states[look], Outcome):
                    states[look] = attempt(one.reduce, states[look], batch)
    return {look: moved(state, torch.device("cpu")) for look, state in states.items()}


def merge(
    live: Mapping[RunKey, Aggregator], left: Mapping[RunKey, Any], right: Mapping[RunKey, Any]
) -> dict[RunKey, Any]:
    """Merge the states of two shards; a look that ended in either has ended."""
    out: dict[RunKey, Any] = {}
    for look, one in live.items():
        stopped = next((side[look] for side in (left, right) if isinstance(side[look], Outcome)), None)
        out[look] = stopped or attempt(one.merge, left[look], right[look])
    return out


def attempt(work: Any, *arguments: Any) -> Any:
    """The result of `work`, or how it ended."""
    try:
        return work(*arguments)
    except Exception as error:  # whatever a detector raises, the others go on and the report says so
        return ended(error)


def score_shard(
    shard: Shard,
    *,
    scorers: Mapping[RunKey, Scorer],
    dataset: Dataset,
    folder: str,
    device: torch.device,
    beliefs: str = "",
) -> dict[RunKey, pa.Table | Outcome]:
    """What every scorer says of every row of a shard, as tables.SCORES; `beliefs` as in fold_shard."""
    believed = stored(folder, dataset, shard, beliefs) if beliefs else None
    out: dict[RunKey, pa.Table | Outcome] = {}
    for look, scorer in scorers.items():
        parts = []
        for batch in read_shard(stored(folder, dataset, shard, look.digest), shard, device=device, beliefs=believed):
            part = attempt(_scored, scorer, batch, look)
            parts.append(part)
            if isinstance(part, Outcome):
                break
        stopped = next((part for part in parts if isinstance(part, Outcome)), None)
        out[look] = stopped or (pa.concat_tables(parts) if parts else tables.SCORES.empty_table())
    return out


def apart_shard(
    shard: Shard,
    *,
    scorers: Mapping[RunKey, SeparatesRows],
    groups: Mapping[RunKey, Sequence[int]],
    dataset: Dataset,
    folder: str,
    device: torch.device,
) -> dict[RunKey, Tensor]:
    """Rows of a shard that stand apart in these groups of each look, in which of them (by place), and labels [R, 3].

    A row that stands apart in several groups comes as often; a look that breaks has none, and will break again.
    """
    out: dict[RunKey, Tensor] = {}
    for look, wanted in groups.items():
        parts = [torch.zeros(0, 3, dtype=torch.int64)]
        for batch in read_shard(stored(folder, dataset, shard, look.digest), shard, device=device):
            apart = attempt(scorers[look].apart, batch)
            if not isinstance(apart, Outcome):
                at, group = apart[:, list(wanted)].nonzero(as_tuple=True)
                parts.append(torch.stack([batch.row[at], group, batch.label[at]], 1).cpu())
        out[look] = torch.cat(parts)
    return out


def _scored(scorer: Scorer, batch: Batch, look: RunKey) -> pa.Table:
    scores = scorer.score(batch)
    if len(scores.value) != len(batch):
        raise DetectorError(f"{look.detector} gave {len(scores.value)} scores for {len(batch)} rows")
    rows = len(batch)

    def column(value: Tensor) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = value.cpu().numpy()
        return array

    names = sorted(scores.evidence)
    evidence = pa.nulls(rows, pa.string())
    if names:
        import polars as pl

        frame = pl.DataFrame({name: column(scores.evidence[name].float()) for name in names})
        text = pl.struct(pl.all().round(4)).struct.json_encode()
        evidence = frame.select(text.alias("json"))["json"].to_arrow().cast(pa.string())
    name = pa.dictionary(pa.int32(), pa.string())
    zero = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.table(
        {
            "row": column(batch.row),
            "detector": pa.DictionaryArray.from_arrays(zero, pa.array([look.detector])).cast(name),
            "embedder": pa.DictionaryArray.from_arrays(zero, pa.array([look.embedder])).cast(name),
            "score": column(scores.value.float()),
            "p_value": column(scores.p_value.double()),
            "posterior": column(scores.posterior.float()),
            "group": column(scores.group),
            "evidence": evidence,
        },
        schema=tables.SCORES,
    )


# States


def moved(state: Any, device: torch.device) -> Any:
    """A state with all its tensors on `device`."""
    if isinstance(state, Tensor):
        return state.to(device)
    if is_dataclass(state) and not isinstance(state, (type, Outcome)):
        return type(state)(**{field.name: moved(getattr(state, field.name), device) for field in fields(state)})
    return state


def tensors(state: State, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a state by dotted name, for safetensors."""
    if isinstance(state, Tensor):
        return {prefix: state.contiguous()}
    found: dict[str, Tensor] = {}
    for field in fields(state):
        found |= tensors(getattr(state, field.name), f"{prefix}.{field.name}" if prefix else field.name)
    return found


def restored(like: State, saved: Mapping[str, Tensor], prefix: str = "") -> State:
    """A state of the type of `like` from `tensors` of another. Law: restored(s, tensors(s)) == s."""
    if isinstance(like, Tensor):
        return saved[prefix]
    values = {
        field.name: restored(getattr(like, field.name), saved, f"{prefix}.{field.name}" if prefix else field.name)
        for field in fields(like)
    }
    return type(like)(**values)
