"""report.html: one page that needs nothing but itself, safe to open whatever the dataset holds."""

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

PICTURES = 24  # of a group; all rows are in flagged.parquet
TEXTS = 8
EXCERPT = 480  # characters of a text
GROUPS = 60  # shown; all are in report.json
NAME = 80  # characters of a class name or an id
LONGEST = 2000  # characters of anything else
PICTURE_BYTES = 1_500_000  # all of them, before base64
FRAMED = 0.5  # of a picture: a frame around more says nothing
HEADLINE = {
    "passed": "No poison was found in this dataset.",
    "warned": "This dataset deserves a look before training.",
    "failed": "Do not train on this dataset as it is.",
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
    """The whole report as HTML. `samples` are flagged rows in any order; each group shows its most suspicious ones.

    `drawn` is the map. However much is given, the page stays below 5 MB.
    """
    found = document(report)
    ranked = sorted(samples, key=lambda one: (-one.risk, one.p_value, one.row))
    members = [[row for row in ranked if _belongs(row, group)] for group in found["groups"]]
    pictured = sum(any(row.picture for row in inside) for inside in members[:GROUPS])
    budget = PICTURE_BYTES // (pictured + 1)
    groups = []
    for one, group, inside in zip(report.groups[:GROUPS], found["groups"], members, strict=False):
        sketched = [(strip, charts.strip(strip)) for strip in one.shown.get("strips", ())]
        shared: Common | None = one.shown.get("pattern")
        tone = "" if Kind(group["kind"]).fails_audit else " mild"
        groups.append(
            {
                **group,
                **_gallery(inside, budget),
                "common": shared,
                "strips": sketched,
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
    """Where to frame what the pictures of a group share, unless it is most of them."""
    if shared is None:
        return None
    top, left, bottom, right = shared.box
    return shared.box if (bottom - top) * (right - left) <= FRAMED else None


def near(folder: str) -> str:
    """A folder as commands name it: a page that is mailed need not tell where its writer works."""
    here = os.path.relpath(folder)
    return folder if here.startswith("..") else here


def name(dataset: Mapping[str, Any]) -> str:
    """What a dataset is called: its file where it is one, else the folder it lies in."""
    files, root = dataset["files"], str(dataset["root"])
    return str(files[0]["name"]) if len(files) == 1 else os.path.basename(root.rstrip("/")) or root


def headline(found: Mapping[str, Any]) -> str:
    """The verdict as a sentence; `found` is report.json."""
    completed = sum(run["status"] == "completed" for run in found["runs"])
    if found["verdict"] == "passed" and mostly_blind(completed, len(found["runs"])):
        return BLIND
    return HEADLINE[found["verdict"]]


def _belongs(one: Sample, group: dict[str, Any]) -> bool:
    return (
        group["kind"] in one.kinds
        and (group["label"] is None or group["label"] == one.label)
        and (not group["detectors"] or not one.detectors or bool(set(group["detectors"]) & set(one.detectors)))
    )


def _gallery(members: Sequence[Sample], budget: int) -> dict[str, Any]:
    """The most suspicious of them as pictures of `budget` bytes altogether, where there are any, and as texts."""
    pictures = [one for one in members if one.picture is not None][:PICTURES]
    sizes = accumulate(len(one.picture or b"") for one in pictures)
    pictures = [one for one, size in zip(pictures, sizes, strict=True) if size <= budget]
    texts = [one for one in members if one.picture is None][:TEXTS]
    shown = [*pictures, *texts]
    alike = len({one.reason for one in texts}) == 1 < len(texts)
    ranked = len({f"{one.risk:.3f}" for one in shown}) > 1  # a risk that all share says nothing
    return {"pictures": pictures, "texts": texts, "shown": len(shown), "alike": alike, "ranked": ranked}


def source(png: bytes) -> Markup:
    """A picture as a data URI, whole however long; anything but a PNG is no picture."""
    # Base64 holds nothing that HTML could take for markup.
    return Markup("data:image/png;base64," + base64.b64encode(png).decode() if png.startswith(b"\x89PNG") else "data:,")


def outline(png: bytes, box: tuple[float, float, float, float]) -> str:
    """The style that lays a box over a picture which is shown whole in the middle of a square."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # of every PNG
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
        pieces.append((f"… ({numbers.plural(len(text), 'character')})", False))
    return [piece for piece in pieces if piece[0]]


def _inert(value: Any) -> Any:
    """Applied to everything the template prints, before it is escaped."""
    return (
        visible(brief(value, LONGEST), lines=True)
        if isinstance(value, str) and not isinstance(value, Markup)
        else value
    )


def brief(value: Any, longest: int = NAME) -> Any:
    """A text no longer than that."""
    return f"{value[:longest]}…" if isinstance(value, str) and len(value) > longest else value


def environment() -> Environment:
    """Templates in which whatever is printed is made visible, kept short and escaped."""
    made = Environment(
        autoescape=True, undefined=StrictUndefined, finalize=_inert, trim_blocks=True, lstrip_blocks=True
    )
    palette = Markup((files("foretaste.report.html") / "palette.css").read_text(encoding="utf-8"))
    made.globals.update(palette=palette, numbers=numbers, excerpt=excerpt, source=source, brief=brief, outline=outline)
    return made


_TEMPLATE = environment().from_string((files("foretaste.report.html") / "page.html").read_text(encoding="utf-8"))
