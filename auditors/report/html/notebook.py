"""A report as the output of a notebook cell: the verdict, the findings, what to do next."""

from __future__ import annotations

from importlib.resources import files

from foretaste.report import numbers
from foretaste.report.document import document
from foretaste.report.html.page import KINDS, environment, headline
from foretaste.report.next_steps import advice
from foretaste.types.findings import Report

GROUPS = 20


def cell(report: Report) -> str:
    """HTML without scripts and of bounded size; every text from the dataset is escaped."""
    found = document(report)
    return _TEMPLATE.render(
        report=found,
        folder=report.folder,
        headline=headline(found),
        kinds=KINDS,
        groups=found["groups"][:GROUPS],
        more=max(0, len(found["groups"]) - GROUPS),
        unfinished=sum(run["status"] != "completed" for run in found["runs"]),
        advice=advice(found, report.folder),
        words=numbers,
    )


_TEMPLATE = environment().from_string((files("foretaste.report.html") / "cell.html").read_text(encoding="utf-8"))
