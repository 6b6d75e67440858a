"""Charts of the page as inline SVG: numbers and escaped names only, no scripts, nothing fetched."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from markupsafe import Markup, escape

from foretaste.explain.class_comparison import Strip
from foretaste.explain.projection import Atlas, Place
from foretaste.report import numbers
from foretaste.report.visible import visible

DOTS = 90  # of a strip at most: the TOP highest, and of the rest every n-th
TOP = 30
NAMED = 28  # characters of a class name
LINE, WIDTH, MAP = 420, 640, 400  # width of a strip, width and height of the map, in SVG units
EDGE = 14
PITCH, LEVELS = 7, 6  # of stacked dots
NAME_LINE = 20
APART = 40  # smallest distance between two numbers below the axis


def strip(data: Strip) -> Markup:
    """A dot plot of all groups on one axis; dots that would overlap are stacked."""
    order = sorted(range(len(data.values)), key=lambda at: -data.values[at])
    rest = order[TOP:]
    kept = order[:TOP] + rest[:: max(1, math.ceil(len(rest) / (DOTS - TOP)))]
    kept = [at for at in kept if at != data.this] + [data.this]  # drawn last, on top of the others
    ends = [*data.values] if data.needed is None else [*data.values, data.needed]
    low, high = min(ends), max(ends)

    def place(value: float) -> float:
        return EDGE + (LINE - 2 * EDGE) * (value - low) / ((high - low) or 1.0)

    stacked: Counter[int] = Counter()
    level = {}
    for at in kept:
        slot = round(place(data.values[at]) / PITCH)
        level[at] = min(stacked[slot], LEVELS)
        stacked[slot] += 1
    # The name has a line of its own above the dots, the numbers and the unit one each below, so that none overlap.
    line = NAME_LINE + PITCH * (max(level.values()) + 1) + 5
    dots = []
    for at in kept:
        kind = "this" if at == data.this else "accused" if data.accused[at] else "innocent"
        down, size = line - PITCH - PITCH * level[at], 5 if at == data.this else 3
        spot = f'cx="{place(data.values[at]):.0f}" cy="{down}" r="{size}"'
        title = f"<title>{_name(data.names[at])}: {data.values[at]:.3g}</title>"
        dots.append(f'<circle class="{kind}" {spot}>{title}</circle>')
    this, unit = _name(data.names[data.this]), escape(visible(data.unit))
    named = f"{this} {data.values[data.this]:.3g}"
    return Markup(
        f'<svg class="chart strip" viewBox="0 0 {LINE} {line + 34}" role="img" aria-label="{_alt(data, this, unit)}">'
        f'<line x1="{EDGE}" x2="{LINE - EDGE}" y1="{line}" y2="{line}"/>{_limit(data, place, line)}{"".join(dots)}'
        f"{_label(place(data.values[data.this]), 12, named, 'this')}"
        f"{_label(place(low), line + 15, _number(low, high))}{_label(place(high), line + 15, f'{high:.3g}')}"
        f'<text x="{LINE // 2}" y="{line + 30}" text-anchor="middle">{unit} →</text></svg>'
    )  # everything in it is a number or escaped


def _alt(data: Strip, this: Markup, unit: Markup) -> str:
    """The text alternative of a strip, for screen readers."""
    alt = f"{this} reaches {data.values[data.this]:.3g} {unit}"
    others = sorted(value for at, value in enumerate(data.values) if at != data.this)
    if others:
        half = others[len(others) // 2]
        alt += f"; of {len(others)} others the highest {others[-1]:.3g}, half of them {half:.3g} or less"
    return alt if data.needed is None else f"{alt}; suspected from {data.needed:.3g} on"


def _limit(data: Strip, place: Callable[[float], float], line: int) -> str:
    """A tick at the value from which the group is suspicious."""
    if data.needed is None:
        return ""
    across = place(data.needed)
    tick = f'<line class="limit" x1="{across:.0f}" x2="{across:.0f}" y1="{NAME_LINE}" y2="{line + 4}"/>'
    near = min(abs(across - place(value)) for value in (min(data.values), max(data.values)))
    return tick + (_label(across, line + 15, f"{data.needed:.3g}") if near > APART else "")


def _number(low: float, high: float) -> str:
    """The lower end of an axis, 0 where it is negligible."""
    return "0" if abs(low) < 1e-3 * abs(high) else f"{low:.3g}"


def _label(across: float, down: int, text: str, kind: str = "") -> str:
    """A text, aligned left in the left third, right in the right third, and centred between."""
    anchor = "start" if across < LINE / 3 else "end" if across > 2 * LINE / 3 else "middle"
    across += {"start": -5, "end": 5, "middle": 0}[anchor]
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{across:.0f}" y="{down}" text-anchor="{anchor}">{text}</text>'


def atlas(data: Atlas) -> Markup:
    """A scatter plot of the rows; flagged ones on top and in another shape, for readers who cannot tell the colours."""
    high = MAP - 2 * EDGE
    wide = WIDTH - 2 * EDGE

    def at(place: Place) -> tuple[int, int]:
        return round(EDGE + wide * place.x), round(EDGE + high * (1 - place.y))

    quiet = "".join("M{} {}h0".format(*at(place)) for place in data.places if not place.flagged)
    loud = "".join("M{} {}m-4 0l4 -4l4 4l-4 4z".format(*at(place)) for place in data.places if place.flagged)
    flagged = sum(place.flagged for place in data.places)
    alt = f"{numbers.plural(len(data.places), 'row')} on a plane, {numbers.count(flagged)} of them flagged"
    return Markup(
        f'<svg class="chart map" viewBox="0 0 {WIDTH} {MAP}" role="img" aria-label="{alt}">'
        f'<path class="quiet" d="{quiet}"/><path class="loud" d="{loud}"/></svg>'
    )


def _name(name: str) -> Markup:
    shown = visible(name)
    return escape(shown if len(shown) <= NAMED else f"{shown[: NAMED - 1]}…")
