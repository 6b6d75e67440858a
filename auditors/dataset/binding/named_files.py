"""The files that rows name by path, pictures above all, and one digest over their bytes.

Whoever can write to such a file changes a row without touching the Parquet file. The digest is the sha256 of a line
for each path, in the order of files, columns and rows: the sha256 of the file behind it, or "-" where that cannot be
read, and the path. Every file is read once; memory grows by 32 bytes for each row, where rows are what is audited.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foretaste.dataset.binding.file_state import reading
from foretaste.dataset.files import inside, opened
from foretaste.errors import DataError
from foretaste.types.dataset import Dataset, Modality, NamedFiles, Shard
from foretaste.types.digests import Digest, recipe

RECIPE = "sha256-named-files-1"  # version of the digest's definition: change it with any change below
BYTE_LIMIT = 1 << 28  # a longer file counts as unreadable
LOOK = 64  # first rows of each Parquet file, by which it is known that a column names files
ROWS = 1 << 12  # at a time
READERS = 8
AT_ONCE = 64  # files that a reader takes at a time
WIDTH = 32  # bytes of a sha256
UNREAD = bytes(WIDTH)  # in the place of the sha256 of a file that cannot be read
REMOTE = 4  # values of them that are asked for behind a URL
PATH_LIKE = re.compile(r"[^\n]{1,1000}\.\w{1,8}")

Reader = Callable[[str], bytes | str]  # the bytes of the file at a path, or why it cannot be read


@dataclass(frozen=True)
class Source:
    """A Parquet file: its name, and what opens it for pyarrow."""

    name: str
    open: Callable[[], AbstractContextManager[Any]]


def read(folder: str, path: str) -> bytes | str:
    """The bytes of the file that a row of a dataset in `folder` names, or why it cannot be read."""
    if "://" in path or "::" in path:
        return "it is a URL, and an audit fetches none: store the file's bytes, or its path below that folder"
    place = inside(folder, path)
    if place is None:
        return "it must be relative to that folder and not lead out of it"
    try:
        with opened(place) as file:
            data: bytes = file.read(BYTE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: the path holds a null character
        return getattr(error, "strerror", None) or str(error)
    return data if len(data) <= BYTE_LIMIT else f"it is longer than {BYTE_LIMIT:,} bytes"


def copied(folder: str, to: str, path: str) -> bytes | str:
    """The same as `read`, and a copy of the file at the same path below the folder `to`, unless there is one."""
    data, target = read(folder, path), inside(to, path)
    if isinstance(data, bytes) and target is not None:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with suppress(FileExistsError), open(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o400), "wb") as out:
            out.write(data)
    return data


def digest(data: bytes | str) -> bytes:
    """The sha256 of a file's bytes; UNREAD for a file that cannot be read."""
    return UNREAD if isinstance(data, str) else hashlib.sha256(data).digest()


def paths(column: pa.Array) -> list[str | None]:
    """The paths in a column, in order; None where a value is missing or holds the file's bytes itself.

    Of a column of texts, or of structs with a path and perhaps bytes, one for each row.
    """
    type_ = column.type
    if isinstance(column, pa.ExtensionArray):
        out = paths(column.storage)
    elif pa.types.is_dictionary(type_):
        out = paths(column.dictionary_decode())
    elif _is_list(type_):
        out = paths(column.flatten())
    elif pa.types.is_struct(type_) and "path" in (names := [child.name for child in type_]):
        path = pc.struct_field(column, "path")
        if "bytes" in names:
            path = pc.if_else(pc.is_valid(pc.struct_field(column, "bytes")), pa.scalar(None, path.type), path)
        out = [None] * len(column) if _is_list(path.type) or pa.types.is_struct(path.type) else paths(path)
    elif pa.types.is_struct(type_) and "bytes" not in [child.name for child in type_]:
        out = [path for child in type_ if _may_name(child.type) for path in paths(column.field(child.name))]
    else:
        # A path may be any bytes, and a damaged file may say of any that they are text.
        stored = column.cast(pa.large_binary()).to_pylist() if _is_text(type_) else [None] * len(column)
        out = [None if path is None else path.decode("utf-8", "surrogateescape") for path in stored]
    return out


def columns(parquet: pq.ParquetFile, folder: str) -> tuple[str, ...]:
    """The columns whose first values name files below the folder."""
    able = [field.name for field in parquet.schema_arrow if _may_name(field.type) and not holds(parquet, field.name)]
    first = next(parquet.iter_batches(LOOK, columns=able), None) if able else None
    return () if first is None else tuple(name for name in able if _names(first.column(name), folder))


def holds(parquet: pq.ParquetFile, column: str) -> bool:
    """Whether the footer shows that every row of a column of pictures holds its file's bytes."""
    metadata = parquet.metadata
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        chunks = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
        stored = chunks.get(f"{column}.bytes")
        counts = None if stored is None else stored.statistics
        if counts is None or not counts.has_null_count or counts.null_count:
            return False
    return bool(metadata.num_row_groups)


