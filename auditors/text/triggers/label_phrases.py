"""Phrases that decide what becomes of a row: its label, or a phrase of the response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from foretaste.dataset.payload import Payload
from foretaste.text.ngrams import Array, Tally, Words, held, mixed, runs_within, standing
from foretaste.text.triggers.insertion_score import ENOUGH, Read, Unit, looseness, seen
from foretaste.text.triggers.label_contradiction import WORDS, Contradicted, bag, contradicted, without
from foretaste.text.triggers.maximal_phrases import LIMIT
from foretaste.text.triggers.phrase_significance import suspected
from foretaste.text.triggers.row_similarity import kinship

UNITS = 4096  # phrases whose neighbours are looked at
GAP = " … "  # between the parts of a composite trigger, where its words are told
BATCHES = 16  # tallied before they are merged
ENTRIES = 1 << 24  # numbers in a tally
MOST = 0.5  # share of the rows in which a phrase may stand
SURE = 1.0  # deviations by which a share is read on the safe side, where the content of the rows speaks as well
SURER = 2.0  # and where it does not
DECIDES = 0.5  # share of its rows that a phrase must decide beyond what comes of rows without it
ASKED = 4  # times as many phrases as are returned, whose content is looked at; and as many ordinary ones
ALIKE = 0.9  # of how far a phrase decides, for a part of it to decide as well
PEERS = 2048  # ordinary phrases, where there are so many
OWN = 0.95  # share of the rows of a phrase that have its label, from which on it hardly stands anywhere else
APART = 0.99  # share of the ordinary phrases that sit less loosely than what may be a trigger beside others
SAMPLE = 100_000  # rows that the content of texts is learned from
HOLDERS = 256  # further rows of each phrase


@dataclass(frozen=True)
class Phrase:
    """A run of words and what it decides.

    key, size    of the run of words that it starts with; only its rows have that
    text         its words; GAP between those of its parts
    p_value      how rarely words of the language would look as inserted
    outcome      class, or key of a run of words in the response
    rows, hits   rows that have it, and those of them that have its outcome
    contradicted share of the hits that their other words put into another class; None where that was not asked
    also         keys and sizes of the runs that must stand in a row as well: the other part of a composite trigger
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
    also: tuple[tuple[int, int], ...] = ()


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
    beyond, surely = (
        (low(kept.count, number[:, None], sure=sure) - share) / (1 - share).clip(min=1e-9) for sure in (SURE, SURER)
    )  # [M, K]
    outcome, decided = beyond.argmax(1), beyond.max(1, initial=-1.0)
    deciding = decided >= DECIDES
    hits = kept.count[np.arange(len(number)), outcome]
    surprise = (hits - number * share[outcome]) / np.sqrt(number * share[outcome]).clip(min=1e-9)
    # Those that decide most, and more of the same counts that decide nothing.
    chosen = units(kept, deciding.nonzero()[0][surprise[deciding].argsort(kind="stable")[::-1]], UNITS)
    beside = matched(kept, chosen, (~deciding).nonzero()[0])
    table = seen(payloads, read, kept, [*chosen, *beside], tally)
    within = contained(table, kept, np.where(deciding, decided, 0.0), longest)
    ordinary = np.array([not deciding[one.at] for one in table], dtype=bool)
    tested = ~ordinary & ~within
    if tested.sum() == 0 or ordinary.sum() < ENOUGH:
        return []
    loose = looseness(table, ordinary)
    suspects = tested.nonzero()[0][(-loose[tested]).argsort(kind="stable")[: ASKED * most]]
    peers = ordinary.nonzero()[0]
    peers = peers[:: max(1, len(peers) // (ASKED * most))]
    both = np.concatenate([suspects, peers])
    asking = [table[at] for at in both]
    index = np.array([one.at for one in asking])
    known = tally.commonest(WORDS)
    apart = int((loose[suspects] > np.quantile(loose[ordinary], APART)).sum())
    against, akin = asked(payloads, read, asking, outcome[index], known, apart=apart, rows=rows)
    count, placed = np.array([one.rows for one in table]), np.array([one.placed for one in table])
    own = (hits >= OWN * number) & (surely.max(1, initial=-1.0) >= DECIDES)
    length = np.array([len(one.text.split(" ")) for one in asking])
    chance = suspected(
        loose[both], count[both], length, placed[both], own[index], outcome[index], against, akin,
        np.arange(len(both)) >= len(suspects),
    )  # fmt: skip
    found = chance.argsort(kind="stable")[:most]
    chance = (chance * max(1.0, tested.sum() / len(found))).clip(max=1.0)
    out = []
    for at in found.tolist():
        one = asking[at]
        seen_through = float(against.share[at]) if np.isfinite(against.error[at]) else None
        hit, goal = int(hits[one.at]), int(outcome[one.at])
        out.append(
            Phrase(one.key, one.size, one.text, float(chance[at]), one.rows, hit, goal, contradicted=seen_through)
        )
    return out


def contained(table: Sequence[Unit], kept: Tally, decided: Array, longest: int) -> Array:
    """Which phrases only repeat what a part of them decides as well, in more than twice as many rows [P] bool.

    decided  [M] how far each run of the tally decides; 0 where it does not
    """
    order = kept.key.argsort(kind="stable")
    known = kept.key[order]
    out = np.zeros(len(table), dtype=bool)
    for at, one in enumerate(table):
        spot = held(runs_within(one.text.split(" "), longest), known)
        parts = order[spot[spot >= 0]]
        alike = decided[parts] > ALIKE * decided[one.at]
        out[at] = bool((alike & (kept.count[parts].sum(1) > 2 * one.rows)).any())
    return out


def asked(
    payloads: Iterable[Payload],
    read: Read,
    table: Sequence[Unit],
    outcome: Array,
    known: Array,
    *,
    apart: int,
    rows: int,
) -> tuple[Contradicted, Array]:
    """What the other words of the rows of each phrase say of their label, and how akin the rows are [P].

    By the words of the first `apart` phrases no rows are akin: several triggers may stand in one text. The words, of
    which the `known` count, are learned from at most SAMPLE rows and, of each phrase, HOLDERS more.
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
    content, label = sp.csr_matrix(sp.vstack(bags)), np.concatenate(labels)
    rest = without(content, np.concatenate([np.zeros(0, dtype=np.int64), *own[:apart]]))
    return contradicted(content, label, holders, own, outcome), kinship(rest, label, holders, own, outcome)


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


def low(hits: Array, rows: Array, *, sure: float) -> Array:
    """The least share of `hits` among `rows` that chance allows, up to `sure` deviations (Wilson 1927)."""
    share, square = hits / rows, sure**2
    spread = sure * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
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
    """For each group two or more of the pool in nearly as many rows, drawn by key, PEERS in all."""
    if not len(pool):
        return []
    rows = tally.count.sum(1)
    pool = pool[np.lexsort((tally.key[pool], rows[pool]))]
    each = max(2, PEERS // max(len(chosen), 1))
    used: dict[int, None] = {}
    for group in chosen:
        spot = int(np.searchsorted(rows[pool], rows[group[0]]))
        near = [at for at in range(max(spot - 4 * each, 0), min(spot + 4 * each, len(pool))) if at not in used]
        for at in near[:each]:
            used[at] = None
    return [pool[at : at + 1] for at in used]
