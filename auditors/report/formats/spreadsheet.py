"""Flagged rows as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from foretaste.report.document import plain
from foretaste.report.visible import visible

COLUMNS = ("row", "file", "row_group", "row_in_group", "label", "risk", "p_value", "kinds", "detectors", "reason")


def sheet(rows: Sequence[Mapping[str, Any]]) -> str:
    """A header and a line for each row; lists of strings are joined by ";"."""
    out = io.StringIO()
    columns = list(rows[0]) if rows else list(COLUMNS)
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> str | int | float:
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ";".join(value)
    if isinstance(value, (list, dict)):
        value = json.dumps(value)
    if isinstance(value, str):
        text = visible(value, lines=True)
        # A spreadsheet evaluates a text that begins like a formula; a leading apostrophe marks it as text.
        return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t") else text
    return float(value) if isinstance(value, float) else int(value)
