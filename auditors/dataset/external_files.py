"""Files that rows refer to by path or URL: reading them, digesting them, and copying them with exported rows.

Whoever controls such a file can change a row without touching the dataset (split-view poisoning, Carlini et al. 2024),
so the manifest stores a digest of the file's bytes as well as its path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from foretaste.dataset.columns.arrow_types import plain_type
from foretaste.dataset.files import inside
from foretaste.dataset.payload import BYTE_LIMIT
from foretaste.errors import DataError, MissingPackage
from foretaste.types.dataset import Modality

SCAN = 1 << 12  # rows at a time
FETCHERS = 16
PATIENCE = 30  # seconds for one URL
WEB = ("http", "https")
SCHEMES = (*WEB, "file", "s3", "gs", "gcs", "az", "abfs", "hf")


def paths(column: pa.Array) -> list[str | None]:
    """The path or URL of each row's picture in an image column; None where the row holds the picture's bytes."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return list(column.to_pylist())
    if not pa.types.is_struct(column.type):
        return [None] * len(column)
    names = {child.name for child in column.type}
    if "path" not in names:
        return [None] * len(column)
    path = pc.struct_field(column, "path")
    if "bytes" in names:
        held = pc.is_valid(pc.struct_field(column, "bytes"))
        path = pc.if_else(held, pa.scalar(None, path.type), path)
    return list(path.to_pylist())


def digest(content: bytes | None) -> bytes | None:
    """16-byte BLAKE2b digest; None for content that could not be read."""
    return None if content is None else blake2b(content, digest_size=16).digest()


def fetch(urls: Sequence[str]) -> list[bytes | None]:
    """The bytes behind each URL, within PATIENCE seconds and BYTE_LIMIT bytes each; None where reading fails.

    Raises MissingPackage where a URL's scheme needs a package that is not installed.
    """
    with ThreadPoolExecutor(FETCHERS) as pool:
        return list(pool.map(_fetch, urls))


def _fetch(url: str) -> bytes | None:
    scheme = url.partition("://")[0].lower()
    if scheme not in SCHEMES or "::" in url:
        return None
    try:
        if scheme == "file" and not Path(fsspec.core.url_to_fs(url)[1]).is_file():
            return None  # reading a device or a pipe may never end
        patience: dict[str, Any] = {}
        if scheme in WEB:
            import aiohttp

            patience = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=PATIENCE)}}
        with fsspec.open(url, "rb", **patience) as file:
            data: bytes = file.read(BYTE_LIMIT + 1)
    except ImportError as error:
        raise MissingPackage(f"{scheme}:// needs another package: pip install 'foretaste[http]' ({error})") from error
    except Exception:  # a foreign server may fail in any way; the row then counts as unreadable
        return None
    return data if len(data) <= BYTE_LIMIT else None


@dataclass(frozen=True)
class Carrier:
    """Copies the files that rows refer to, after checking that they still hold the audited bytes."""

    root: str
    column: str | None  # of paths; None where rows hold their payloads themselves
    manifest: Path  # rows.parquet of the audit

    @classmethod
    def of(cls, found: Mapping[str, Any], manifest: Path) -> Carrier:
        """The carrier for an audit's rows."""
        column = found["roles"]["payload"][0] if found["roles"]["modality"] == Modality.IMAGE else None
        return cls(found["dataset"]["root"], column, manifest)

    def carry_file(self, parquet: pq.ParquetFile, first: int, folder: str) -> None:
        """Copy the files that all rows of `parquet` refer to; `first` is its first row's position over all files."""
        if self.column is None or not self._names_files(parquet):
            return
        for batch in parquet.iter_batches(SCAN, columns=[self.column]):
            self.carry(pa.Table.from_batches([batch]), np.arange(first, first + len(batch)), folder)
            first += len(batch)

    def carry(self, rows: pa.Table, place: np.ndarray[Any, np.dtype[np.int64]], folder: str) -> None:
        """Copy the files that `rows` refer to below `folder`; `place` [B] are their positions, ascending.

        Raises DataError where a file no longer holds the audited bytes.
        """
        if self.column is None:
            return
        column = rows[self.column].combine_chunks()
        named = paths(column.cast(plain_type(column.type)) if not pa.types.is_struct(column.type) else column)
        wanted = [(position, path) for position, path in enumerate(named) if path and inside(self.root, path)]
        if not wanted:
            return
        recorded = self._recorded(int(place[0]), int(place[-1]) + 1)
        for position, path in wanted:
            self._copy(path, os.path.join(folder, path), recorded[int(place[position] - place[0])])

    def _names_files(self, parquet: pq.ParquetFile) -> bool:
        """Whether any row may refer to a file: not if the footer's statistics show that every row holds its bytes."""
        type_ = plain_type(parquet.schema_arrow.field(self.column).type)
        if not pa.types.is_struct(type_):
            return bool(pa.types.is_string(type_))
        metadata = parquet.metadata
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            columns = {group.column(index).path_in_schema: group.column(index) for index in range(group.num_columns)}
            stored = columns.get(f"{self.column}.bytes")
            counts = stored.statistics if stored is not None else None
            if counts is None or not counts.has_null_count or counts.null_count:
                return True
        return False

    def _recorded(self, start: int, stop: int) -> list[bytes | None]:
        """The digests that the audit recorded for the files of these rows."""
        try:
            table = pl.scan_parquet(self.manifest).select("target_high", "target_low").slice(start, stop - start)
            rows = table.collect().rows()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{self.manifest}: says what the rows' files read, and is unreadable: {error}") from error
        return [None if high is None else high.to_bytes(8, "little") + low.to_bytes(8, "little") for high, low in rows]

    def _copy(self, path: str, target: str, recorded: bytes | None) -> None:
        source = inside(self.root, path)
        try:
            with fsspec.open(source, "rb") as file:
                content: bytes | None = file.read(BYTE_LIMIT + 1)
        except (OSError, ValueError):
            content = None
        if digest(content) != recorded:
            raise DataError(f"{source}: must read what was audited and reads something else: audit the dataset again")
        if content is None or os.path.exists(target):
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as out:
            out.write(content)
