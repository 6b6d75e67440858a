"""A report as text, for a terminal or a file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from foretaste.report import numbers
from foretaste.report.formats.halfblocks import gallery
from foretaste.report.next_steps import advice
from foretaste.report.visible import visible

Colours = Literal["standard", "256", "truecolor"]
NO_PICTURES: Mapping[int, bytes] = {}
TONE = {"passed": "green", "warned": "yellow", "failed": "red", "inconclusive": "magenta"}


def terminal(
    document: Mapping[str, Any],
    folder: str,
    *,
    rows: Sequence[Mapping[str, Any]] = (),
    width: int = 100,
    colours: Colours | None = None,
    pictures: Mapping[int, bytes] = NO_PICTURES,
) -> str:
    """The report as text.

    rows      flagged rows to list
    colours   colour system of the terminal, for ANSI escapes; None if the output is no terminal
    pictures  PNG by row, shown above the rows if there are at least 256 colours
    """
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colours is not None,
        color_system=colours,
        no_color=colours is None,
        highlight=False,
        emoji=False,
        markup=False,
    )
    with console.capture() as captured:
        shown = gallery(_captioned(rows, pictures), width) if colours in ("256", "truecolor") else None
        for part in _parts(document, rows, shown):
            console.print(part)
        console.print(*_steps(document, folder), sep="\n", soft_wrap=True)  # a wrapped command could not be copied
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _captioned(rows: Sequence[Mapping[str, Any]], pictures: Mapping[int, bytes]) -> list[tuple[str, bytes]]:
    return [(_caption(row), pictures[row["row"]]) for row in rows if row["row"] in pictures]


def _caption(row: Mapping[str, Any]) -> str:
    return visible(f"{row['row']}" if row.get("label") is None else f"{row['row']}: {row['label']}")


def _parts(
    document: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], shown: RenderableType | None
) -> list[RenderableType]:
    verdict = document["verdict"]
    data = document["dataset"]
    extent = f"{numbers.plural(document['rows'], 'row')}, {numbers.plural(len(data['files']), 'file')}"
    if data.get("classes"):
        extent += f", {numbers.plural(len(data['classes']), 'class', 'classes')}"
    flagged = f"{numbers.count(document['flagged'])} flagged ({numbers.share(document['flagged'], document['rows'])})"
    parts: list[RenderableType] = [
        Text.assemble((verdict.upper(), f"bold {TONE.get(verdict, '')}"), "  ", _text(document["reason"])),
        _text(f"{extent}; {flagged}", "dim"),
        _text(numbers.roles(document["roles"]), "dim"),
    ]
    if document["groups"]:
        parts += ["", _groups(document["groups"])]
    if shown is not None:
        parts += ["", shown]
    if rows:
        parts += ["", _rows(rows)]
    problems = [run for run in document["runs"] if run["status"] != "completed"]
    if problems or document.get("notes"):
        parts += ["", Text("Worth knowing", "bold")]
        parts += [
            _item(f"{run['detector']} on {run['embedder']}: {run['status']}, {run['reason']}", run["status"])
            for run in problems
        ]
        parts += [_item(note) for note in document.get("notes", ())]
    return [*parts, ""]


def _steps(document: Mapping[str, Any], folder: str) -> list[Text]:
    steps = [*advice(document, folder), ("The report to open", f"{folder.rstrip('/')}/report.html")]
    broadest = max(len(what) for what, _ in steps)
    return [Text.assemble((f"{what:<{broadest}}  ", "dim"), _text(command)) for what, command in steps]


def _text(value: object, style: str = "") -> Text:
    """Text from the dataset as plain characters: no rich markup, no terminal escapes."""
    return Text(visible(str(value)), style)


def _item(words: str, status: str = "") -> RenderableType:
    return Padding(Group(_text(f"- {words}", "red" if status == "failed" else "")), (0, 0, 0, 2))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in ("rows", "risk", "row") else "left", overflow="fold")
    return table


def _groups(groups: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("found", "label", "rows", "p-value", "by", "why")
    for group in groups:
        label = "" if group["label"] is None else group["label"]
        cells = (group["kind"], label, numbers.count(group["rows"]), numbers.probability(group["p_value"]))
        table.add_row(*map(_text, (*cells, ", ".join(group["detectors"]), group["reason"])))
    return table


def _rows(rows: Sequence[Mapping[str, Any]]) -> Table:
    with_id = any(row.get("id") is not None for row in rows)
    table = _table("row", *(["id"] if with_id else []), "label", "risk", "kinds", "where", "why")
    for row in rows:
        identity = ["" if row.get("id") is None else row["id"]] if with_id else []
        label = "" if row.get("label") is None else row["label"]
        where = f"{row['file']} {row['row_group']}:{row['row_in_group']}"
        cells = (row["row"], *identity, label, f"{row['risk']:.3f}", ", ".join(row["kinds"]), where, row["reason"])
        table.add_row(*map(_text, cells))
    return table
