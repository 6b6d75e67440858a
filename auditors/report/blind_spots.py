"""Sentences on what an audit could have missed: known limits of the checks, and detection limits on this dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foretaste.report import numbers

# What the default plan missed in measurements with planted poison (README), by modality.
HIDDEN = {
    "image": (
        "Warped pictures and wrong labels in a class that is hard to tell anyway, faint low frequencies, and patches "
        "that other classes carry as well: often missed. Of wrong labels elsewhere some two thirds are found."
    ),
    "text": "Triggers in 1 % of the rows, writing styles and sentences that read like ordinary ones: mostly missed.",
    "pair": "What changes the answers without a phrase that brings the change.",
    "messages": "What changes the answers without a phrase that brings the change.",
}


def unseen(document: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each limit; `document` is report.json."""
    power = document.get("power") or {}
    fewest = power.get("fewest", 8)
    yield f"A pattern on fewer than {fewest} rows of a class, and any in a class with fewer than 32 rows."
    small = power.get("untested") or []
    if small:
        named = ", ".join(f"{one['class']} ({numbers.count(one['rows'])})" for one in small[:6])
        more = f" and {len(small) - 6} more" if len(small) > 6 else ""
        yield f"Anything in {numbers.plural(len(small), 'class', 'classes')} too small to be tested: {named}{more}."
    classes = sorted(power.get("classes") or [], key=lambda one: (-one["needed"], one["class"]))
    if classes:
        weakest, best = classes[0], classes[-1]
        reach = f"{weakest['needed']:g} times in class {weakest['class']}"
        if len(classes) > 1:
            reach = f"{best['needed']:g} times in class {best['class']} to {reach}"
        yield f"A pattern too weak to carry its rows as far out as a test asks here: {reach}, beside the other classes."
    grids = [
        one["grid"]
        for one in document.get("plan", {}).get("embedders", {}).values()
        if one.get("kind") == "pixels" and one.get("grid")
    ]
    modality = document["roles"]["modality"]
    if modality == "image" and grids:
        yield f"A pattern that vanishes on a grid of {max(grids)}×{max(grids)} pixels."
    if modality in HIDDEN:
        yield HIDDEN[modality]
    yield "How many rows of a known attack would be found: nothing was planted here, as foretaste drill does."
    yield "What no check looks for. A dataset that passes is not thereby free of poison."
