"""rows.parquet: for every row its position, id, label and a digest of its content.

Two manifests can be compared without the data. Digests do not depend on storage: compression, row groups, dictionary
encoding and the width of numbers do not change them; one pixel, letter or number does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foretaste import atomic
from foretaste.dataset import external_files
from foretaste.dataset.binding.named_files import paths
from foretaste.dataset.parquet import identities, open_dataset, payloads
from foretaste.dataset.payload import Payload
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.errors import DataError, PlanError
from foretaste.types import tables
from foretaste.types.dataset import Dataset, Modality, Shard

RECIPE = "blake2b-128-row-1"  # version of the digest's definition: change it with any change below
NAME = "rows.parquet"
KEY = b"foretaste"
Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class Manifest:
    """A stored manifest: `facts` as made by _facts, `rows` in the schema of tables.manifest."""

    place: str
    facts: Mapping[str, Any]
    rows: pl.LazyFrame


def of_shard(shard: Shard, dataset: Dataset, *, fetch: bool = False) -> pa.Table:
    """The manifest of one shard; `fetch` also reads URLs."""
    content, target = [], []
    for payload in payloads(dataset, [shard]):
        named, read = _read(payload, fetch=fetch)
        content.append(_digests(payload, named, read))
        target += [external_files.digest(data) if path else None for path, data in zip(named, read, strict=True)]
    table = identities(dataset, shard)
    words = np.frombuffer(b"".join(content), dtype="<u8").reshape(-1, 2)
    known = np.frombuffer(b"".join(digest or bytes(16) for digest in target), dtype="<u8").reshape(-1, 2)
    missing = np.array([digest is None for digest in target])
    for name, value in (
        ("payload_high", pa.array(words[:, 0])),
        ("payload_low", pa.array(words[:, 1])),
        ("target_high", pa.array(known[:, 0], mask=missing)),
        ("target_low", pa.array(known[:, 1], mask=missing)),
    ):
        table = table.append_column(name, value)
    return table.cast(_schema(dataset))


def write(parts: Iterable[pa.Table], dataset: Dataset, path: str, *, fetched: bool = False) -> None:
    """Store the manifests of all shards, in order, as one file; `fetched` records whether URLs were read."""
    with pq.ParquetWriter(path, _schema(dataset), compression="zstd") as writer:
        writer.add_key_value_metadata({KEY: json.dumps(_facts(dataset) | {"fetched": fetched}).encode()})
        for part in parts:
            writer.write_table(part)


def of_dataset(places: Sequence[str], path: str, *, request: Request = NOTHING_SAID, fetch: bool = False) -> None:
    """Write the manifest of a dataset to the new file `path`, atomically.

    Raises PlanError where the file exists or roles are ambiguous, DataError where the dataset cannot be read.
    """
    if os.path.lexists(path):
        raise PlanError(f"{path}: the manifest must be a new file, and this exists")
    dataset = open_dataset(places, request=request)
    try:
        with atomic.file(path) as partial:
            write((of_shard(shard, dataset, fetch=fetch) for shard in dataset.shards), dataset, partial, fetched=fetch)
    except OSError as error:
        raise PlanError(f"{path}: cannot be written: {error.strerror or error}") from error


def stored(place: str) -> Manifest | None:
    """The manifest at `place`, an audit's folder or a manifest file; None where `place` is a dataset.

    Raises DataError where an audit has no manifest or it cannot be read.
    """
    path = Path(place)
    if (path / "report.json").is_file():
        path = path / NAME
        if not path.is_file():
            raise DataError(f"{place}: this audit wrote no {NAME} to compare with: audit the dataset again")
    elif not path.is_file():
        return None
    try:
        held = (pq.read_metadata(path).metadata or {}).get(KEY)
        facts = None if held is None else json.loads(held)
    except (OSError, pa.ArrowException, ValueError) as error:
        if path.name != NAME:
            return None  # reading it as a dataset gives the better error message
        raise DataError(f"{path}: the manifest cannot be read: {error}") from error
    return None if facts is None else Manifest(place, facts, pl.scan_parquet(path))


def request(roles: Mapping[str, Any]) -> Request:
    """The Request that gives another dataset the same column roles."""
    said = Request(label=roles["label"] or "", id=roles["id"] or "", source=roles["source"] or "")
    payload = tuple(roles["payload"])
    match Modality(roles["modality"]):
        case Modality.PAIR:
            return replace(said, prompt=",".join(payload[:-1]), response=payload[-1])
        case Modality.FEATURES:
            return replace(said, features=payload)
        case modality:
            return replace(said, **{str(modality): payload[0]})


def reopened(report: Mapping[str, Any]) -> Dataset:
    """The dataset of a stored audit, from its report.json. Raises DataError where a file changed since."""
    data = report["dataset"]
    places = [f"{data['root'].rstrip('/')}/{file['name']}" for file in data["files"]]
    dataset = open_dataset(places, request=request(report["roles"]))
    audited = {file["digest"] for file in data["files"]}
    changed = [file.name for file in dataset.files if str(file.digest) not in audited]
    if changed:
        raise DataError(f"{changed[0]}: is not what was audited any more, its rows cannot be shown: audit it again")
    return dataset


def _schema(dataset: Dataset) -> pa.Schema:
    return tables.manifest(pa.type_for_alias(dataset.id_type) if dataset.id_type else None)


def _facts(dataset: Dataset) -> dict[str, Any]:
    roles = dataset.roles
    return {
        "recipe": RECIPE,
        "root": dataset.root,
        "digest": str(dataset.digest),
        "files": {file.name: str(file.digest) for file in dataset.files},
        "roles": {
            "modality": str(roles.modality),
            "payload": list(roles.payload),
            "label": roles.label,
            "id": roles.id,
            "source": roles.source,
        },
    }


# Digests


def _read(payload: Payload, *, fetch: bool) -> tuple[list[str | None], list[bytes | None]]:
    """The path of each row that refers to a file, and the bytes of each picture; None for other modalities."""
    if payload.roles.modality is not Modality.IMAGE:
        return [None] * len(payload), [None] * len(payload)
    named, read = paths(payload.columns[payload.roles.payload[0]]), payload.pictures()
    if fetch:
        remote = [position for position, path in enumerate(named) if path and "://" in path]
        found = external_files.fetch([str(named[position]) for position in remote])
        for position, data in zip(remote, found, strict=True):
            read[position] = data
    return named, read


def _digests(payload: Payload, named: list[str | None], read: list[bytes | None]) -> bytes:
    """16 bytes a row: the digest of its payload; of a picture, of its encoded bytes or of the path it is given by."""
    roles = payload.roles
    if roles.modality is Modality.IMAGE:
        held = [b"p" + path.encode() if path else data for path, data in zip(named, read, strict=True)]
        columns: list[pa.Array] = [pa.array(held, pa.large_binary())]
    else:
        # A digest must not depend on the order of a table's columns.
        order = sorted(roles.payload) if roles.modality is Modality.FEATURES else roles.payload
        columns = [payload.columns[name] for name in order]
    fixed, blobs = [], []
    for column in columns:
        block, blob = _encoded(column)
        fixed.append(block)
        blobs += [] if blob is None else [blob]
    block = np.concatenate(fixed, axis=1)  # [B, W]
    width, whole = block.shape[1], block.tobytes()
    starts = range(0, len(whole), width)
    if not blobs:
        rows: Iterable[bytes] = (whole[start : start + width] for start in starts)
    else:
        rows = (whole[start : start + width] + b"".join(parts) for start, *parts in zip(starts, *blobs, strict=True))
    return b"".join(blake2b(row, digest_size=16).digest() for row in rows)


def _encoded(column: pa.Array) -> tuple[Bytes, list[bytes] | None]:
    """Each value as a tag and eight bytes [B, 9]: a number, or the length of its bytes, which are in the list."""
    type_ = column.type
    if pa.types.is_null(type_):
        return _block(np.zeros(len(column), "<u8"), b"n", column), None
    if pa.types.is_boolean(type_):
        return _block(_values(column.cast(pa.uint8())).astype("<u8"), b"b", column), None
    if pa.types.is_uint64(type_):
        value = _values(column)
        block = _block(value.astype("<u8"), b"i", column)
        block[(value >= 1 << 63) & np.asarray(column.is_valid()), 0] = ord("u")  # else equal to a negative number
        return block, None
    if pa.types.is_integer(type_):
        return _block(_values(column).astype("<i8"), b"i", column), None
    if pa.types.is_floating(type_):
        return _block(_number(_values(column)), b"f", column), None
    if not (pa.types.is_string(type_) or pa.types.is_large_string(type_) or _is_binary(type_)):
        column = _serialised(column)
    tag = b"y" if _is_binary(column.type) else b"s"
    whole = column.cast(pa.large_binary()).fill_null(b"")
    return _block(np.asarray(pc.binary_length(whole)).astype("<i8"), tag, column), whole.to_pylist()


def _serialised(column: pa.Array) -> pa.Array:
    """Vectors as the bytes of float64 numbers, whatever their stored type; anything else as JSON."""
    type_ = column.type
    nested = pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)
    if nested and (pa.types.is_floating(type_.value_type) or pa.types.is_integer(type_.value_type)):
        flat = column.flatten()
        if not column.null_count and not flat.null_count:
            lengths = np.asarray(pc.list_value_length(column)).astype(np.int64)
            ends = np.concatenate(([0], lengths.cumsum())) * 8
            data = _number(np.asarray(flat)).tobytes()
            return pa.LargeBinaryArray.from_buffers(
                pa.large_binary(), len(column), [None, pa.py_buffer(ends.astype(np.int64)), pa.py_buffer(data)]
            )
    values = column.to_pylist()
    texts = [None if value is None else json.dumps(value, sort_keys=True, default=str) for value in values]
    return pa.array(texts, pa.large_string())


def _values(column: pa.Array) -> np.ndarray[Any, Any]:
    return np.asarray(column.fill_null(0))


def _number(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """As float64 with a single representation of zero and of NaN."""
    value = value.astype("<f8") + 0.0
    return np.where(np.isnan(value), np.nan, value)


def _block(value: np.ndarray[Any, Any], tag: bytes, column: pa.Array) -> Bytes:
    """A tag [B, 1], zero where the value is missing, and the value's bytes [B, 8]."""
    valid = np.asarray(column.is_valid())
    out = np.zeros((len(value), 9), np.uint8)
    out[:, 0] = np.where(valid, ord(tag), 0)
    out[:, 1:] = np.where(valid[:, None], np.ascontiguousarray(value).view(np.uint8).reshape(-1, 8), 0)
    return out


def _is_binary(type_: pa.DataType) -> bool:
    return bool(pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_fixed_size_binary(type_))
