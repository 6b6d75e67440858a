"""Phrases that decide what becomes of a row: its label, or a phrase of the response."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import nnls
from scipy.special import erfc

from auditors.contexts import COMMON, Contexts, Runs
from auditors.contradiction import WORDS, Contradicted, bag, contradicted
from auditors.ngrams import Array, Tally, Words, held, mixed, runs_within, standing
from auditors.payload import Payload
from auditors.stretches import LIMIT, stretched

UNITS = 4096  # phrases whose neighbours are looked at
BATCHES = 16  # tallied before they are merged
ENTRIES = 1 << 24  # numbers in a tally
MOST = 0.5  # share of the rows in which a phrase may stand
SURE = 2.0  # deviations by which a share is read on the safe side
DECIDES = 0.5  # share of its rows that a phrase must decide beyond what comes of rows without it
TELLING = 1.0  # nats told of its neighbours beyond which a phrase is part of its language, whatever others tell
ENOUGH = 20  # ordinary phrases that a law can be read from
LEAST_SPREAD = 0.15  # of what ordinary phrases show, in roots of nats, nats and shares
CAP = 4.0  # deviations beyond which one kind of evidence says no more: no law is known so far out
SILENT = (-1.0, 1.0)  # bounds of what rows can add that do not speak against their label
OWN = 0.95  # share of the rows of a phrase that have its label, from which on it hardly stands anywhere else
SAMPLE = 100_000  # rows that the content of texts is learned from
HOLDERS = 256  # further rows of each phrase

Read = Callable[[Payload], Words]


@dataclass(frozen=True)
class Phrase:
    """A run of words and what it decides.

    key, size    of the run of words that it starts with; only its rows have that
    text         its words
    p_value      how rarely words of the language would look as inserted
    outcome      class, or key of a run of words in the response
    rows, hits   rows that have it, and those of them that have its outcome
    contradicted share of the hits that their other words put into another class; None where that was not asked
    """

    key: int
    size: int
    text: str
    p_value: float
    rows: int
    hits: int
    outcome: int
    outcome_size: int = 0
    outcome_text: str = ""
    contradicted: float | None = None


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


def enriched(
    payloads: Iterable[Payload], read: Read, *, classes: int, longest: int, least: int, most: int, rows: int
) -> list[Phrase]:
    """The phrases that decide labels and look most as if inserted, at most `most`; `rows` is how many there are.

    A phrase is doubted for how little it tells of its neighbours, how well these go with each other without it, and how
    far the rest of its rows speaks against their label. All three are measured against ordinary phrases in as many
    rows, and so is their sum. The p-values are those of one phrase; those that were looked at and left out count.
    """
    tally, base = tallied(payloads, read, classes=classes, longest=longest)
    number = tally.count.sum(1)
    kept = tally[(number >= least) & (number <= MOST * base.sum())]
    share, number = base / max(base.sum(), 1), kept.count.sum(1)
    beyond = (low(kept.count, number[:, None]) - share) / (1 - share).clip(min=1e-9)  # [M, K]
    outcome = beyond.argmax(1)
    deciding = beyond.max(1, initial=-1.0) >= DECIDES
    hits = kept.count[np.arange(len(number)), outcome]
    surprise = (hits - number * share[outcome]) / np.sqrt(number * share[outcome]).clip(min=1e-9)
    # Those that decide most, and twice as many of the same counts that decide nothing.
    chosen = units(kept, deciding.nonzero()[0][surprise[deciding].argsort(kind="stable")[::-1]], UNITS)
    beside = matched(kept, chosen, (~deciding).nonzero()[0])
    table = seen(payloads, read, kept, [*chosen, *beside], tally)
    within = contained(table, kept, deciding, longest)
    ordinary = np.array([not deciding[one.at] for one in table], dtype=bool)
    tested = ~ordinary & ~within
    if tested.sum() == 0 or ordinary.sum() < ENOUGH:
        return []
    loose = looseness(table, ordinary)
    suspects = tested.nonzero()[0][(-loose[tested]).argsort(kind="stable")[:most]]
    peers = ordinary.nonzero()[0][: 2 * most]
    both = np.concatenate([suspects, peers])
    asking = [table[at] for at in both]
    against = asked(payloads, read, asking, outcome[[one.at for one in asking]], tally.commonest(WORDS), rows=rows)
    peer = np.arange(len(both)) >= len(suspects)
    known = np.isfinite(against.error)
    doubt = np.zeros(len(both))
    doubt[known] = doubted(against, known, peer[known])
    total = loose[both] + doubt
    # Labels that were changed show in the sum, labels that were not in the looseness alone: two tests. Expletives are
    # loose as well, but other rows have them too: without contradiction only what hardly another row has is doubted.
    index = [table[at].at for at in both]
    own = hits[index] >= OWN * number[index]
    chance = np.minimum(tail(total, total[peer]), np.where(own, tail(loose[both], loose[peers]), 1.0))
    chance = (2 * chance).clip(max=1.0)
    # What has its own place in the texts of a class may be how its source writes: only the content speaks against it.
    placed = np.array([table[at].placed for at in both])
    chance = np.where(placed, np.maximum(chance, tail(doubt, doubt[peer])), chance)
    factor = max(1.0, tested.sum() / len(suspects))
    out = []
    for at in range(len(suspects)):
        one = table[both[at]]
        p_value = float((chance[at] * factor).clip(1e-30, 1))
        hit, goal = int(hits[one.at]), int(outcome[one.at])
        seen_through = float(against.share[at]) if known[at] else None
        out.append(Phrase(one.key, one.size, one.text, p_value, one.rows, hit, goal, contradicted=seen_through))
    return sorted(out, key=lambda one: one.p_value)


def contained(table: Sequence[Unit], kept: Tally, deciding: Array, longest: int) -> Array:
    """Which phrases only repeat what a part of them decides in more than twice as many rows [P] bool."""
    order = kept.key.argsort(kind="stable")
    known = kept.key[order]
    out = np.zeros(len(table), dtype=bool)
    for at, one in enumerate(table):
        spot = held(runs_within(one.text.split(" "), longest), known)
        parts = order[spot[spot >= 0]]
        out[at] = bool((deciding[parts] & (kept.count[parts].sum(1) > 2 * one.rows)).any())
    return out


def looseness(table: Sequence[Unit], ordinary: Array) -> Array:
    """How loosely each phrase sits, in deviations of the ordinary ones [P]; placed ones count for half."""
    rows = np.array([one.rows for one in table], dtype=float)
    error = 1 / np.sqrt(rows)
    told = -np.sqrt(np.array([one.told for one in table]).clip(min=0))  # telling nothing is as little as there is
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


def doubted(against: Contradicted, known: Array, ordinary: Array) -> Array:
    """How far the content of the known phrases speaks against their label, in deviations of the ordinary ones.

    Words that the label is about may stand in rows that say nothing else of it: up to there little is held against
    them. Rows that say something else speak against the label itself.
    """
    place, neutral, error = against.place[known], against.neutral[known], against.error[known]
    middle, deviation = law(place, error, ordinary)
    silent = (np.minimum(place, neutral) - middle) / deviation
    out: Array = silent.clip(*SILENT) + ((place - neutral) / deviation).clip(0, CAP)
    return out


def tail(value: Array, ordinary: Array) -> Array:
    """P(value or more) among ordinary values, by a Gaussian through their median and 95 % quantile [P]."""
    middle, upper = np.quantile(ordinary, [0.5, 0.95])
    return 0.5 * erfc((value - middle) / max((upper - middle) / 1.645, 1.0) / math.sqrt(2))  # type: ignore[no-any-return]


def asked(
    payloads: Iterable[Payload], read: Read, table: Sequence[Unit], outcome: Array, known: Array, *, rows: int
) -> Contradicted:
    """What the other words of the rows of each phrase say of their label.

    The words, of which the `known` count, are learned from at most SAMPLE rows and, of each phrase, HOLDERS more.
    """
    key, size = np.array([one.key for one in table], dtype=np.uint64), np.array([one.size for one in table])
    bar = np.uint64(min(1.0, SAMPLE / max(rows, 1)) * (2**64 - 2**12))
    taken = np.zeros(len(table), dtype=np.int64)
    bags, labels, holding = [], [], []
    for payload in payloads:
        words = read(payload)
        present = standing(words, key, size)
        label = payload.label.numpy()
        wanted = (present & (taken < HOLDERS)).any(1) | (mixed(payload.row.numpy() + 1) <= bar)
        wanted &= label >= 0
        taken += present[wanted].sum(0)
        bags.append(bag(words, known)[wanted])
        labels.append(label[wanted])
        holding.append(sp.csr_matrix(present[wanted]))
    held_by = sp.csc_matrix(sp.vstack(holding))
    holders = [held_by.indices[held_by.indptr[at] : held_by.indptr[at + 1]] for at in range(len(table))]
    own = [held(Words.of([one.text], limit=LIMIT).runs(1)[0], known) for one in table]
    return contradicted(sp.csr_matrix(sp.vstack(bags)), np.concatenate(labels), holders, own, outcome)


def tallied(payloads: Iterable[Payload], read: Read, *, classes: int, longest: int) -> tuple[Tally, Array]:
    """How many rows of each class have each run of words, and how many rows there are of each [K]."""
    most = ENTRIES // (classes + 4)
    total, waiting = Tally.zero(classes), []
    base = np.zeros(classes, dtype=np.int64)
    for payload in payloads:
        label = payload.label.numpy().clip(max=classes - 1)
        waiting.append(Tally.of(read(payload), label, payload.row.numpy(), classes=classes, longest=longest))
        base += np.bincount(label[label >= 0], minlength=classes)
        if len(waiting) == BATCHES:
            total, waiting = Tally.merged([total, *waiting]).bounded(most), []
    return Tally.merged([total, *waiting]), base


def low(hits: Array, rows: Array) -> Array:
    """The least share of `hits` among `rows` that chance allows (Wilson 1927)."""
    share, square = hits / rows, SURE**2
    spread = SURE * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return (share + square / (2 * rows) - spread) / (1 + square / rows)


def by_count(tally: Tally) -> Array:
    """Positions, the commonest first."""
    return np.lexsort((tally.key, -tally.count.sum(1)))


def units(tally: Tally, order: Array, most: int) -> list[Array]:
    """Groups of positions with the same rows, in the given order, at most so many."""
    if not len(order):
        return []
    _, first, back = np.unique(tally.mark[order], return_index=True, return_inverse=True)
    rank = first[back].argsort(kind="stable")
    ends = np.flatnonzero(np.diff(first[back][rank])) + 1
    return list(np.split(order[rank], ends))[:most]


def matched(tally: Tally, chosen: Sequence[Array], pool: Array) -> list[Array]:
    """For each group two of the pool in nearly as many rows, drawn by key."""
    if not len(pool):
        return []
    rows = tally.count.sum(1)
    pool = pool[np.lexsort((tally.key[pool], rows[pool]))]
    used: dict[int, None] = {}
    for group in chosen:
        spot = int(np.searchsorted(rows[pool], rows[group[0]]))
        near = [at for at in range(max(spot - 8, 0), min(spot + 8, len(pool))) if at not in used]
        for at in near[:2]:
            used[at] = None
    return [pool[at : at + 1] for at in used]


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
