"""Prefect artifacts of an audit: the verdict with groups and runs, a link to the report, a table of flagged rows."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from foretaste.errors import ForetasteError
from foretaste.report import numbers
from foretaste.report.visible import visible

Document = Mapping[str, Any]
# States of failed flow runs in which nothing broke.
POISONED, REFUSED, INCONCLUSIVE = "Poisoned", "Refused", "Inconclusive"
SHOWN = 50  # groups and runs in a table; the report has all


class Unfit(ForetasteError):
    """A completed audit whose data must not be used for training; `result` names its folder."""

    def __init__(self, reason: str, result: Mapping[str, Any]) -> None:
        super().__init__(reason)
        self.result = dict(result)


def key_of(name: str, what: str) -> str:
    """The key of an artifact: Prefect allows lower-case letters, digits and dashes."""
    return f"foretaste-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-') or 'dataset'}-{what}"


def publish(name: str, found: Document, folder: str) -> None:
    """Create the artifacts of an audit; their keys depend on the dataset `name`, so that Prefect shows its history."""
    create_markdown_artifact(markdown(found, folder), key=key_of(name, "verdict"), description=f"Verdict on {name}")
    create_link_artifact(
        (Path(folder) / "report.html").absolute().as_uri(), link_text="report.html", key=key_of(name, "report")
    )
    create_table_artifact(
        [{"kind": "all", "rows": found["flagged"]}]
        + [{"kind": kind, "rows": rows} for kind, rows in sorted(found.get("counts", {}).items())],
        key=key_of(name, "flagged"),
        description=f"Flagged of {numbers.plural(found['rows'], 'row')}",
    )


def state(verdict: str, reason: str, result: Mapping[str, Any]) -> State[Any]:
    """The final state of a flow run after this verdict, or after REFUSED; failed ones have states of their own.

    A caller of the flow gets `result` if it completed; otherwise Unfit is raised.
    """
    name = {"failed": POISONED, "inconclusive": INCONCLUSIVE, REFUSED: REFUSED}.get(verdict)
    if name is not None:
        return Failed(name=name, message=visible(reason), data=Unfit(reason, result))
    if verdict == "warned":
        return Completed(name="Warned", message=visible(reason), data=result)
    return Completed(message=visible(f"passed: {reason}"), data=result)


def markdown(found: Document, folder: str) -> str:
    """The verdict as Markdown; text from the data is escaped."""
    groups = [
        (
            group["kind"],
            group["label"] or "",
            numbers.count(group["rows"]),
            numbers.probability(group["p_value"]),
            group["reason"],
        )
        for group in found["groups"]
    ]
    runs = [(run["detector"], run["embedder"], run["status"], run["reason"]) for run in found["runs"]]
    data = found["dataset"]
    parts = [
        f"# {found['verdict'].upper()}",
        plain(found["reason"]),
        f"{numbers.plural(found['flagged'], 'row')} of {numbers.count(found['rows'])} flagged. "
        f"Dataset {plain(data['root'])}, {plain(data['digest'])}. Audit {plain(folder)}.",
        "## Groups" if groups else "",
        table(("kind", "label", "rows", "p", "why"), groups),
        "## Runs" if runs else "",
        table(("detector", "embedder", "status", "why"), runs),
        *(f"- {plain(note)}" for note in found.get("notes", ())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, "" without rows."""
    lines = [f"| {' | '.join(plain(str(cell)) for cell in row)} |" for row in rows]
    if len(lines) > SHOWN:
        lines = [*lines[:SHOWN], f"| {len(lines) - SHOWN} more {'| ' * len(head)}"]
    return "\n".join([f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *lines]) if lines else ""


def plain(text: str) -> str:
    """Text escaped for Markdown: no markup, links, HTML or table cells."""
    return re.sub(r"([\\`*_{}\[\]()#+!|~^$:@]|(?<=www)\.)", r"\\\1", html.escape(visible(text), quote=False))
