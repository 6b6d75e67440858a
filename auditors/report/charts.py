"""Drawings for the page as inline SVG: numbers and escaped names, nothing that runs or is fetched."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from markupsafe import Markup, escape

from auditors.report import words
from auditors.report.glyphs import visible

DOTS = 90  # of a strip: the highest, and the rest thinned evenly
TOP = 30
NAMED = 28  # characters of a class name in a drawing
LINE, WIDTH, MAP = 420, 640, 400  # units of the drawings, of which a page makes what it has room for
EDGE = 14
PITCH, LEVELS = 7, 6  # of stacked dots


@dataclass(frozen=True)
class Strip:
    """What one look measured of every group it tested, the innocent beside the suspicious.

    unit     what the number is, as in "times farther out than the other classes"
    names    of the groups, as a reader knows them
    values   the statistic of each; larger is more suspicious
    accused  whether the look suspects it, for each
    this     position of the group whose strip this is
    """

    detector: str
    embedder: str
    unit: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    accused: tuple[bool, ...]
    this: int


@dataclass(frozen=True)
class Place:
    """A row on the map: where, both in [0, 1], and whether it is flagged."""

    row: int
    x: float
    y: float
    flagged: bool
    label: str | None


@dataclass(frozen=True)
class Atlas:
    """Rows of the dataset on a plane.

    view    the embedder whose vectors it shows
    guided  whether to the right lies what the strongest group has and its class has not, not just what differs most
    whole   rows of the dataset
    """

    view: str
    guided: bool
    whole: int
    places: tuple[Place, ...]


def strip(one: Strip) -> Markup:
    """A dot for every group on one line of numbers; dots that would cover each other are stacked."""
    order = sorted(range(len(one.values)), key=lambda at: -one.values[at])
    rest = order[TOP:]
    kept = order[:TOP] + rest[:: max(1, math.ceil(len(rest) / (DOTS - TOP)))]
    kept = [at for at in kept if at != one.this] + [one.this]  # the one that is meant last, on top of the others
    low, high = min(one.values), max(one.values)
    across = {at: EDGE + (LINE - 2 * EDGE) * (one.values[at] - low) / ((high - low) or 1.0) for at in kept}
    stacked: Counter[int] = Counter()
    level = {}
    for at in kept:
        slot = round(across[at] / PITCH)
        level[at] = min(stacked[slot], LEVELS)
        stacked[slot] += 1
    line = 6 + PITCH * max(level.values()) + PITCH
    dots = []
    for at in kept:
        kind = "this" if at == one.this else "accused" if one.accused[at] else "innocent"
        place = f'cx="{across[at]:.0f}" cy="{line - PITCH - PITCH * level[at]}" r="{5 if at == one.this else 3}"'
        said = f"<title>{_name(one.names[at])}: {one.values[at]:.3g}</title>"
        dots.append(f'<circle class="{kind}" {place}>{said}</circle>')
    this = _name(one.names[one.this])
    right = across[one.this] > LINE / 2
    beside = f'x="{across[one.this] + (-9 if right else 9):.0f}" text-anchor="{"end" if right else "start"}"'
    unit = escape(visible(one.unit))
    others = sorted(value for at, value in enumerate(one.values) if at != one.this)
    said = f"{this} reaches {one.values[one.this]:.3g} {unit}"
    if others:
        half = others[len(others) // 2]
        said += f"; of {len(others)} others the highest {others[-1]:.3g}, half of them {half:.3g} or less"
    return Markup(
        f'<svg class="chart strip" viewBox="0 0 {LINE} {line + 22}" role="img" aria-label="{said}">'
        f'<line x1="{EDGE}" x2="{LINE - EDGE}" y1="{line}" y2="{line}"/>{"".join(dots)}'
        f'<text class="this" {beside} y="{line - PITCH - PITCH * level[one.this] + 4}">{this}</text>'
        f'<text x="{EDGE}" y="{line + 17}">{low:.3g}</text>'
        f'<text x="{LINE // 2}" y="{line + 17}" text-anchor="middle">{unit} →</text>'
        f'<text x="{LINE - EDGE}" y="{line + 17}" text-anchor="end">{high:.3g}</text></svg>'
    )  # everything in it is a number or escaped


def atlas(one: Atlas) -> Markup:
    """The rows as dots, the flagged ones above the others and in another shape: colour alone says nothing to some."""
    high = MAP - 2 * EDGE
    wide = WIDTH - 2 * EDGE

    def at(place: Place) -> tuple[int, int]:
        return round(EDGE + wide * place.x), round(EDGE + high * (1 - place.y))

    quiet = "".join("M{} {}h0".format(*at(place)) for place in one.places if not place.flagged)
    loud = "".join("M{} {}m-4 0l4 -4l4 4l-4 4z".format(*at(place)) for place in one.places if place.flagged)
    flagged = sum(place.flagged for place in one.places)
    said = f"{words.plural(len(one.places), 'row')} on a plane, {words.count(flagged)} of them flagged"
    return Markup(
        f'<svg class="chart map" viewBox="0 0 {WIDTH} {MAP}" role="img" aria-label="{said}">'
        f'<path class="quiet" d="{quiet}"/><path class="loud" d="{loud}"/></svg>'
    )


def _name(name: str) -> Markup:
    shown = visible(name)
    return escape(shown if len(shown) <= NAMED else f"{shown[: NAMED - 1]}…")
