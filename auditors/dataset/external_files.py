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
import pyarrow.parquet as pq

from foretaste.dataset.binding.named_files import BYTE_LIMIT, holds, paths, read
from foretaste.dataset.columns.arrow_types import plain_type
from foretaste.dataset.files import inside, opened
from foretaste.errors import DataError, MissingPackage
from foretaste.types.dataset import Modality

SCAN = 1 << 12  # rows at a time
FETCHERS = 16
PATIENCE = 30  # seconds for one URL
WEB = ("http", "https")
SCHEMES = (*WEB, "file", "s3", "gs", "gcs", "az", "abfs", "hf")


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
        patience: dict[str, Any] = {}
        if scheme in WEB:
            import aiohttp

            patience = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=PATIENCE)}}
        local = scheme == "file"  # a pipe or a device is not waited for
        with opened(fsspec.core.url_to_fs(url)[1]) if local else fsspec.open(url, "rb", **patience) as file:
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
        return not holds(parquet, str(self.column))

    def _recorded(self, start: int, stop: int) -> list[bytes | None]:
        """The digests that the audit recorded for the files of these rows."""
        try:
            table = pl.scan_parquet(self.manifest).select("target_high", "target_low").slice(start, stop - start)
            rows = table.collect().rows()
        except (OSError, pl.exceptions.PolarsError) as error:
            raise DataError(f"{self.manifest}: says what the rows' files read, and is unreadable: {error}") from error
        return [None if high is None else high.to_bytes(8, "little") + low.to_bytes(8, "little") for high, low in rows]

    def _copy(self, path: str, target: str, recorded: bytes | None) -> None:
        found = read(self.root, path)
        content = found if isinstance(found, bytes) else None
        if digest(content) != recorded:
            source = inside(self.root, path)
            raise DataError(f"{source}: must read what was audited and reads something else: audit the dataset again")
        if content is None or os.path.exists(target):
            return
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as out:
            out.write(content)
