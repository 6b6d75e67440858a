"""How loosely phrases sit between their neighbours, held against ordinary ones in about as many rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.special import erfc, ndtr

from foretaste.dataset.payload import Payload
from foretaste.text.ngrams import Array, Tally, Words
from foretaste.text.triggers.maximal_phrases import stretched
from foretaste.text.triggers.neighbour_model import COMMON, Contexts, Runs

TELLING = 1.0  # nats told of its neighbours beyond which a phrase is part of its language, whatever others tell
ENOUGH = 20  # ordinary phrases that a law can be read from
LEAST_SPREAD = 0.15  # of what ordinary phrases show, in roots of nats, nats and shares
CAP = 4.0  # deviations beyond which one kind of evidence says no more: no law is known so far out
LEAST = 128  # ordinary phrases in about as many rows that one is held against
FAR, GAUSS = 0.95, 1.645  # a quantile, and where a Gaussian has it
COUNTED = 3.0  # deviations up to which natural phrases of ten corpora were as many as a Gaussian has
LEAST_EXCESS = 0.25  # mean of what lies beyond a bar, in deviations

Read = Callable[[Payload], Words]


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


def seen(payloads: Iterable[Payload], read: Read, kept: Tally, groups: Sequence[Array], whole: Tally) -> list[Unit]:
    """The groups of runs as units, with how they sit; `kept` is a part of the tally `whole`. Two passes over rows."""
    if not groups:
        return []
    named = stretched(payloads, read, kept, groups)
    order = np.argsort(kept.key[[one.left for one in named]], kind="stable")
    starts, ends = (kept.key[[getattr(named[at], side) for at in order]] for side in ("left", "right"))
    size = kept.size[[named[at].left for at in order]]
    contexts = Contexts(whole.commonest(COMMON), Runs(starts, ends, size, np.array([named[at].words for at in order])))
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


def looseness(table: Sequence[Unit], ordinary: Array) -> Array:
    """How loosely each phrase sits, in deviations of the ordinary ones [P]; placed ones count for half."""
    rows = np.array([one.rows for one in table], dtype=float)
    error = 1 / np.sqrt(rows)
    nats = np.array([one.told for one in table])
    told = -np.sign(nats) * np.sqrt(np.abs(nats))
    fits = np.array([one.fits for one in table])
    free = ordinary & ~np.array([one.placed for one in table])
    free = free if free.sum() >= ENOUGH else ordinary
    loose = np.clip(spread(told, error, free), -CAP, 1.5 * CAP) + np.clip(spread(fits, error, free), -CAP, CAP)
    out: Array = np.where(~ordinary & (told < -math.sqrt(TELLING)), loose.clip(max=0), loose)
    return out


def spread(value: Array, error: Array, ordinary: Array) -> Array:
    """Deviations of the ordinary values by which each value [P] is above their middle."""
    middle, deviation = law(value, error, ordinary)
    out: Array = (value - middle) / deviation
    return out


def law(value: Array, error: Array, ordinary: Array) -> tuple[float, Array]:
    """The middle of the ordinary values, and the deviation from it that each value [P] may have by its `error`.

    The deviation is one of their own and one that grows with the error, both read from the ordinary values above the
    middle: a half Gaussian lies sqrt(2 / pi) deviations from its edge in the mean.
    """
    well = ordinary & (error <= np.median(error[ordinary]))
    middle = float(np.median(value[well]))
    above = ordinary & (value > middle)
    if above.sum() < 2:
        return middle, np.full(len(value), np.inf)
    design = np.stack([np.ones(int(above.sum())), error[above]], 1)
    own, noise = nnls(design, (value[above] - middle) * math.sqrt(math.pi / 2))[0]
    return middle, np.maximum(own + noise * error, LEAST_SPREAD)


def tail(value: Array, ordinary: Array) -> Array:
    """P(value or more) among ordinary values, by a Gaussian through their median and 95 % quantile [P]."""
    middle, upper = np.quantile(ordinary, [0.5, FAR])
    return 0.5 * erfc((value - middle) / max((upper - middle) / GAUSS, 1.0) / math.sqrt(2))  # type: ignore[no-any-return]


def rarely(value: Array, rows: Array, ordinary: Array) -> Array:
    """P(value or more) [P] for a phrase in `rows` [P], among the `ordinary` ones [P] bool in about as many rows.

    These are the ones in half to twice as many, the nearest LEAST where they are fewer. Their law is a Gaussian through
    median and FAR quantile, as far out as natural phrases were counted; from there on it falls off exponentially.
    """
    order = np.flatnonzero(ordinary)[rows[ordinary].argsort(kind="stable")]
    number = rows[order]
    out = np.ones(len(value))
    if not len(order):
        return out
    for at, here in enumerate(rows.tolist()):
        start, stop = np.searchsorted(number, here / 2), np.searchsorted(number, 2 * here, side="right")
        if stop - start < LEAST:
            start = min(max(int(np.searchsorted(number, here)) - LEAST // 2, 0), max(len(order) - LEAST, 0))
            stop = start + LEAST
        middle, upper = np.quantile(value[order[start:stop]], [0.5, FAR])
        out[at] = beyond(float((value[at] - middle) / max((upper - middle) / GAUSS, 1.0)))
    return out


def beyond(deviations: float) -> float:
    """P(so many deviations or more): of a Gaussian up to COUNTED, then exponential at the rate it has there."""
    if deviations <= COUNTED:
        return float(ndtr(-deviations))
    rate = math.exp(-(COUNTED**2) / 2) / math.sqrt(2 * math.pi) / float(ndtr(-COUNTED))
    return float(ndtr(-COUNTED)) * math.exp(-rate * (deviations - COUNTED))
