"""A label column as classes: their names, their rows, and the class index of each row."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foretaste.errors import DataError

CLASS_LIMIT = 10_000
SHOWN = 6  # spellings in a sentence
EXACT = 1 << 53  # from here on a floating-point number may not be the integer that was meant
# How missing values read after they became strings; -1 is one where all other classes count from 0 on.
MISSING = ("", "nan", "NaN", "None", "null", "NULL", "N/A", "n/a", "<NA>")


def count_classes(
    columns: Iterable[tuple[str, pa.Array]], *, label: str, names: tuple[str, ...] | None, rows: int
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of the classes and the rows of each, from one pass over (where, values) chunks of the column `label`.

    `names` are those a ClassLabel declares for 0, 1, ...: each is a class, even if empty, and -1 means missing.
    Without them the distinct values are the classes, numbers first, in ascending order. Whole numbers are the classes
    of these numbers, however they are stored: a column of integers with a gap becomes one of floating-point numbers in
    pandas, and so does every label in Spark ML.

    Raises DataError where the column cannot be a label: undeclared values, too many classes, or no value at all.
    """
    if names is not None and len(set(names)) < len(names):
        raise DataError(f"the class names of label {label!r} must differ, got {', '.join(names)}")
    declared = None if names is None else {"-1", *_keys(names)}
    counts: Counter[str] = Counter()
    for where, values in columns:
        found = _named(values, label, where).drop_null().value_counts()
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
    found = pc.index_in(_named(values, "", ""), value_set=pa.array(keys, pa.string()))
    return np.array(found.fill_null(-1), dtype=np.int64)


def remarks(classes: Sequence[str], class_rows: Sequence[int]) -> Iterator[str]:
    """Sentences on classes that probably are none, or not the ones that were meant."""
    rows = dict(zip(classes, class_rows, strict=True))
    counted = {name for name in classes if name.isdecimal()}
    unlabelled = [name for name in classes if name.strip() in MISSING]
    unlabelled += ["-1"] if "-1" in rows and counted - {"1"} and len(counted) == len(rows) - 1 else []
    for name in unlabelled:
        yield (
            f"Class {name if name.strip() else repr(name)} ({_rows(rows[name])}) was audited like any other. If it "
            "says that these rows have no label, set the label to null or leave the rows out."
        )
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(" ".join(unicodedata.normalize("NFKC", name).casefold().split()), []).append(name)
    variants = [names for names in spellings.values() if len(names) > 1]
    if variants:
        shown = "; ".join(", ".join(f"{name!r} ({_rows(rows[name])})" for name in names) for names in variants[:SHOWN])
        more = f"; and {len(variants) - SHOWN} more" if len(variants) > SHOWN else ""
        yield f"Classes that differ only in spelling were audited as different classes: {shown}{more}."


def _rows(number: int) -> str:
    return f"{number:,} row{'s' * (number != 1)}"


def _named(values: pa.Array, label: str, where: str) -> pa.Array:
    """The name of each row's class; null where it is missing or no number."""
    if pa.types.is_floating(values.type):
        known = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
        try:
            values = known.cast(pa.int64())
        except pa.ArrowInvalid:
            strange = next(v for v in known.to_pylist() if v is not None and (v % 1 or abs(v) >= EXACT))
            raise DataError(f"{where}: {_no_label(label, f'whole numbers or names, got {strange}')}") from None
    return values.cast(pa.string())


def _keys(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(str, range(len(names))))


def _no_label(label: str, rule: str) -> str:
    return f'label {label!r} must hold {rule}: choose another with --label, or --label "" for none'


def _in_order(name: str) -> tuple[bool, int, str]:
    number = name.removeprefix("-").isdecimal()
    return (not number, int(name) if number else 0, name)
