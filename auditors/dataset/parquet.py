"""Parquet files, local or behind URLs, as a dataset of shards.

Files are read once for their digests and the label column once for the classes; payloads are streamed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from foretaste.dataset import hive
from foretaste.dataset.binding import file_state, named_files
from foretaste.dataset.common_schema import Stored, converted, promoted, require_columns
from foretaste.dataset.files import Found, find, is_parquet, root_digest
from foretaste.dataset.labels import class_index, count_classes
from foretaste.dataset.payload import Payload
from foretaste.dataset.roles import NOTHING_SAID, Request, class_names, plain_type, resolve
from foretaste.errors import DataError, PlanError
from foretaste.types.dataset import Dataset, File, Modality, Shard
from foretaste.types.digests import Digest, recipe

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
BUFFER = 1 << 20  # without it Arrow buffers the whole row group's bytes; with it, 1 MiB of each column
SCAN = 1 << 16  # rows at a time where only labels and ids are read


def open_dataset(places: Sequence[str], *, request: Request = NOTHING_SAID, shard_rows: int = 50_000) -> Dataset:
    """Open a dataset: digest its files, resolve its column roles and count its classes.

    `places` are files, folders (with hive partitions), globs or fsspec URLs. Row groups are packed into shards of up to
    `shard_rows` rows; a row group is never split.

    Raises PlanError where a place or column does not exist or roles are ambiguous, DataError where a file cannot be
    read, files have different schemas or a column's type does not fit its role.
    """
    root, found = find(places)
    with ThreadPoolExecutor(min(8, len(found))) as pool:
        read = list(pool.map(_inspect, found))
    filled = [inspected for inspected in read if inspected.file.rows]  # empty files may have any column types
    if not filled:
        raise DataError(f"{', '.join(places)}: a dataset must hold at least one row, found none in {len(read)} files")
    stored = [Stored(inspected.file.name, inspected.schema) for inspected in filled]
    schema = promoted(stored)
    roles = resolve(schema, request, where=filled[0].file.name)
    require_columns(stored, schema, roles.columns)
    files = tuple(inspected.file for inspected in read)
    digest = root_digest((file.name, file.digest) for file in files)
    types = tuple((name, plain_type(schema.field(name).type)) for name in roles.columns)
    id_type = None if roles.id is None else str(_id_type(schema.field(roles.id).type))
    dataset = Dataset(root, files, _pack(read, shard_rows), roles, (), (), digest, id_type, types=types)
    payload = plain_type(schema.field(roles.payload[0]).type)
    if roles.modality is Modality.IMAGE and request.image is None and pa.types.is_string(payload):
        _must_name_pictures(dataset)
    dataset = named_files.bind(dataset)
    if roles.label is None:
        return dataset
    classes, class_rows = count_classes(
        _labels(dataset, roles.label), label=roles.label, names=class_names(schema).get(roles.label), rows=dataset.rows
    )
    return replace(dataset, classes=classes, class_rows=class_rows)


@dataclass(frozen=True)
class Payloads:
    """The payloads of some shards of a dataset, in row order, re-iterable. Its length is in rows.

    A payload holds up to `batch` rows of one row group; memory does not grow with the number of rows. Rows without a
    text are left out of those that are `readable`.
    Raises DataError while iterating where a file changed since it was digested.
    """

    dataset: Dataset
    shards: tuple[Shard, ...]
    batch: int
    readable: bool = False

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    def __iter__(self) -> Iterator[Payload]:
        dataset, roles = self.dataset, self.dataset.roles
        for shard in self.shards:
            for part in _parts(dataset, shard, roles.columns, self.batch):
                row = torch.arange(part.row, part.row + part.rows)
                label = torch.zeros_like(row) if roles.label is None else torch.from_numpy(part.index(dataset))
                named = named_files.of_rows(dataset.named, part.row, part.rows)
                payload = Payload(row, label, part.columns, roles, part.where, dataset.root, named)
                yield payload.readable() if self.readable else payload


def payloads(dataset: Dataset, shards: Sequence[Shard] | None = None, *, rows: int = 1024) -> Payloads:
    """The payloads of `shards` (all by default), up to `rows` rows each."""
    return Payloads(dataset, dataset.shards if shards is None else tuple(shards), rows)


def row_groups(dataset: Dataset, rows: Collection[int]) -> Iterator[Shard]:
    """The row groups that contain these rows, in order, each as a shard."""
    wanted = np.array(sorted(set(rows)), dtype=np.int64)
    for shard in dataset.shards:
        first, in_file = shard.first_row, shard.first_row_in_file
        for group, size in enumerate(shard.groups, shard.first_group):
            if np.searchsorted(wanted, first) < np.searchsorted(wanted, first + size):
                yield replace(shard, first_group=group, groups=(size,), first_row=first, first_row_in_file=in_file)
            first, in_file = first + size, in_file + size


def picked(dataset: Dataset, rows: Collection[int]) -> Iterator[Payload]:
    """The payloads of a few rows, in order; only the row groups that contain them are read."""
    wanted = np.array(sorted(set(rows)), dtype=np.int64)
    for payload in payloads(dataset, list(row_groups(dataset, rows))):
        at = np.flatnonzero(np.isin(payload.row.numpy(), wanted))
        if len(at):
            yield payload.taken(at.tolist())


def column(dataset: Dataset, name: str) -> Iterator[tuple[int, pa.Array]]:
    """One column of all rows, in chunks: the position of the chunk's first row, and its values."""
    for shard in dataset.shards:
        for part in _parts(dataset, shard, (name,), SCAN):
            yield part.row, part.columns[name]