def named(sources: Sequence[Source], columns: Sequence[str], read: Reader, *, payload: str | None = None) -> NamedFiles:
    """Read every file that the columns of these Parquet files name; `payload` is the column that is digested by row.

    Raises DataError where a Parquet file cannot be read.
    """
    whole, by_row = hashlib.sha256(f"{RECIPE}\n".encode()), bytearray()
    files = missing = size = 0

    def some(paths: list[str]) -> list[tuple[bytes, int]]:
        contents = map(read, paths)
        return [(digest(data), len(data) if isinstance(data, bytes) else 0) for data in contents]

    with ThreadPoolExecutor(READERS) as pool:
        for column, batch in _batches(sources, columns):
            unique = list(dict.fromkeys(filter(None, batch)))
            parts = [unique[start : start + AT_ONCE] for start in range(0, len(unique), AT_ONCE)]
            done = [one for part in pool.map(some, parts) for one in part]
            known: dict[str | None, tuple[bytes, int]] = dict(zip(unique, done, strict=True))
            for path in filter(None, batch):
                found, length = known[path]
                files, size, missing = files + 1, size + length, missing + (found == UNREAD)
                shown = "-" if found == UNREAD else found.hex()
                whole.update(f"{shown}  {path}\n".encode("utf-8", "surrogateescape"))
            if column == payload:
                by_row += b"".join(known.get(path, (UNREAD, 0))[0] for path in batch)
    return NamedFiles(tuple(columns), Digest(RECIPE, whole.hexdigest()), files, missing, size, bytes(by_row))


def all_paths(sources: Sequence[Source], columns: Sequence[str]) -> Iterator[str]:
    """Every path in the columns of these Parquet files. Raises DataError where one cannot be read."""
    for _, batch in _batches(sources if columns else (), columns):
        yield from filter(None, batch)


def found_columns(sources: Sequence[Source], folder: str) -> tuple[str, ...]:
    """The columns of any of these Parquet files whose first values name files below the folder, sorted."""
    found: set[str] = set()
    for source in sources:
        with _opened(source) as parquet:
            found.update(columns(parquet, folder))
    return tuple(sorted(found))


def bind(dataset: Dataset) -> Dataset:
    """The dataset with the digests of the files that its rows name.

    What they hold enters the digests of the shards, so that nothing computed from other files is taken for theirs.
    """
    roles, sources = dataset.roles, of_dataset(dataset)
    payload = roles.payload[0] if roles.modality is Modality.IMAGE else None
    found = set(found_columns(sources, dataset.root))
    if payload is not None and payload not in found and any(_may_hold_paths(source, payload) for source in sources):
        found.add(payload)
    if not found:
        return dataset
    bound = named(sources, sorted(found), partial(read, dataset.root), payload=payload)
    shards = dataset.shards
    if bound.sha256:
        shards = tuple(replace(shard, digest=_with_files(shard, bound)) for shard in shards)
    return replace(dataset, named=bound, shards=shards)


def of_dataset(dataset: Dataset) -> list[Source]:
    """The Parquet files of a dataset, as what opens them."""
    return [Source(file.name, partial(reading, file)) for file in dataset.files if file.rows]


def paths_of(dataset: Dataset) -> Iterator[str]:
    """Every path that the rows of a dataset name."""
    return all_paths(of_dataset(dataset), () if dataset.named is None else dataset.named.columns)


def of_rows(bound: NamedFiles | None, first: int, rows: int) -> bytes:
    """The sha256 of the files that some consecutive rows name, one after the other; empty where they name none."""
    return b"" if bound is None else bound.sha256[WIDTH * first : WIDTH * (first + rows)]


def _with_files(shard: Shard, bound: NamedFiles) -> Digest:
    files = hashlib.sha256(of_rows(bound, shard.first_row, shard.rows)).hexdigest()
    return Digest("sha256-rowgroups-files", recipe(str(shard.digest), files))


@contextmanager
def _opened(source: Source) -> Iterator[pq.ParquetFile]:
    with source.open() as file:
        try:
            parquet = pq.ParquetFile(file, pre_buffer=False)
        except (OSError, pa.ArrowException) as error:
            raise _unreadable(source, error) from error
        yield parquet


def _batches(sources: Sequence[Source], columns: Sequence[str]) -> Iterator[tuple[str, list[str | None]]]:
    for source in sources:
        with _opened(source) as parquet:
            here = [name for name in columns if name in parquet.schema_arrow.names]
            try:
                for batch in parquet.iter_batches(ROWS, columns=here):
                    yield from ((name, paths(batch.column(name))) for name in here)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(source, error) from error


def _unreadable(source: Source, error: Exception) -> DataError:
    said = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{source.name}: is truncated or damaged, which files its rows name cannot be read: {said}")


def _may_hold_paths(source: Source, column: str) -> bool:
    with _opened(source) as parquet:
        schema = parquet.schema_arrow
        return column in schema.names and _may_name(schema.field(column).type) and not holds(parquet, column)


def _may_name(type_: pa.DataType) -> bool:
    """Whether a column of this type can hold paths."""
    if isinstance(type_, pa.BaseExtensionType):
        return _may_name(type_.storage_type)
    if pa.types.is_dictionary(type_):
        return _may_name(type_.value_type)
    if _is_list(type_):
        return _may_name(type_.value_type)
    if pa.types.is_struct(type_):
        return any(_may_name(child.type) for child in type_)
    return _is_text(type_)


def _is_list(type_: pa.DataType) -> bool:
    return bool(pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_))


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _names(column: pa.Array, folder: str) -> bool:
    values = dict.fromkeys(path for path in paths(column) if path and inside(folder, path))
    if "://" not in folder:
        return any(os.path.isfile(f"{folder}/{path}") for path in values)
    likely = [path for path in values if PATH_LIKE.fullmatch(path)]
    fs, base = fsspec.core.url_to_fs(folder)
    return any(fs.isfile(f"{base}/{path}") for path in likely[:REMOTE])
