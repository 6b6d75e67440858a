"""The flagged rows of a stored audit, most suspicious first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from foretaste.errors import DataError


def flagged(folder: str | Path, *, top: int | None = None, kind: str | None = None) -> list[dict[str, Any]]:
    """The first `top` rows of flagged.parquet (all by default), of one kind if one is named.

    Raises DataError where the table is absent or damaged.
    """
    return list(islice(_rows(Path(folder) / "flagged.parquet", kind), top))


def _rows(path: Path, kind: str | None) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(1024):  # the first rows can be had without reading a million
                yield from (row for row in batch.to_pylist() if kind is None or kind in row["kinds"])
    except FileNotFoundError:
        raise DataError(f"{path}: the table of flagged rows is missing") from None
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{path}: the table of flagged rows cannot be read: {error}") from None
