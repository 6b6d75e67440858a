"""A report as the output of a notebook's cell: the verdict, the groups, what to do next."""

from __future__ import annotations

from importlib.resources import files

from auditors.report import words
from auditors.report.advice import advice
from auditors.report.document import document
from auditors.report.page import KINDS, environment, headline
from auditors.values import Report

GROUPS = 20


def cell(report: Report) -> str:
    """HTML without scripts, small whatever was found; every text from the dataset is escaped."""
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
        words=words,
    )


_TEMPLATE = environment().from_string((files("auditors.report") / "cell.html").read_text(encoding="utf-8"))
