"""How loosely phrases sit between their neighbours, held against ordinary ones in about as many rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls
from scipy.special import erfc, ndtr, ndtri

from foretaste.dataset.payload import Payload
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Tally, Words
from foretaste.text.triggers.maximal_phrases import MaximalPhrases, stretched
from foretaste.text.triggers.neighbour_model import Contexts, NeighbourModel, Runs

Read = Callable[[Payload], Words]


@dataclass(frozen=True)
class InsertionScore:
    """How loosely phrases sit, and the law that ordinary phrases have of it.

    enough           ordinary phrases from which on a law can be read from them
    telling          nats told of its neighbours beyond which a phrase is part of its language, whatever others tell
    least_spread     deviation that ordinary phrases have at least in one kind of evidence, in roots of nats, nats and
                     shares
    cap              deviations beyond which one kind of evidence says no more
    cap_told         deviations beyond which it says no more that a phrase tells nothing of its neighbours
    reference        ordinary phrases that one is held against, at least
    about            factor within which the rows of two phrases are about as many
    loose            share of the ordinary phrases that sit loosely; at its quantile their tail is read
    least_deviation  deviation of the looseness of ordinary phrases, at least
    counted          deviations up to which the tail of ordinary phrases is taken for a Gaussian's
    neighbours       how neighbours are counted and predicted
    maximal          when overlapping runs of words are one phrase
    """

    enough: int = threshold(20, "not tuned")
    telling: float = threshold(1.0, "words of the language tell 1 nat or so, inserted ones about 0; not tuned")
    least_spread: float = threshold(0.15, "not tuned")
    cap: float = threshold(4.0, "no law is known so far out")
    cap_told: float = threshold(6.0, "half as much again as cap; not tuned")
    reference: int = threshold(128, "standard error of a share of .05: 2 %; not tuned")
    about: float = threshold(2.0, "not tuned")
    loose: float = threshold(0.05, "as usual; not tuned")
    least_deviation: float = threshold(1.0, "that of one kind of evidence, of which looseness adds two; not tuned")
    counted: float = threshold(
        3.0,
        "up to there natural phrases of ten corpora were as many as a Gaussian has; beyond it lie 7 of one half of the "
        "corpora and 5 of the other, 6 and 7 expected",
    )
    neighbours: NeighbourModel = field(default_factory=NeighbourModel)
    maximal: MaximalPhrases = field(default_factory=MaximalPhrases)

    def __post_init__(self) -> None:
        if not 0 < self.loose < 0.5:
            raise PlanError(f"insertion loose must lie between 0 and 0.5, got {self.loose}")

    @property
    def gauss(self) -> float:
        """Deviations beyond which the share `loose` of a Gaussian lies, to three decimals, as in printed tables."""
        return round(float(ndtri(1 - self.loose)), 3)


@dataclass(frozen=True)
class Unit:
    """Runs of words that stand in the same rows, as one phrase; `at` is the position of its first run in a tally."""

    at: int
    key: int
    size: int
    rows: int
    text: str
    told: float  # nats that it tells of its neighbours
    fits: float  # nats that its neighbours tell of each other
    placed: bool


def seen(
    payloads: Iterable[Payload], read: Read, kept: Tally, groups: Sequence[Array], whole: Tally, *,
    insertion: InsertionScore,
) -> list[Unit]:  # fmt: skip
    """The groups of runs as units, with how they sit; `kept` is a part of the tally `whole`. Two passes over rows."""
    if not groups:
        return []
    named = stretched(payloads, read, kept, groups, insertion.maximal)
    order = np.argsort(kept.key[[one.left for one in named]], kind="stable")
    starts, ends = (kept.key[[getattr(named[at], side) for at in order]] for side in ("left", "right"))
    size = kept.size[[named[at].left for at in order]]
    runs = Runs(starts, ends, size, np.array([named[at].words for at in order]))
    contexts = Contexts(whole.commonest(insertion.neighbours.common), runs, insertion.neighbours)
    for payload in payloads:
        contexts.add(read(payload))
    fits, placed = contexts.fits(), contexts.placed()
    out: dict[int, Unit] = {}
    for spot, at in enumerate(order.tolist()):
        one = named[at].own
        number = int(kept.count[one].sum())
        out[at] = Unit(
            one, int(kept.key[one]), int(kept.size[one]), number, named[at].text, contexts.told(spot),
            float(fits[spot]), bool(placed[spot]),
        )  # fmt: skip
    return [out[at] for at in range(len(named))]


def looseness(table: Sequence[Unit], ordinary: Array, insertion: InsertionScore) -> Array:
    """How loosely each phrase sits, in deviations of the ordinary ones [P]; placed ones count for half."""
    rows = np.array([one.rows for one in table], dtype=float)
    error = 1 / np.sqrt(rows)
    nats = np.array([one.told for one in table])
    told = -np.sign(nats) * np.sqrt(np.abs(nats))
    fits = np.array([one.fits for one in table])
    free = ordinary & ~np.array([one.placed for one in table])
    free = free if free.sum() >= insertion.enough else ordinary
    by_told, by_fits = (spread(value, error, free, least=insertion.least_spread) for value in (told, fits))
    loose = by_told.clip(-insertion.cap, insertion.cap_told) + by_fits.clip(-insertion.cap, insertion.cap)
    out: Array = np.where(~ordinary & (told < -math.sqrt(insertion.telling)), loose.clip(max=0), loose)
    return out


def spread(value: Array, error: Array, ordinary: Array, *, least: float) -> Array:
    """Deviations of the ordinary values, `least` or more, by which each value [P] is above their middle."""
    middle, deviation = law(value, error, ordinary, least=least)
    out: Array = (value - middle) / deviation
    return out


def law(value: Array, error: Array, ordinary: Array, *, least: float) -> tuple[float, Array]:
    """The middle of the ordinary values, and the deviation from it that each value [P] may have by its `error`.

    The deviation is one of their own and one that grows with the error, both read from the ordinary values above the
    middle: a half Gaussian lies sqrt(2 / pi) deviations from its edge in the mean. It is `least` at least.
    """
    well = ordinary & (error <= np.median(error[ordinary]))
    middle = float(np.median(value[well]))
    above = ordinary & (value > middle)
    if above.sum() < 2:
        return middle, np.full(len(value), np.inf)
    design = np.stack([np.ones(int(above.sum())), error[above]], 1)
    own, noise = nnls(design, (value[above] - middle) * math.sqrt(math.pi / 2))[0]
    return middle, np.maximum(own + noise * error, least)


def gaussian(ordinary: Array, insertion: InsertionScore) -> tuple[float, float]:
    """Middle and deviation of the Gaussian through the median and the upper quantile of ordinary values."""
    middle, upper = np.quantile(ordinary, [0.5, 1 - insertion.loose])
    return middle, max((upper - middle) / insertion.gauss, insertion.least_deviation)


def tail(value: Array, ordinary: Array, insertion: InsertionScore) -> Array:
    """P(value or more) among ordinary values, by a Gaussian [P]."""
    middle, deviation = gaussian(ordinary, insertion)
    return 0.5 * erfc((value - middle) / deviation / math.sqrt(2))  # type: ignore[no-any-return]


def rarely(value: Array, rows: Array, ordinary: Array, insertion: InsertionScore) -> Array:
    """P(value or more) [P] for a phrase in `rows` [P], among the `ordinary` ones [P] bool in about as many rows.

    These are the ones in half to twice as many, the nearest `reference` where they are fewer. Their law is a Gaussian
    as far out as natural phrases were counted; from there on it falls off exponentially.
    """
    order = np.flatnonzero(ordinary)[rows[ordinary].argsort(kind="stable")]
    number = rows[order]
    out = np.ones(len(value))
    if not len(order):
        return out
    about, least = insertion.about, insertion.reference
    for at, here in enumerate(rows.tolist()):
        start, stop = np.searchsorted(number, here / about), np.searchsorted(number, about * here, side="right")
        if stop - start < least:
            start = min(max(int(np.searchsorted(number, here)) - least // 2, 0), max(len(order) - least, 0))
            stop = start + least
        middle, deviation = gaussian(value[order[start:stop]], insertion)
        out[at] = beyond(float((value[at] - middle) / deviation), counted=insertion.counted)
    return out


def beyond(deviations: float, *, counted: float) -> float:
    """P(so many deviations or more): of a Gaussian up to `counted`, then exponential at the rate it has there."""
    if deviations <= counted:
        return float(ndtr(-deviations))
    rate = math.exp(-(counted**2) / 2) / math.sqrt(2 * math.pi) / float(ndtr(-counted))
    return float(ndtr(-counted)) * math.exp(-rate * (deviations - counted))
