"""report.html: one page that needs nothing but itself, safe to open whatever the dataset holds."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from auditors.report import words
from auditors.report.advice import advice
from auditors.report.document import document
from auditors.report.glyphs import visible
from auditors.values import Report

PICTURES = 24  # of a group; all rows are in flagged.parquet
TEXTS = 8
EXCERPT = 480  # characters of a text
HEADLINE = {
    "passed": "No poison was found in this dataset.",
    "warned": "This dataset deserves a look before training.",
    "failed": "Do not train on this dataset as it is.",
}
KINDS = {
    "backdoor": "Backdoor",
    "label": "Wrong labels",
    "duplicate": "Copies",
    "outlier": "Outliers",
    "integrity": "Integrity",
}


@dataclass(frozen=True)
class Sample:
    """A flagged row as a person sees it.

    picture  a PNG from thumbnails.picture, or None
    text     the payload as text, or None; shown as an excerpt
    marks    strings to mark in the text: the trigger, where a detector names it
    """

    row: int
    file: str
    row_group: int
    row_in_group: int
    id: str | None
    label: str | None
    risk: float
    p_value: float
    kinds: tuple[str, ...]
    detectors: tuple[str, ...]
    reason: str
    picture: bytes | None = None
    text: str | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Common:
    """What the pictures of a group have in common.

    words     where it lies, as in "in the lower right corner"
    strength  how many times more it is than the most that random rows have in common
    pattern   a PNG of what it is
    where     a PNG of where it is, over the average of the pictures
    """

    words: str
    strength: float
    pattern: bytes
    where: bytes


def page(
    report: Report, samples: Sequence[Sample], common: Mapping[tuple[str, str | None], Common] | None = None
) -> str:
    """The whole report as HTML. `samples` are flagged rows in any order; each group shows its most suspicious ones.

    `common` is what the pictures of a group have in common, by its kind and label.
    """
    found = document(report)
    ranked = sorted(samples, key=lambda one: (-one.risk, one.p_value, one.row))
    groups: list[dict[str, Any]] = []
    shown: set[int] = set()
    for group in found["groups"]:
        members = [one for one in ranked if _belongs(one, group)]
        shown.update(one.row for one in members)
        shared = (common or {}).get((group["kind"], group["label"]))
        groups.append({**group, **_gallery(members), "common": shared})
    single = [one for one in ranked if one.row not in shown]
    return _TEMPLATE.render(
        report=found,
        folder=report.folder,
        headline=HEADLINE[found["verdict"]],
        kinds=KINDS,
        groups=groups,
        single={"rows": len(single), **_gallery(single)},
        advice=advice(found, report.folder),
        problems=[run for run in found["runs"] if run["status"] != "completed"],
        total=sum(seconds for seconds in found["seconds"].values() if seconds is not None),
    )


def _belongs(one: Sample, group: dict[str, Any]) -> bool:
    return (
        group["kind"] in one.kinds
        and (group["label"] is None or group["label"] == one.label)
        and (not group["detectors"] or not one.detectors or bool(set(group["detectors"]) & set(one.detectors)))
    )


def _gallery(members: Sequence[Sample]) -> dict[str, Any]:
    """The most suspicious of them as pictures, where there is one, and as texts."""
    pictures = [one for one in members if one.picture is not None][:PICTURES]
    texts = [one for one in members if one.picture is None][:TEXTS]
    return {"pictures": pictures, "texts": texts, "shown": len(pictures) + len(texts)}


def source(png: bytes) -> str:
    """A picture as a data URI; anything but a PNG is no picture."""
    return "data:image/png;base64," + base64.b64encode(png).decode() if png.startswith(b"\x89PNG") else "data:,"


def excerpt(text: str, marks: Sequence[str]) -> list[tuple[str, bool]]:
    """The text around its first mark as (piece, marked)."""
    wanted = [re.escape(mark) for mark in sorted(marks, key=len, reverse=True) if mark]
    pattern = re.compile("|".join(wanted) or r"(?!)", re.IGNORECASE)
    first = pattern.search(text)
    start = max(0, first.start() - EXCERPT // 3) if first and first.end() > EXCERPT else 0
    window = text[start : start + EXCERPT]
    pieces, last = [("…", False)] if start else [], 0
    for match in pattern.finditer(window):
        pieces += [(window[last : match.start()], False), (match[0], True)]
        last = match.end()
    pieces.append((window[last:], False))
    if start + EXCERPT < len(text):
        pieces.append((f"… ({words.plural(len(text), 'character')})", False))
    return [piece for piece in pieces if piece[0]]


def _inert(value: Any) -> Any:
    """Applied to everything the template prints, before it is escaped."""
    return visible(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


_ENVIRONMENT = Environment(
    autoescape=True, undefined=StrictUndefined, finalize=_inert, trim_blocks=True, lstrip_blocks=True
)
_ENVIRONMENT.globals.update({"words": words, "excerpt": excerpt, "source": source})
_TEMPLATE = _ENVIRONMENT.from_string((files("auditors.report") / "page.html").read_text(encoding="utf-8"))
