"""Hive partitions: columns whose value is the name of a folder, as in label=cat/part-0.parquet."""

from __future__ import annotations

from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from foretaste.errors import DataError

NULL = "__HIVE_DEFAULT_PARTITION__"


def partition(name: str) -> dict[str, str | None]:
    """The partition columns of a file, by its name relative to the dataset, and their values."""
    pairs = (folder.partition("=") for folder in name.split("/")[:-1])
    values = {unquote(key): unquote(value) for key, equals, value in pairs if key and equals}
    return {key: None if value == NULL else value for key, value in values.items()}


def constant(value: str | None, rows: int) -> pa.Array:
    """A partition column."""
    return pa.repeat(pa.scalar(value, pa.string()), rows)


def require_agreement(column: pa.Array, value: str | None, name: str, where: str) -> None:
    """Raise DataError where a stored column differs from the partition column of the same name.

    Some readers take the stored values, others that of the folder. They are compared as the type of `column`.
    """
    try:
        folder = pa.scalar(value, pa.string()).cast(column.type)
        differs = column.is_valid() if value is None else pc.not_equal(column, folder).fill_null(True)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # the folder's value is none of this type
        differs = pa.repeat(True, len(column))
    if pc.any(differs).as_py():
        first = differs.index(True).as_py()
        held = "null" if not column[first].is_valid else repr(str(column[first]))[:60]
        said = "null" if value is None else repr(value)
        raise DataError(
            f"{where}: column {name!r} must hold {said} as its folder says, and holds {held}: some readers take the "
            "one and some the other, so drop the column or move the rows to the folder of their value"
        )
