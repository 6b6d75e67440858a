"""The governance mapping of an audit as a table."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

CAVEAT = "This says where the evidence belongs, not that anybody complies."


def crosswalk(lines: Sequence[Mapping[str, Any]], *, width: int = 120) -> str:
    """The result of governance.mapped as a table: one line for each entry, with all evidence for it."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("id", "framework", "name", "because"):
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    doubtful = False
    for _, same in groupby(lines, key=lambda line: (line["framework"], line["edition"], line["id"])):
        entry, *others = same
        because = "; ".join(_because(line) for line in (entry, *others))
        doubtful |= not entry["verified"]
        mark = "" if entry["verified"] else " *"
        edition = f"{entry['framework']}, {entry['edition']}"
        edition += f" ({entry['date']})" if entry["date"] not in entry["edition"] else ""
        table.add_row(*map(Text, (f"{entry['id']}{mark}", edition, entry["name"], because)))
    console = Console(file=io.StringIO(), width=width, highlight=False, emoji=False, markup=False, no_color=True)
    with console.capture() as captured:
        console.print(table)
    text = "\n".join(line.rstrip() for line in captured.get().splitlines())
    notes = dict.fromkeys(f"{line['framework']}, {line['edition']}: {line['note']}" for line in lines if line["note"])
    if doubtful:
        notes["* from a secondary source: look the id up before quoting it."] = None
    return "\n".join([text, "", *notes, CAVEAT]) + "\n"


def _because(line: Mapping[str, Any]) -> str:
    return f"{line['rows']:,} {line['of']} rows found" if line["because"] == "finding" else str(line["says"])