def identities(dataset: Dataset, shard: Shard) -> pa.Table:
    """Where each row of a shard is in the user's files: row, file, row_group, row_in_group, id if any, label."""
    roles, sizes = dataset.roles, np.array(shard.groups)
    starts = np.cumsum(sizes) - sizes
    columns = {
        "row": pa.array(np.arange(shard.first_row, shard.first_row + shard.rows)),
        "file": pa.repeat(shard.file.name, shard.rows),
        "row_group": pa.array(np.repeat(np.arange(shard.first_group, shard.first_group + len(sizes)), sizes)),
        "row_in_group": pa.array(np.arange(shard.rows) - np.repeat(starts, sizes)),
    }
    named = tuple(name for name in (roles.id, roles.label) if name is not None)
    parts = list(_parts(dataset, shard, named, SCAN)) if named else []
    if roles.id is not None:
        id_type = pa.type_for_alias(dataset.id_type)
        columns["id"] = pa.chunked_array([part.columns[roles.id].cast(id_type) for part in parts], id_type)
    names = pa.array(dataset.classes, pa.string())
    index = np.concatenate([part.index(dataset) for part in parts]) if roles.label else np.full(shard.rows, -1)
    columns["label"] = names.take(pa.array(index, mask=index < 0))
    return pa.table(columns)


# Files


@dataclass(frozen=True)
class _Inspected:
    file: File
    groups: tuple[int, ...]  # rows of each row group
    schema: pa.Schema  # including hive partition columns


def _inspect(found: Found) -> _Inspected:
    try:
        file = file_state.digested(found)
    except OSError as error:
        raise DataError(f"{found.name}: cannot be read: {error.strerror or error}") from error
    with _parquet(file) as parquet:
        metadata, schema = parquet.metadata, parquet.schema_arrow
        groups = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    for key in hive.partition(found.name):
        if key not in schema.names:
            schema = schema.append(pa.field(key, pa.string()))
    return _Inspected(replace(file, rows=sum(groups)), groups, schema)


