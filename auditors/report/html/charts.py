"""Drawings for the page as inline SVG: numbers and escaped names, nothing that runs or is fetched."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from markupsafe import Markup, escape

from foretaste.explain.class_comparison import Strip
from foretaste.explain.projection import Atlas, Place
from foretaste.report import numbers
from foretaste.report.visible import visible

DOTS = 90  # of a strip: the highest, and the rest thinned evenly
TOP = 30
NAMED = 28  # characters of a class name in a drawing
LINE, WIDTH, MAP = 420, 640, 400  # units of the drawings, of which a page makes what it has room for
EDGE = 14
PITCH, LEVELS = 7, 6  # of stacked dots
NAME_LINE = 20
APART = 40  # between two numbers below the line


def strip(one: Strip) -> Markup:
    """A dot for every group on one line of numbers; dots that would cover each other are stacked."""
    order = sorted(range(len(one.values)), key=lambda at: -one.values[at])
    rest = order[TOP:]
    kept = order[:TOP] + rest[:: max(1, math.ceil(len(rest) / (DOTS - TOP)))]
    kept = [at for at in kept if at != one.this] + [one.this]  # the one that is meant last, on top of the others
    ends = [*one.values] if one.needed is None else [*one.values, one.needed]
    low, high = min(ends), max(ends)

    def place(value: float) -> float:
        return EDGE + (LINE - 2 * EDGE) * (value - low) / ((high - low) or 1.0)

    stacked: Counter[int] = Counter()
    level = {}
    for at in kept:
        slot = round(place(one.values[at]) / PITCH)
        level[at] = min(stacked[slot], LEVELS)
        stacked[slot] += 1
    # The name has a line of its own above the dots, the numbers and the unit one each below: nothing can cover another.
    line = NAME_LINE + PITCH * (max(level.values()) + 1) + 5
    dots = []
    for at in kept:
        kind = "this" if at == one.this else "accused" if one.accused[at] else "innocent"
        down, size = line - PITCH - PITCH * level[at], 5 if at == one.this else 3
        spot = f'cx="{place(one.values[at]):.0f}" cy="{down}" r="{size}"'
        said = f"<title>{_name(one.names[at])}: {one.values[at]:.3g}</title>"
        dots.append(f'<circle class="{kind}" {spot}>{said}</circle>')
    this, unit = _name(one.names[one.this]), escape(visible(one.unit))
    named = f"{this} {one.values[one.this]:.3g}"
    return Markup(
        f'<svg class="chart strip" viewBox="0 0 {LINE} {line + 34}" role="img" aria-label="{_said(one, this, unit)}">'
        f'<line x1="{EDGE}" x2="{LINE - EDGE}" y1="{line}" y2="{line}"/>{_limit(one, place, line)}{"".join(dots)}'
        f"{_label(place(one.values[one.this]), 12, named, 'this')}"
        f"{_label(place(low), line + 15, _number(low, high))}{_label(place(high), line + 15, f'{high:.3g}')}"
        f'<text x="{LINE // 2}" y="{line + 30}" text-anchor="middle">{unit} →</text></svg>'
    )  # everything in it is a number or escaped


def _said(one: Strip, this: Markup, unit: Markup) -> str:
    """The strip for those who do not see it."""
    said = f"{this} reaches {one.values[one.this]:.3g} {unit}"
    others = sorted(value for at, value in enumerate(one.values) if at != one.this)
    if others:
        half = others[len(others) // 2]
        said += f"; of {len(others)} others the highest {others[-1]:.3g}, half of them {half:.3g} or less"
    return said if one.needed is None else f"{said}; suspected from {one.needed:.3g} on"


def _limit(one: Strip, place: Callable[[float], float], line: int) -> str:
    """Where suspicion begins."""
    if one.needed is None:
        return ""
    across = place(one.needed)
    tick = f'<line class="limit" x1="{across:.0f}" x2="{across:.0f}" y1="{NAME_LINE}" y2="{line + 4}"/>'
    near = min(abs(across - place(value)) for value in (min(one.values), max(one.values)))
    return tick + (_label(across, line + 15, f"{one.needed:.3g}") if near > APART else "")


def _number(low: float, high: float) -> str:
    """The lower end of an axis, nought where it is as good as that."""
    return "0" if abs(low) < 1e-3 * abs(high) else f"{low:.3g}"


def _label(across: float, down: int, text: str, kind: str = "") -> str:
    """A text that begins at the left edge, ends at the right one, and is centred in between."""
    anchor = "start" if across < LINE / 3 else "end" if across > 2 * LINE / 3 else "middle"
    across += {"start": -5, "end": 5, "middle": 0}[anchor]
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{across:.0f}" y="{down}" text-anchor="{anchor}">{text}</text>'


def atlas(one: Atlas) -> Markup:
    """The rows as dots, the flagged ones above the others and in another shape: colour alone says nothing to some."""
    high = MAP - 2 * EDGE
    wide = WIDTH - 2 * EDGE

    def at(place: Place) -> tuple[int, int]:
        return round(EDGE + wide * place.x), round(EDGE + high * (1 - place.y))

    quiet = "".join("M{} {}h0".format(*at(place)) for place in one.places if not place.flagged)
    loud = "".join("M{} {}m-4 0l4 -4l4 4l-4 4z".format(*at(place)) for place in one.places if place.flagged)
    flagged = sum(place.flagged for place in one.places)
    said = f"{numbers.plural(len(one.places), 'row')} on a plane, {numbers.count(flagged)} of them flagged"
    return Markup(
        f'<svg class="chart map" viewBox="0 0 {WIDTH} {MAP}" role="img" aria-label="{said}">'
        f'<path class="quiet" d="{quiet}"/><path class="loud" d="{loud}"/></svg>'
    )


def _name(name: str) -> Markup:
    shown = visible(name)
    return escape(shown if len(shown) <= NAMED else f"{shown[: NAMED - 1]}…")
