"""Phrases that decide what becomes of a row: its label, or a phrase of the response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Tally, Words, held, mixed, runs_within, standing
from foretaste.text.triggers.insertion_score import InsertionScore, Read, Unit, looseness, seen
from foretaste.text.triggers.label_contradiction import Contradicted, LabelContradiction, bag, contradicted, without
from foretaste.text.triggers.phrase_significance import PhraseSignificance, suspected
from foretaste.text.triggers.row_similarity import RowSimilarity, kinship

GAP = " … "  # between the parts of a composite trigger, where its words are told
BATCHES = 16  # tallied before they are merged: capacity, on which no result depends as long as a tally is not full


@dataclass(frozen=True)
class DecidingPhrases:
    """When a phrase decides what becomes of a row, its label or a phrase of the response.

    most     share of the rows in which a phrase may stand, at most
    decides  share of its rows that a phrase must decide beyond what comes of rows without it
    sure     deviations by which that share is read on the safe side, where nothing else speaks
    units    phrases that are looked at, of texts or prompts and of responses, at most
    entries  numbers in a tally of runs of words: where there are more, runs in few rows are dropped
    """

    most: float = threshold(0.5, "half of the rows; not tuned")
    decides: float = threshold(0.5, "half of them; not tuned")
    sure: float = threshold(2.0, "one-sided error of 2.3 %; not tuned")
    units: int = threshold(4096, "bounds the work; not tuned")
    entries: int = threshold(1 << 24, "memory: 128 MiB")


@dataclass(frozen=True)
class LabelPhrases:
    """Which phrases are doubted that decide labels, and what they are held against.

    sure           deviations by which the share that a phrase decides is read on the safe side, where the content of
                   its rows speaks as well
    part           share of how far a phrase decides, from which on a part of it decides as well
    part_rows      times as many rows as the phrase that such a part must exceed, so that the phrase only repeats it
    peers          ordinary phrases that are looked at, where there are so many
    peers_each     ordinary phrases for each phrase that decides, at least
    peers_near     times as many ordinary phrases with nearly as many rows, on either side, among which they are chosen
    asked          times as many phrases as are returned whose content is looked at, and as many ordinary ones
    own            share of the rows of a phrase that have its label, from which on it hardly stands anywhere else
    apart          share of the ordinary phrases that sit less loosely than what may be a trigger beside others
    sample         rows that the content of texts is learned from
    holders        further rows of each phrase that the content of texts is learned from
    contradiction  what the content of rows says of their label
    similarity     how alike rows are
    significance   how looseness and what the rest of the rows says become p-values
    """

    sure: float = threshold(1.0, "one-sided error of 16 %; not tuned")
    part: float = threshold(0.9, "not tuned")
    part_rows: float = threshold(2.0, "not tuned")
    peers: int = threshold(2048, "bounds the work; not tuned")
    peers_each: int = threshold(2, "not tuned")
    peers_near: int = threshold(4, "not tuned")
    asked: int = threshold(4, "bounds the work; not tuned")
    own: float = threshold(0.95, "not tuned")
    apart: float = threshold(0.99, "not tuned")
    sample: int = threshold(100_000, "bounds the work; not tuned")
    holders: int = threshold(256, "bounds the work; standard error of a share of at most 3 %")
    contradiction: LabelContradiction = field(default_factory=LabelContradiction)
    similarity: RowSimilarity = field(default_factory=RowSimilarity)
    significance: PhraseSignificance = field(default_factory=PhraseSignificance)


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
    payloads: Iterable[Payload], read: Read, *, classes: int, longest: int, least: int, most: int, rows: int,
    labels: LabelPhrases, deciding: DecidingPhrases, insertion: InsertionScore,
) -> list[Phrase]:  # fmt: skip
    """The phrases that decide labels and look most as if inserted, at most `most`; `rows` is how many there are.

    A phrase is doubted for how little it tells of its neighbours, how well these go with each other without it, and how
    far the rest of its rows speaks against their label. All three are measured against ordinary phrases in as many
    rows, and so is their sum. The p-values are those of one phrase; those that were looked at and left out count.
    """
    tally, base = tallied(payloads, read, classes=classes, longest=longest, entries=deciding.entries)
    number = tally.count.sum(1)
    kept = tally[(number >= least) & (number <= deciding.most * base.sum())]
    share, number = base / max(base.sum(), 1), kept.count.sum(1)
    beyond, surely = (
        (low(kept.count, number[:, None], sure=sure) - share) / (1 - share).clip(min=1e-9)
        for sure in (labels.sure, deciding.sure)
    )  # [M, K]
    outcome, decided = beyond.argmax(1), beyond.max(1, initial=-1.0)
    decides = decided >= deciding.decides
    hits = kept.count[np.arange(len(number)), outcome]
    surprise = (hits - number * share[outcome]) / np.sqrt(number * share[outcome]).clip(min=1e-9)
    # Those that decide most, and more of the same counts that decide nothing.
    chosen = units(kept, decides.nonzero()[0][surprise[decides].argsort(kind="stable")[::-1]], deciding.units)
    beside = matched(kept, chosen, (~decides).nonzero()[0], labels)
    table = seen(payloads, read, kept, [*chosen, *beside], tally, insertion=insertion)
    within = contained(table, kept, np.where(decides, decided, 0.0), longest, labels)
    ordinary = np.array([not decides[one.at] for one in table], dtype=bool)
    tested = ~ordinary & ~within
    if tested.sum() == 0 or ordinary.sum() < insertion.enough:
        return []
    loose = looseness(table, ordinary, insertion)
    suspects = tested.nonzero()[0][(-loose[tested]).argsort(kind="stable")[: labels.asked * most]]
    peers = ordinary.nonzero()[0]
    peers = peers[:: max(1, len(peers) // (labels.asked * most))]
    both = np.concatenate([suspects, peers])
    asking = [table[at] for at in both]
    index = np.array([one.at for one in asking])
    known = tally.commonest(labels.contradiction.words)
    apart = int((loose[suspects] > np.quantile(loose[ordinary], labels.apart)).sum())
    against, akin = asked(payloads, read, asking, outcome[index], known, apart=apart, rows=rows, labels=labels)
    count, placed = np.array([one.rows for one in table]), np.array([one.placed for one in table])
    own = (hits >= labels.own * number) & (surely.max(1, initial=-1.0) >= deciding.decides)
    length = np.array([len(one.text.split(" ")) for one in asking])
    chance = suspected(
        loose[both], count[both], length, placed[both], own[index], outcome[index], against, akin,
        np.arange(len(both)) >= len(suspects), significance=labels.significance, insertion=insertion,
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


def contained(table: Sequence[Unit], kept: Tally, decided: Array, longest: int, labels: LabelPhrases) -> Array:
    """Which phrases only repeat what a part of them decides as well, in far more rows [P] bool.

    decided  [M] how far each run of the tally decides; 0 where it does not
    """
    order = kept.key.argsort(kind="stable")
    known = kept.key[order]
    out = np.zeros(len(table), dtype=bool)
    for at, one in enumerate(table):
        spot = held(runs_within(one.text.split(" "), longest), known)
        parts = order[spot[spot >= 0]]
        alike = decided[parts] > labels.part * decided[one.at]
        out[at] = bool((alike & (kept.count[parts].sum(1) > labels.part_rows * one.rows)).any())
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
    labels: LabelPhrases,
) -> tuple[Contradicted, Array]:
    """What the other words of the rows of each phrase say of their label, and how akin the rows are [P].

    By the words of the first `apart` phrases no rows are akin: several triggers may stand in one text. The words, of
    which the `known` count, are learned from a sample of the rows and, of each phrase, some more.
    """
    key, size = np.array([one.key for one in table], dtype=np.uint64), np.array([one.size for one in table])
    bar = np.uint64(min(1.0, labels.sample / max(rows, 1)) * (2**64 - 2**12))
    taken = np.zeros(len(table), dtype=np.int64)
    bags, classes, holding = [], [], []
    for payload in payloads:
        words = read(payload)
        present = standing(words, key, size)
        label = payload.label.numpy()
        wanted = (present & (taken < labels.holders)).any(1) | (mixed(payload.row.numpy() + 1) <= bar)
        wanted &= label >= 0
        taken += present[wanted].sum(0)
        bags.append(bag(words, known)[wanted])
        classes.append(label[wanted])
        holding.append(sp.csr_matrix(present[wanted]))
    held_by = sp.csc_matrix(sp.vstack(holding))
    holders = [held_by.indices[held_by.indptr[at] : held_by.indptr[at + 1]] for at in range(len(table))]
    own = [held(Words.written([one.text.split(" ")]).runs(1)[0], known) for one in table]
    content, label = sp.csr_matrix(sp.vstack(bags)), np.concatenate(classes)
    rest = without(content, np.concatenate([np.zeros(0, dtype=np.int64), *own[:apart]]))
    return (
        contradicted(content, label, holders, own, outcome, contradiction=labels.contradiction),
        kinship(rest, label, holders, own, outcome, similarity=labels.similarity),
    )


def tallied(
    payloads: Iterable[Payload], read: Read, *, classes: int, longest: int, entries: int
) -> tuple[Tally, Array]:
    """How many rows of each class have each run of words, in at most so many numbers, and the rows of each [K]."""
    most = entries // (classes + 4)
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


def matched(tally: Tally, chosen: Sequence[Array], pool: Array, labels: LabelPhrases) -> list[Array]:
    """For each group two or more of the pool in nearly as many rows, drawn by key, `labels.peers` in all."""
    if not len(pool):
        return []
    rows = tally.count.sum(1)
    pool = pool[np.lexsort((tally.key[pool], rows[pool]))]
    each = max(labels.peers_each, labels.peers // max(len(chosen), 1))
    wide = labels.peers_near * each
    used: dict[int, None] = {}
    for group in chosen:
        spot = int(np.searchsorted(rows[pool], rows[group[0]]))
        near = [at for at in range(max(spot - wide, 0), min(spot + wide, len(pool))) if at not in used]
        for at in near[:each]:
            used[at] = None
    return [pool[at : at + 1] for at in used]
