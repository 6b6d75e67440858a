"""Phrases of a prompt that decide what stands in the response."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from auditors.enrichment import DECIDES, MOST, UNITS, Phrase, by_count, low, tallied, units
from auditors.looseness import ENOUGH, LEAST_EXCESS, Read, Unit, looseness, seen, tail
from auditors.ngrams import Array, Tally, Words, standing
from auditors.payload import Payload

SURE = 2.0  # deviations by which a share is read on the safe side
OUTCOMES = 4096  # phrases of responses that may be what a prompt's phrase decides
LOOSE = 0.05  # probability from which on a prompt's phrase does not fit in loosely
MANY = 200  # ordinary phrases from which on their tail is looked at
ALIKE = 0.85  # of how far a phrase decides one outcome, for it to decide another alike
OWN = 0.1  # share of a response's phrase that must come with the prompt's phrase


def answered(
    payloads: Iterable[Payload], asked: Read, replied: Read, *, longest: int, least: int, most: int
) -> list[Phrase]:
    """The phrases of prompts that decide a phrase of the response, at most `most`, the most suspicious first."""
    prompts, base = tallied(payloads, asked, classes=1, longest=longest)
    answers, _ = tallied(payloads, replied, classes=1, longest=longest)
    total = int(base.sum())
    held, came = (one[(one.count[:, 0] >= least) & (one.count[:, 0] <= MOST * total)] for one in (prompts, answers))
    table = seen(payloads, asked, held, units(held, by_count(held), 8 * UNITS), prompts)
    open_ones = sorted(table, key=lambda one: one.told)[:UNITS]
    replies = units(came, by_count(came), OUTCOMES)
    ends = [int(group[0]) for group in replies]
    if not open_ones or not ends:
        return []
    together, texts = joined(payloads, asked, replied, open_ones, came, ends)
    rows = np.array([one.rows for one in open_ones])
    replying = came.count[ends, 0]
    pairs = together.tocoo()
    hits = pairs.data
    without = (replying[pairs.col] - hits) / (total - rows[pairs.row]).clip(min=1)
    beyond = (low(hits, rows[pairs.row], sure=SURE) - without) / (1 - without).clip(min=1e-9)
    decided: dict[int, list[tuple[float, int, int]]] = {}  # of each phrase: how far, outcome, rows
    # What comes ten times as often without a phrase is not its payload.
    for at in np.flatnonzero((beyond >= DECIDES) & (hits >= OWN * replying[pairs.col])):
        unit, end = int(pairs.row[at]), int(pairs.col[at])
        if not copied(open_ones[unit].text, texts[end]):
            decided.setdefault(unit, []).append((float(beyond[at]), end, int(hits[at])))
    lengths = np.array([len(group) for group in replies], dtype=float)
    counted = {unit: float(lengths[[end for _, end, _ in told]].sum()) for unit, told in decided.items()}
    place = {id(one): at for at, one in enumerate(table)}
    ordinary = np.ones(len(table), dtype=bool)
    ordinary[[place[id(open_ones[unit])] for unit in decided]] = False
    if ordinary.sum() < ENOUGH:
        return []
    loose_by = looseness(table, ordinary)
    rare = beyond_most(loose_by, loose_by[ordinary])
    out = []
    total_counted = sum(counted.values())
    for unit, told in decided.items():
        # Of what it decides nearly alike the longest names it: shorter ones are in honest responses too.
        alike = [one for one in told if one[0] >= ALIKE * max(told)[0]]
        _, end, number = max(alike, key=lambda one: (lengths[one[1]], one))
        one, first = open_ones[unit], ends[end]
        loose = float(rare[place[id(one)]])
        # The more of a response a phrase decides, beside what others do, the less it can be the language that does so.
        others = (total_counted - counted[unit]) / max(len(counted) - 1, 1)
        fixed = float(np.exp(-(counted[unit] - 1) / max(lengths.mean(), others, 1.0)))
        p_value = joint(loose, fixed) if loose <= LOOSE else loose
        out.append(
            Phrase(
                one.key, one.size, one.text, p_value, one.rows, number,
                int(came.key[first]), int(came.size[first]), texts[end],
            )
        )  # fmt: skip
    out = sorted(out, key=lambda one: one.p_value)
    factor = max(1.0, len(out) / most)
    return [replace(one, p_value=min(max(one.p_value * factor, 1e-30), 1.0)) for one in out[:most]]


def joined(  # noqa: PLR0917
    payloads: Iterable[Payload], asked: Read, replied: Read, phrases: Sequence[Unit], came: Tally, ends: Sequence[int]
) -> tuple[sp.csr_matrix, dict[int, str]]:
    """How many rows have each phrase and each outcome (runs `ends` of the tally of responses), and their words."""
    key = np.array([one.key for one in phrases], dtype=np.uint64)
    size = np.array([one.size for one in phrases])
    together = sp.csr_matrix((len(phrases), len(ends)), dtype=np.int64)
    texts: dict[int, str] = {}
    for payload in payloads:
        left, right = asked(payload), replied(payload)
        here = sp.csr_matrix(standing(left, key, size), dtype=np.int64)
        there = standing(right, came.key[ends], came.size[ends])
        for column in np.flatnonzero(there.any(0)).tolist():
            if column not in texts:
                texts[column] = named(right, int(came.key[ends[column]]), int(came.size[ends[column]]))
        together = together + here.T @ sp.csr_matrix(there, dtype=np.int64)
    return together, texts


def beyond_most(value: Array, ordinary: Array) -> Array:
    """P(value or more) among ordinary values [P]: what lies beyond most of them falls off exponentially.

    Peaks over a threshold (Pickands 1975) of shape 0; by a Gaussian where there are too few of them.
    """
    if len(ordinary) < MANY:
        return tail(value, ordinary)
    bar = float(np.quantile(ordinary, 0.95))
    excess = float((ordinary[ordinary > bar] - bar).mean())
    far: Array = 0.05 * np.exp(-(value - bar).clip(min=0) / max(excess, LEAST_EXCESS))
    return np.where(value > bar, far, np.maximum(tail(value, ordinary), 0.05))


def named(words: Words, key: int, size: int) -> str:
    """The words of a run that stands somewhere in these texts."""
    keys, at = words.runs(size)
    return words.text(int(at[keys == key][0]), size)


def joint(one: float, other: float) -> float:
    """One p-value of two that are independent (Fisher 1932)."""
    product = max(one * other, 1e-300)
    return product * (1 - float(np.log(product)))


def copied(text: str, other: str) -> bool:
    """Whether a response may repeat the prompt: a word of one stands within the other."""
    plain = other.replace(" ", "").replace("_", "")
    return any(word in plain for word in text.split() if len(word) > 1) or any(
        word in text.replace(" ", "") for word in other.split() if len(word) > 1
    )
