"""The rows of data that passed the gate, as a map-style dataset for PyTorch's DataLoader or a plain loop.

    loader = DataLoader(foretaste.require("data/train").rows(["image", "label"]), shuffle=True)

Only attested rows can be indexed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.errors import DataError
from foretaste.gate.verified_file import VerifiedFile


class Rows:
    """All rows of some verified files, in their order, read into memory through the handles that were hashed.

    Row i is a dict of Python values by column name. Data larger than memory can be streamed from the `paths` of a
    snapshot instead (see `require`). Columns that exist only as folder names (hive partitions) are not included.

    Raises DataError where the files cannot be read as one table, Refused where a file changed since it was checked.
    """

    def __init__(self, files: Sequence[VerifiedFile], columns: Sequence[str] | None = None) -> None:
        try:
            tables = [pq.ParquetFile(file).read(None if columns is None else list(columns)) for file in files]
            self.table = pa.concat_tables(tables, promote_options="default")
        except pa.ArrowException as error:
            raise DataError(f"the attested files cannot be read as one table: {str(error).splitlines()[0]}") from error
        missing = [name for name in columns or () if name not in self.table.column_names]
        if missing:
            raise DataError(f"the attested files have no column {missing[0]!r}, there are {self.table.column_names}")

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} is none of the {len(self)} attested rows")
        start = row % len(self)
        return {name: self.table.column(name)[start].as_py() for name in self.table.column_names}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))
