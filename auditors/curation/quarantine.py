"""The rows to quarantine, and the manifest of their positions and reasons."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.errors import DataError
from foretaste.types.findings import Kind

REMOVED = ("file", "row_group", "row_in_group", "row", "id", "label", "kinds", "risk", "reason", "detectors")
SCAN = 1 << 16  # rows of samples.parquet at a time


@dataclass(frozen=True)
class Quarantine:
    """The rows to quarantine, ascending: `place` [Q, 2] is row group and row in group of each, `file` its file."""

    row: np.ndarray[Any, np.dtype[np.int64]]
    place: np.ndarray[Any, np.dtype[np.int64]]
    file: pl.Series

    def within(self, first: int, rows: int) -> slice:
        """Those among the `rows` rows from position `first` on."""
        start, end = np.searchsorted(self.row, (first, first + rows))
        return slice(int(start), int(end))


@dataclass(frozen=True)
class Reviewed:
    """The rows that reviewers decided to drop or keep, whether or not the audit flagged them."""

    drop: frozenset[int] = frozenset()
    keep: frozenset[int] = frozenset()


NOT_REVIEWED = Reviewed()


def chosen(rows: pl.DataFrame, kinds: frozenset[Kind], reviewed: Reviewed = NOT_REVIEWED) -> pl.DataFrame:
    """The rows of a piece of samples.parquet to quarantine: flagged for any of `kinds`, unless reviewers decided."""
    named = pl.col("kinds").list.eval(pl.element().is_in(kinds)).list.any()
    drop, keep = pl.col("row").is_in(sorted(reviewed.drop)), pl.col("row").is_in(sorted(reviewed.keep))
    return rows.filter((pl.col("flagged") & named & ~keep) | drop)


def quarantine(
    samples: Path, kinds: frozenset[Kind], rows: int, folder: str, reviewed: Reviewed = NOT_REVIEWED
) -> Quarantine:
    """The rows to quarantine of the `rows` rows in samples.parquet; writes removed.parquet and removed.jsonl.

    Raises DataError where the table does not hold every row once and in order.
    """
    row: list[np.ndarray[Any, np.dtype[np.int64]]] = []
    place, file = [], []
    seen = 0
    try:
        with ExitStack() as stack:
            source = stack.enter_context(pq.ParquetFile(samples))
            schema = source.schema_arrow
            names = [name for name in REMOVED if name in schema.names]
            table = stack.enter_context(
                pq.ParquetWriter(
                    os.path.join(folder, "removed.parquet"),
                    pa.schema([schema.field(name) for name in names]),
                    compression="zstd",
                )
            )
            lines = stack.enter_context(open(os.path.join(folder, "removed.jsonl"), "w", encoding="ascii"))
            for batch in source.iter_batches(SCAN):
                part = pl.DataFrame(pl.from_arrow(batch))
                if not (part["row"] == pl.int_range(seen, seen + len(part), eager=True)).all():
                    raise DataError(f"{samples}: must hold every row once and in order, not so after row {seen}")
                seen += len(part)
                flagged = chosen(part, kinds, reviewed)
                row.append(flagged["row"].to_numpy())
                place.append(flagged.select("row_group", "row_in_group").to_numpy())
                file.append(flagged["file"])
                removed = flagged.select(names)
                table.write_table(removed.to_arrow().cast(table.schema))
                lines.writelines(json.dumps(entry) + "\n" for entry in removed.iter_rows(named=True))
    except FileNotFoundError:
        raise DataError(f"{samples}: the table of all rows is missing") from None
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        raise DataError(f"{samples}: the table of all rows cannot be read: {error}") from error
    if seen != rows:
        raise DataError(f"{samples}: must hold all {rows} audited rows, got {seen}")
    return Quarantine(np.concatenate(row), np.concatenate(place), pl.concat(file))