@contextmanager
def _parquet(file: File) -> Iterator[pq.ParquetFile]:
    try:
        with file_state.reading(file) as source:
            try:
                parquet = pq.ParquetFile(source, pre_buffer=False, buffer_size=BUFFER)
            except (OSError, pa.ArrowException) as error:
                if isinstance(error, pa.ArrowNotImplementedError) or "too deeply nested" in str(error):
                    why = f"holds a column that Arrow cannot read: {_first_line(error)}"
                    raise DataError(f"{file.name}: {why}: cast it to a type that Arrow has, such as Int64") from error
                fault = "is truncated or damaged" if is_parquet(file.path) else "is not a Parquet file"
                raise DataError(f"{file.name}: {fault}: {_first_line(error)}") from error
            yield parquet
    except OSError as error:
        raise DataError(f"{file.name}: cannot be read: {error}") from error


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _pack(read: Sequence[_Inspected], shard_rows: int) -> tuple[Shard, ...]:
    shards: list[Shard] = []
    first_row = 0
    for inspected in read:
        file, sizes = inspected.file, inspected.groups
        start = before = rows = 0
        for stop, size in enumerate(sizes, 1):
            rows += size
            following = sizes[stop] if stop < len(sizes) else shard_rows  # the last group closes its shard
            if rows and rows + following > shard_rows:
                groups = sizes[start:stop]
                digest = Digest("sha256-rowgroups", recipe(str(file.digest), start, len(groups)))
                shards.append(Shard(file, start, groups, first_row + before, before, digest))
                start, before, rows = stop, before + rows, 0
        first_row += file.rows
    return tuple(shards)


# Rows


def _labels(dataset: Dataset, label: str) -> Iterator[tuple[str, pa.Array]]:
    for shard in dataset.shards:
        for part in _parts(dataset, shard, (label,), SCAN):
            yield part.where, part.columns[label]


@dataclass(frozen=True)
class _Part:
    """Some consecutive rows of one row group, as columns of plain types."""

    row: int  # position of the first one over all files
    rows: int
    columns: dict[str, pa.Array]
    where: str
    declared: bool  # the label column is a ClassLabel

    def index(self, dataset: Dataset) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Class of each row, -1 where it is missing."""
        return class_index(self.columns[str(dataset.roles.label)], dataset.classes, declared=self.declared)


def _parts(dataset: Dataset, shard: Shard, columns: tuple[str, ...], batch: int) -> Iterator[_Part]:
    file, label, row = shard.file, dataset.roles.label, shard.first_row
    folders, types = hive.partition(file.name), dict(dataset.types)
    with _parquet(file) as parquet:
        schema = parquet.schema_arrow
        declared, held = label in class_names(schema), frozenset(schema.names)
        stored = [name for name in columns if name in held]
        for group, expected in enumerate(shard.groups, shard.first_group):
            where, end = f"{file.name}, row group {group}", row + expected
            try:
                for piece in parquet.iter_batches(batch_size=batch, row_groups=[group], columns=stored):
                    piece.validate(full=True)  # strings must be UTF-8, lists must lie within their values
                    read = dict(zip(piece.schema.names, piece, strict=True))
                    values = {name: _plain(read[name]) for name in stored}
                    for name in folders.keys() & values.keys():
                        hive.require_agreement(values[name], folders[name], name, where)
                    values |= {n: hive.constant(folders[n], len(piece)) for n in columns if n not in held}
                    values = {n: converted(value, types.get(n, value.type), n, where) for n, value in values.items()}
                    yield _Part(row, len(piece), values, where, declared)
                    row += len(piece)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{where}: cannot be read: {_first_line(error)}") from error
            if row != end:
                raise DataError(f"{where}: must hold {expected} rows, got {expected + row - end}")


def _plain(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage)
    if pa.types.is_dictionary(column.type):
        return _plain(column.dictionary_decode())
    type_ = plain_type(column.type)
    return column if type_ == column.type else column.cast(type_)


def _id_type(type_: pa.DataType) -> pa.DataType:
    type_ = plain_type(type_)
    return type_ if pa.types.is_integer(type_) else pa.string()


def _must_name_pictures(dataset: Dataset) -> None:
    """Raise PlanError where a string column that was taken for pictures by its name holds no picture paths."""
    column = dataset.roles.payload[0]
    part = next(_parts(dataset, dataset.shards[0], (column,), 64))
    for value in part.columns[column].drop_null().to_pylist():
        if not value.lower().endswith(PICTURES):
            raise PlanError(
                f"{part.where}: {column!r} may hold paths of pictures or texts, got {value[:40]!r}: "
                f"choose with --image {column} or --text {column}"
            )
