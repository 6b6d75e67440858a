"""Phrases that decide what becomes of a row: its label, or a phrase of the response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from auditors.contexts import COMMON, Contexts, chance
from auditors.ngrams import Array, Tally, Words
from auditors.payload import Payload

UNITS = 4096  # phrases whose neighbours are looked at
BATCHES = 16  # tallied before they are merged
ENTRIES = 1 << 24  # numbers in a tally
MOST = 0.5  # share of the rows in which a phrase may stand
SURE = 2.0  # deviations by which a share is read on the safe side
DECIDES = 0.5  # share of its rows that a phrase must decide beyond what comes of rows without it
LONG = 64  # words of a phrase, at most

Read = Callable[[Payload], Words]


@dataclass(frozen=True)
class Phrase:
    """A run of words and what it decides.

    key, size   of the run of words that stands for it
    text        its words; longer than `size` where longer runs stand in the same rows
    p_value     how rarely words of the language would be found in its place
    outcome     class, or key of a run of words in the response
    rows, hits  rows that have it, and those of them that have its outcome
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


@dataclass(frozen=True)
class Unit:
    """Runs of words that stand in the same rows, as one run: positions in a tally, the first of them in the text."""

    members: tuple[int, ...]
    key: int
    size: int
    rows: int
    text: str
    told: float
    fixed: bool


def enriched(
    payloads: Iterable[Payload], read: Read, *, classes: int, longest: int, least: int, most: int
) -> list[Phrase]:
    """The phrases that decide labels, at most `most`, those first that fit most loosely between their neighbours.

    Three passes over the rows. The p-values are those of one phrase; those that were looked at and left out count.
    """
    tally, base = tallied(payloads, read, classes=classes, longest=longest)
    rows = tally.count.sum(1)
    held = tally[(rows >= least) & (rows <= MOST * base.sum())]
    share, rows = base / max(base.sum(), 1), held.count.sum(1)
    beyond = (low(held.count, rows[:, None]) - share) / (1 - share).clip(min=1e-9)  # [M, K]
    outcome = beyond.argmax(1)
    deciding = beyond.max(1, initial=-1.0) >= DECIDES
    hits = held.count[np.arange(len(rows)), outcome]
    surprise = (hits - rows * share[outcome]) / np.sqrt(rows * share[outcome]).clip(min=1e-9)
    # Those that decide most, and as many of the same counts that decide nothing.
    chosen = units(held, deciding.nonzero()[0][surprise[deciding].argsort(kind="stable")[::-1]], UNITS)
    beside = matched(held, chosen, (~deciding).nonzero()[0])
    table = seen(payloads, read, held, [*chosen, *beside], tally)
    tested = np.array([bool(deciding[one.members[0]]) for one in table], dtype=bool)
    rare = chance(np.array([one.told for one in table]), np.array([one.rows for one in table]), ~tested)
    # What stands at the start or end of the texts of one class may be how its source writes.
    order = [int(at) for at in rare.argsort(kind="stable") if tested[at] and not table[at].fixed]
    factor = max(1.0, len(order) / most)
    out = []
    for at in order[:most]:
        one, first = table[at], table[at].members[0]
        p_value = float((rare[at] * factor).clip(1e-30, 1))
        out.append(Phrase(one.key, one.size, one.text, p_value, one.rows, int(hits[first]), int(outcome[first])))
    return out


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


def seen(payloads: Iterable[Payload], read: Read, held: Tally, groups: Sequence[Array], whole: Tally) -> list[Unit]:
    """The groups of runs as units, with what each tells of its neighbours. `held` is a part of the tally `whole`."""
    if not groups:
        return []
    single = whole.size == 1
    common = whole.key[single][whole.count[single].sum(1).argsort(kind="stable")[::-1][:COMMON]]
    members = np.sort(np.concatenate(groups))
    contexts = Contexts(np.sort(common), held.key[members], held.size[members])
    spots: dict[int, tuple[int, int, list[str]]] = {}
    for payload in payloads:
        words = read(payload)
        for which, at in contexts.add(words):
            runs, first = np.unique(which, return_index=True)
            for run, place in zip(runs.tolist(), at[first].tolist(), strict=True):
                if run not in spots:
                    here = int(words.row[place])
                    spots[run] = (int(payload.row[here]), place - int(words.start[here]) - 1, words.words[here])
    position = {int(one): at for at, one in enumerate(members)}
    out = []
    for group in groups:
        mine = [position[int(one)] for one in group]
        row, _, text = spots[mine[0]]
        mine = [one for one in mine if spots[one][0] == row]
        left = min(mine, key=lambda one: (spots[one][1], -contexts.size[one]))
        begin = spots[left][1]
        mine = [one for one in mine if spots[one][1] + contexts.size[one] <= begin + LONG]
        right = max(mine, key=lambda one: (spots[one][1] + contexts.size[one], contexts.size[one]))
        stop = spots[right][1] + int(contexts.size[right])
        named = int(members[left])
        out.append(
            Unit(
                tuple(map(int, group)), int(held.key[named]), int(held.size[named]), int(held.count[named].sum()),
                " ".join(text[begin:stop]), contexts.told(left, right), contexts.fixed(left, right),
            )
        )  # fmt: skip
    return out
