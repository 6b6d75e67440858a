"""report.html: a self-contained page, safe to open whatever the dataset holds."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import accumulate
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from foretaste.explain.common_pattern import Common
from foretaste.explain.projection import Atlas
from foretaste.explain.samples import Sample
from foretaste.report import numbers
from foretaste.report.blind_spots import unseen
from foretaste.report.document import document
from foretaste.report.error_rates import certainty
from foretaste.report.html import charts
from foretaste.report.next_steps import advice
from foretaste.report.visible import visible
from foretaste.types.findings import Kind, Report, mostly_blind

PICTURES = 24  # per finding; all rows are in flagged.parquet
TEXTS = 8  # per finding
EXCERPT = 480  # characters of a text
GROUPS = 60  # findings shown; all are in report.json
NAME = 80  # characters of a class name or an id
LONGEST = 2000  # characters of anything else
PICTURE_BYTES = 1_500_000  # of all pictures, before base64
FRAMED = 0.5  # share of a picture above which its common pattern is not framed
HEADLINE = {
    "passed": "No poison was found in this dataset.",
    "warned": "This dataset deserves a look before training.",
    "failed": "Do not train on this dataset as it is.",
    "inconclusive": "Nothing can be said of this dataset.",
}
BLIND = "Nothing was found, but most checks could not look."
KINDS = {
    "backdoor": "Backdoor",
    "label": "Wrong labels",
    "duplicate": "Copies",
    "outlier": "Outliers",
    "integrity": "Integrity",
}


def page(
    report: Report,
    samples: Sequence[Sample],
    drawn: Atlas | None = None,
) -> str:
    """The whole report as HTML. `samples` are flagged rows in any order; each finding shows its most suspicious ones.

    `drawn` is the map. The page stays below 5 MB.
    """
    found = document(report)
    ranked = sorted(samples, key=lambda sample: (-sample.risk, sample.p_value, sample.row))
    members = [[row for row in ranked if _belongs(row, group)] for group in found["groups"]]
    pictured = sum(any(row.picture for row in inside) for inside in members[:GROUPS])
    budget = PICTURE_BYTES // (pictured + 1)
    groups = []
    for finding, group, inside in zip(report.groups[:GROUPS], found["groups"], members, strict=False):
        strips = [(strip, charts.strip(strip)) for strip in finding.shown.get("strips", ())]
        shared: Common | None = finding.shown.get("pattern")
        tone = "" if Kind(group["kind"]).fails_audit else " mild"
        groups.append(
            {
                **group,
                **_gallery(inside, budget),
                "common": shared,
                "strips": strips,
                "tone": tone,
                "box": _frame(shared),
            }
        )
    grouped = {row.row for inside in members for row in inside}
    single = [row for row in ranked if row.row not in grouped]
    return _TEMPLATE.render(
        report=found,
        folder=near(report.folder),
        name=name(found["dataset"]),
        certainty=list(certainty(found)),
        unseen=list(unseen(found)),
        headline=headline(found),
        kinds=KINDS,
        groups=groups,
        drawn=drawn,
        drawing=charts.atlas(drawn) if drawn is not None else None,
        single={"rows": len(single), **_gallery(single, budget)},
        advice=advice(found, near(report.folder)),
        problems=[run for run in found["runs"] if run["status"] != "completed"],
        total=sum(seconds for seconds in found["seconds"].values() if seconds is not None),
    )


def _frame(shared: Common | None) -> tuple[float, float, float, float] | None:
    """The box of a common pattern, unless it covers more than FRAMED of the picture."""
    if shared is None:
        return None
    top, left, bottom, right = shared.box
    return shared.box if (bottom - top) * (right - left) <= FRAMED else None


def near(folder: str) -> str:
    """A folder as commands name it: relative where possible, so that a shared page does not disclose local paths."""
    here = os.path.relpath(folder)
    return folder if here.startswith("..") else here


def name(dataset: Mapping[str, Any]) -> str:
    """The name of a dataset: its file's if it is a single one, else its folder's."""
    files, root = dataset["files"], str(dataset["root"])
    return str(files[0]["name"]) if len(files) == 1 else os.path.basename(root.rstrip("/")) or root


def headline(found: Mapping[str, Any]) -> str:
    """The verdict as a sentence; `found` is report.json."""
    completed = sum(run["status"] == "completed" for run in found["runs"])
    if found["verdict"] == "passed" and mostly_blind(completed, len(found["runs"])):
        return BLIND
    return HEADLINE[found["verdict"]]


def _belongs(row: Sample, group: dict[str, Any]) -> bool:
    return (
        group["kind"] in row.kinds
        and (group["label"] is None or group["label"] == row.label)
        and (not group["detectors"] or not row.detectors or bool(set(group["detectors"]) & set(row.detectors)))
    )


def _gallery(members: Sequence[Sample], budget: int) -> dict[str, Any]:
    """The most suspicious members: pictures of `budget` bytes in all, and texts of those without a picture."""
    pictures = [row for row in members if row.picture is not None][:PICTURES]
    sizes = accumulate(len(row.picture or b"") for row in pictures)
    pictures = [row for row, size in zip(pictures, sizes, strict=True) if size <= budget]
    texts = [row for row in members if row.picture is None][:TEXTS]
    shown = [*pictures, *texts]
    alike = len({row.reason for row in texts}) == 1 < len(texts)
    ranked = len({f"{row.risk:.3f}" for row in shown}) > 1  # equal risks are not displayed
    return {"pictures": pictures, "texts": texts, "shown": len(shown), "alike": alike, "ranked": ranked}


def source(png: bytes) -> Markup:
    """A PNG as a data URI, not shortened; anything else as an empty one."""
    # Base64 contains no HTML markup.
    return Markup("data:image/png;base64," + base64.b64encode(png).decode() if png.startswith(b"\x89PNG") else "data:,")


def outline(png: bytes, box: tuple[float, float, float, float]) -> str:
    """The CSS of a box over a picture that is centred in a square."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # the PNG header
    tall, wide = height / max(width, height, 1), width / max(width, height, 1)
    top, left, bottom, right = box
    edges = {
        "top": (1 - tall) / 2 + tall * top,
        "left": (1 - wide) / 2 + wide * left,
        "height": tall * (bottom - top),
        "width": wide * (right - left),
    }
    return ";".join(f"{edge}:{100 * share:.1f}%" for edge, share in edges.items())


def excerpt(text: str, marks: Sequence[str]) -> list[tuple[str, bool]]:
    """The text around its first mark, as pieces (text, marked)."""
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
        pieces.append((f"… ({numbers.plural(len(text), 'character')})", False))
    return [piece for piece in pieces if piece[0]]


def _inert(value: Any) -> Any:
    """Applied to every value that the template prints, before it is escaped."""
    return (
        visible(brief(value, LONGEST), lines=True)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def brief(value: Any, longest: int = NAME) -> Any:
    """A text of at most `longest` characters; other values as they are."""
    return f"{value[:longest]}…" if isinstance(value, str) and len(value) > longest else value


def environment() -> Environment:
    """Templates that make invisible characters of every printed value visible, shorten it and escape it."""
    out = Environment(autoescape=True, undefined=StrictUndefined, finalize=_inert, trim_blocks=True, lstrip_blocks=True)
    palette = Markup((files("foretaste.report.html") / "palette.css").read_text(encoding="utf-8"))
    out.globals.update(palette=palette, numbers=numbers, excerpt=excerpt, source=source, brief=brief, outline=outline)
    return out


_TEMPLATE = environment().from_string((files("foretaste.report.html") / "page.html").read_text(encoding="utf-8"))
