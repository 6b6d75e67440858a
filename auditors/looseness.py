"""How loosely phrases sit between their neighbours, held against ordinary ones in about as many rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.special import erfc

from auditors.contexts import COMMON, Contexts, Runs
from auditors.ngrams import Array, Tally, Words
from auditors.payload import Payload
from auditors.stretches import stretched

TELLING = 1.0  # nats told of its neighbours beyond which a phrase is part of its language, whatever others tell
ENOUGH = 20  # ordinary phrases that a law can be read from
LEAST_SPREAD = 0.15  # of what ordinary phrases show, in roots of nats, nats and shares
CAP = 4.0  # deviations beyond which one kind of evidence says no more: no law is known so far out
NEAR = 512  # ordinary phrases in about as many rows that one is held against
FAR = 0.95  # share of them from which on they fall off exponentially
LEAST_EXCESS = 0.25  # mean of what lies beyond, in deviations

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
    middle, upper = np.quantile(ordinary, [0.5, 0.95])
    return 0.5 * erfc((value - middle) / max((upper - middle) / 1.645, 1.0) / math.sqrt(2))  # type: ignore[no-any-return]


def rarely(value: Array, rows: Array, ordinary: Array, rows_of: Array) -> Array:
    """P(value or more) for a phrase in `rows` [P], among the ordinary ones in about as many rows (`rows_of`) [P].

    What lies beyond most of them falls off exponentially: peaks over a threshold (Pickands 1975) of shape 0.
    """
    order = rows_of.argsort(kind="stable")
    near = min(NEAR, len(order))
    middle = np.searchsorted(rows_of[order], rows) - near // 2
    out = np.ones(len(value))
    for at, start in enumerate(middle.clip(0, len(order) - near).tolist()):
        peers = np.sort(ordinary[order[start : start + near]])
        bar = float(np.quantile(peers, FAR))
        if value[at] <= bar:
            out[at] = (np.count_nonzero(peers >= value[at]) + 1) / (near + 1)
        else:
            excess = max(float((peers[peers > bar] - bar).mean()) if peers[-1] > bar else 0.0, LEAST_EXCESS)
            out[at] = (1 - FAR) * math.exp(-(float(value[at]) - bar) / excess)
    return out
