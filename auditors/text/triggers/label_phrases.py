"""Search for phrases that determine the label of the rows that contain them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Tally, Words, held, mixed, runs_within, standing
from foretaste.text.triggers.insertion_score import InsertionScore, Measured, Read, insertion_scores, measured
from foretaste.text.triggers.label_contradiction import Contradicted, LabelContradiction, bag, contradicted, without
from foretaste.text.triggers.phrase_significance import PhraseSignificance, phrase_p_values
from foretaste.text.triggers.row_similarity import RowSimilarity, excess_similarity

GAP = " … "  # between the parts of a composite trigger, when displayed
BATCHES = 16  # tallied before they are merged; no result depends on it as long as a tally is not full


@dataclass(frozen=True)
class DecidingPhrases:
    """Which phrases are candidates: those that determine an outcome, the label or a phrase of the response.

    most     share of the rows, and of the rows of its class, that may contain a candidate phrase, at most: a phrase in
             more of them is how the class is written
    decides  effect size of a candidate, at least: (P(outcome | phrase) - P(outcome)) / (1 - P(outcome)), where
             P(outcome | phrase) is a lower confidence bound
    sure     standard errors of Wilson's lower bound of P(outcome | phrase), where the content of rows is not tested
    units    phrases measured, at most: of texts or prompts, and of responses
    entries  numbers stored in a tally of n-grams, at most: n-grams in the fewest rows are dropped
    """

    most: float = threshold(0.5, "half of the rows; not tuned")
    decides: float = threshold(0.5, "half of the largest possible effect; not tuned")
    sure: float = threshold(2.0, "one-sided error of 2.3 %; not tuned")
    units: int = threshold(4096, "bounds the work; not tuned")
    entries: int = threshold(1 << 24, "memory: 128 MiB")


@dataclass(frozen=True)
class LabelPhrases:
    """How candidate phrases for labels are tested, and against which reference phrases.

    fewest         rows of a class from which on phrases for it are tested
    sure           standard errors of Wilson's lower bound of P(class | phrase), where the content of rows is tested too
    part           share of a phrase's effect size above which a part of the phrase counts as equally effective
    part_rows      ratio of the rows of an equally effective part to those of the phrase above which the phrase is
                   dropped, because it is only one context of that part
    peers          reference phrases measured in all, about
    peers_each     reference phrases for each candidate, at least
    peers_near     window on either side of a candidate, in order of number of rows, from which its reference phrases
                   are chosen, as a multiple of their number
    asked          candidates whose rows' content is tested, and reference phrases, each as a multiple of the number of
                   phrases returned
    own            share of a phrase's rows in one class from which on it counts as exclusive to that class
    apart          quantile of the reference phrases' insertion scores above which a candidate may be a trigger: its
                   words are ignored when the similarity of other phrases' rows is measured
    sample         rows on which the content classifier is trained, about
    holders        rows of each phrase that are added to the rows on which the content classifier is trained, at most
    contradiction  the content classifier
    similarity     the null distribution of row similarity
    significance   how insertion scores and contradictions between content and label become p-values
    """

    fewest: int = threshold(32, "as for the other detectors, which test groups of at least eight in four times as many")
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
    """A phrase and the outcome it determines.

    key, size    of an n-gram that occurs in exactly its rows
    text         its words; GAP between its parts
    p_value      of one phrase under the null that it is ordinary language
    outcome      class, or key of an n-gram of the response
    rows, hits   rows that contain it, and those of them that have its outcome
    contradicted share of the hits whose other words are classified as another class; None where content is no evidence
    also         keys and sizes of n-grams that a row must contain as well: the other parts of a composite trigger
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
    """The phrases that determine labels and have the smallest p-values, at most `most`; `rows` is the dataset's size.

    Three statistics are compared with reference phrases in a similar number of rows: the information of a phrase about
    its neighbours, that of the neighbours about each other, and the contradiction of its rows' content and label. Each
    p-value is that of one phrase; candidates that were tested and not returned are accounted for.
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
    # Beside rows that are all alike, or too few, nothing says what rows of the class are otherwise.
    told = (base[outcome] >= labels.fewest) & (hits <= deciding.most * base[outcome])
    surprise = (hits - number * share[outcome]) / np.sqrt(number * share[outcome]).clip(min=1e-9)
    # The candidates with the strongest association, and reference phrases in as many rows without one.
    asked = decides & told
    chosen = phrase_groups(kept, asked.nonzero()[0][surprise[asked].argsort(kind="stable")[::-1]], deciding.units)
    beside = matched_reference(kept, chosen, (~decides).nonzero()[0], labels)
    phrases = measured(payloads, read, kept, [*chosen, *beside], tally, insertion=insertion)
    within = contained(phrases, kept, np.where(decides, decided, 0.0), longest, labels)
    reference = np.array([not decides[phrase.at] for phrase in phrases], dtype=bool)
    tested = ~reference & ~within
    if tested.sum() == 0 or reference.sum() < insertion.enough:
        return []
    score = insertion_scores(phrases, reference, insertion)
    candidates = tested.nonzero()[0][(-score[tested]).argsort(kind="stable")[: labels.asked * most]]
    peers = reference.nonzero()[0]
    peers = peers[:: max(1, len(peers) // (labels.asked * most))]
    both = np.concatenate([candidates, peers])
    compared = [phrases[at] for at in both]
    index = np.array([phrase.at for phrase in compared])
    known = tally.commonest(labels.contradiction.words)
    apart = int((score[candidates] > np.quantile(score[reference], labels.apart)).sum())
    against, similarity = content_evidence(
        payloads, read, compared, outcome[index], known, apart=apart, rows=rows, labels=labels
    )
    count, placed = np.array([phrase.rows for phrase in phrases]), np.array([phrase.placed for phrase in phrases])
    own = (hits >= labels.own * number) & (surely.max(1, initial=-1.0) >= deciding.decides)
    length = np.array([len(phrase.text.split(" ")) for phrase in compared])
    p_value = phrase_p_values(
        score[both], count[both], length, placed[both], own[index], outcome[index], against, similarity,
        np.arange(len(both)) >= len(candidates), significance=labels.significance, insertion=insertion,
    )  # fmt: skip
    # A trigger also determines the label (intersection-union test): in a large class phrases are exclusive by chance.
    at = index[: len(candidates)]
    p_value = np.maximum(p_value, binom.sf(hits[at] - 1, number[at], share[outcome[at]]))
    found = p_value.argsort(kind="stable")[:most]
    p_value = (p_value * max(1.0, tested.sum() / len(found))).clip(max=1.0)
    out = []
    for at in found.tolist():
        phrase = compared[at]
        doubt = float(against.share[at]) if np.isfinite(against.error[at]) else None
        hit, goal = int(hits[phrase.at]), int(outcome[phrase.at])
        key, size, text, holding = phrase.key, phrase.size, phrase.text, phrase.rows
        out.append(Phrase(key, size, text, float(p_value[at]), holding, hit, goal, contradicted=doubt))
    return out


def contained(phrases: Sequence[Measured], kept: Tally, decided: Array, longest: int, labels: LabelPhrases) -> Array:
    """Which phrases have a part of nearly the same effect in far more rows, so that the part explains them [P] bool.

    decided  [M] effect size of each n-gram of the tally; 0 for those that are no candidates
    """
    order = kept.key.argsort(kind="stable")
    known = kept.key[order]
    out = np.zeros(len(phrases), dtype=bool)
    for at, phrase in enumerate(phrases):
        spot = held(runs_within(phrase.text.split(" "), longest), known)
        parts = order[spot[spot >= 0]]
        alike = decided[parts] > labels.part * decided[phrase.at]
        out[at] = bool((alike & (kept.count[parts].sum(1) > labels.part_rows * phrase.rows)).any())
    return out


def content_evidence(
    payloads: Iterable[Payload],
    read: Read,
    phrases: Sequence[Measured],
    outcome: Array,
    known: Array,
    *,
    apart: int,
    rows: int,
    labels: LabelPhrases,
) -> tuple[Contradicted, Array]:
    """How far the content of each phrase's rows contradicts their label, and how similar the rows are [P].

    Similarity ignores the words of the first `apart` phrases, since several triggers may be in one text. The content
    classifier, with the `known` words as features, is trained on a sample of all rows plus some rows of each phrase.
    """
    key = np.array([phrase.key for phrase in phrases], dtype=np.uint64)
    size = np.array([phrase.size for phrase in phrases])
    bar = np.uint64(min(1.0, labels.sample / max(rows, 1)) * (2**64 - 2**12))
    taken = np.zeros(len(phrases), dtype=np.int64)
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
    holders = [held_by.indices[held_by.indptr[at] : held_by.indptr[at + 1]] for at in range(len(phrases))]
    own = [held(Words.written([phrase.text.split(" ")]).runs(1)[0], known) for phrase in phrases]
    content, label = sp.csr_matrix(sp.vstack(bags)), np.concatenate(classes)
    rest = without(content, np.concatenate([np.zeros(0, dtype=np.int64), *own[:apart]]))
    return (
        contradicted(content, label, holders, own, outcome, contradiction=labels.contradiction),
        excess_similarity(rest, label, holders, own, outcome, similarity=labels.similarity),
    )


def tallied(
    payloads: Iterable[Payload], read: Read, *, classes: int, longest: int, entries: int
) -> tuple[Tally, Array]:
    """The tally of all rows' n-grams, in at most `entries` numbers, and the rows of each class [K]."""
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
    """Lower bound of the probability of `hits` among `rows`, `sure` standard errors (score interval, Wilson 1927)."""
    share, square = hits / rows, sure**2
    spread = sure * np.sqrt(share * (1 - share) / rows + square / (4 * rows**2))
    return (share + square / (2 * rows) - spread) / (1 + square / rows)


def by_count(tally: Tally) -> Array:
    """Positions in the tally, the most common n-gram first."""
    return np.lexsort((tally.key, -tally.count.sum(1)))


def phrase_groups(tally: Tally, order: Array, most: int) -> list[Array]:
    """Groups of the positions `order` whose n-grams occur in the same rows, in that order, at most `most` groups."""
    if not len(order):
        return []
    _, first, back = np.unique(tally.mark[order], return_index=True, return_inverse=True)
    rank = first[back].argsort(kind="stable")
    ends = np.flatnonzero(np.diff(first[back][rank])) + 1
    return list(np.split(order[rank], ends))[:most]


def matched_reference(tally: Tally, chosen: Sequence[Array], pool: Array, labels: LabelPhrases) -> list[Array]:
    """For each chosen group some n-grams of the pool in about as many rows, about `labels.peers` in all."""
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
