"""A label column as classes: their names, their rows, and the class index of each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foretaste.errors import DataError

CLASS_LIMIT = 10_000


def count_classes(
    columns: Iterable[tuple[str, pa.Array]], *, label: str, names: tuple[str, ...] | None, rows: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of the classes and the rows of each, from one pass over (where, values) chunks of the column `label`.

    `names` are those a ClassLabel declares for 0, 1, ...: each is a class, even if empty, and -1 means missing.
    Without them the distinct values are the classes, numbers first, in ascending order.

    Raises DataError where the column cannot be a label: undeclared values, too many classes, or no value at all.
    """
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"the class names of label {label!r} must differ, got {', '.join(names)}")
    declared = None if names is None else {"-1", *_keys(names)}
    counts: Counter[str] = Counter()
    for where, values in columns:
        found = values.cast(pa.string()).drop_null().value_counts()
        counts.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
        if declared is not None and not counts.keys() <= declared:
            strange = min(counts.keys() - declared)
            raise DataError(f"{where}: {label!r} must be one of its {len(declared) - 1} classes or -1, got {strange}")
        if len(counts) > CLASS_LIMIT:
            raise DataError(_no_label(label, f"at most {CLASS_LIMIT} classes, got more"))
    limit = max(2, rows // 2)
    if names is None and len(counts) > limit:
        raise DataError(_no_label(label, f"at most {limit} classes in {rows} rows, got {len(counts)}"))
    classes = tuple(sorted(counts, key=_in_order)) if names is None else names
    class_rows = tuple(counts[key] for key in (classes if names is None else _keys(names)))
    if not any(class_rows):
        raise DataError(_no_label(label, "the class of at least one row, it is missing in all"))
    return classes, class_rows


def class_index(values: pa.Array, classes: Sequence[str], *, declared: bool) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Class of each row [B] int64, -1 where it is missing; `declared` if the values are a ClassLabel's integers."""
    keys = _keys(classes) if declared else classes
    found = pc.index_in(values.cast(pa.string()), value_set=pa.array(keys, pa.string()))
    return np.array(found.fill_null(-1), dtype=np.int64)


def _keys(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, range(len(names))))


def _no_label(label: str, rule: str) -> str:
    return f'label {label!r} must hold {rule}: choose another with --label, or --label "" for none'


def _in_order(name: str) -> tuple[bool, int, str]:
    number = name.removeprefix("-").isdecimal()
    return (not number, int(name) if number else 0, name)
