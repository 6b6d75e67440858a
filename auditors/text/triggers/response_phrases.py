"""Phrases of a prompt that decide what stands in the response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import combinations

import numpy as np
import scipy.sparse as sp
import torch

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.stats.significance import fisher
from foretaste.text.ngrams import Array, Tally, Words, standing
from foretaste.text.triggers.insertion_score import InsertionScore, Read, Unit, looseness, seen, tail
from foretaste.text.triggers.label_phrases import (
    BATCHES,
    GAP,
    DecidingPhrases,
    Phrase,
    by_count,
    low,
    tallied,
    units,
)


@dataclass(frozen=True)
class ResponsePhrases:
    """Which phrases of prompts are doubted for a phrase of the response that they decide.

    end           last words of a text without a response that are taken for one, at most half of the text
    candidates    times as many phrases of prompts as are looked at, among which those are chosen that tell least of
                  their neighbours
    many          ordinary phrases from which on their own tail is looked at
    least_excess  mean excess of the ordinary phrases that sit loosely, in deviations, at least
    alike         share of how far a phrase decides one outcome, from which on it decides another alike
    own           share of the rows with a response's phrase that must have the prompt's phrase
    halves        phrases looked at as halves of composite triggers, at most
    half          how far a half decides what both bring, at least
    apart         share of the rows of a half that lack the other, at least
    rarer         times as often as both a half alone may bring the outcome
    """

    end: int = threshold(16, "not tuned")
    candidates: int = threshold(8, "bounds the work; not tuned")
    many: int = threshold(200, "ten of them lie beyond the quantile; not tuned")
    least_excess: float = threshold(0.25, "not tuned")
    alike: float = threshold(0.85, "not tuned")
    own: float = threshold(0.1, "what comes ten times as often without a phrase is not its payload; not tuned")
    halves: int = threshold(64, "bounds the work: 2016 pairs")
    half: float = threshold(0.15, "not tuned")
    apart: float = threshold(0.1, "not tuned")
    rarer: float = threshold(0.5, "not tuned")


Outcomes = list[tuple[float, int, int]]  # what is decided: how far, which outcome, in how many rows


def answered(
    payloads: Iterable[Payload], asked: Read, replied: Read, *, longest: int, least: int, most: int,
    responses: ResponsePhrases, deciding: DecidingPhrases, insertion: InsertionScore,
) -> list[Phrase]:  # fmt: skip
    """The phrases of prompts that decide a phrase of the response, at most `most`, the most suspicious first.

    Two phrases are one composite trigger where both together decide it and each half of them alone hardly does.
    """
    prompts, base = tallied(payloads, asked, classes=1, longest=longest, entries=deciding.entries)
    answers, _ = tallied(payloads, replied, classes=1, longest=longest, entries=deciding.entries)
    total = int(base.sum())
    held, came = (
        one[(one.count[:, 0] >= least) & (one.count[:, 0] <= deciding.most * total)] for one in (prompts, answers)
    )
    candidates = units(held, by_count(held), responses.candidates * deciding.units)
    table = seen(payloads, asked, held, candidates, prompts, insertion=insertion)
    open_ones = sorted(table, key=lambda one: one.told)[: deciding.units]
    replies = units(came, by_count(came), deciding.units)
    ends = [int(group[0]) for group in replies]
    if not open_ones or not ends:
        return []
    singles = [(at,) for at in range(len(open_ones))]
    together, company, texts = joined(payloads, asked, replied, open_ones, singles, came, ends)
    words, rows = [one.text for one in open_ones], np.array([one.rows for one in open_ones])
    decides = partial(
        decided, texts=texts, replying=came.count[ends, 0], total=total, sure=deciding.sure, own=responses.own
    )
    bar = deciding.decides
    told: dict[tuple[int, ...], Outcomes] = {(at,): one for at, one in decides(together, rows, words, bar=bar).items()}
    place = {id(one): at for at, one in enumerate(table)}
    at_table = np.array([place[id(one)] for one in open_ones])
    ordinary = np.ones(len(table), dtype=bool)
    ordinary[[at_table[at] for (at,) in told]] = False
    if ordinary.sum() < insertion.enough:
        return []
    loose_by = looseness(table, ordinary, insertion)
    rare = beyond_most(loose_by, loose_by[ordinary], responses, insertion)[at_table]
    halves = [at for at in decides(together, rows, words, bar=responses.half) if rare[at] <= insertion.loose]
    halves = sorted(halves, key=lambda at: (rare[at], at))[: responses.halves]
    pairs = paired(halves, company, open_ones, least=least, apart=responses.apart)
    if pairs:
        both, _, _ = joined(payloads, asked, replied, open_ones, pairs, came, ends)
        number = np.array([company[pair] for pair in pairs])
        spoken = [" ".join(words[part] for part in pair) for pair in pairs]
        for at, outcomes in decides(both, number, spoken, bar=bar).items():
            _, end, hits = max(outcomes)
            rest = [float((together[part, end] - hits) / (rows[part] - number[at])) for part in pairs[at]]
            # Where one half alone brings the outcome as well, it is no half.
            if max(rest) <= responses.rarer * hits / number[at]:
                told[pairs[at]] = outcomes
                for part in pairs[at]:
                    told.pop((part,), None)
    lengths = np.array([len(group) for group in replies], dtype=float)
    chance = surprising(told, rare, lengths, len(pairs), loose=insertion.loose)
    out = []
    for parts, outcomes in told.items():
        # Of what it decides nearly alike the longest names it: shorter ones are in honest responses too.
        alike = [one for one in outcomes if one[0] >= responses.alike * max(outcomes)[0]]
        _, end, hits = max(alike, key=lambda one: (lengths[one[1]], one))
        (first, *others), goal = [open_ones[part] for part in parts], ends[end]
        text, there = GAP.join(words[part] for part in parts), int(company[parts[0], parts[-1]])
        also = tuple((one.key, one.size) for one in others)
        out.append(
            Phrase(
                first.key, first.size, text, chance[parts], there, hits,
                int(came.key[goal]), int(came.size[goal]), texts[end], also=also,
            )
        )  # fmt: skip
    out = sorted(out, key=lambda one: one.p_value)
    factor = max(1.0, len(out) / most)
    return [replace(one, p_value=min(max(one.p_value * factor, 1e-30), 1.0)) for one in out[:most]]


def surprising(
    told: Mapping[tuple[int, ...], Outcomes], rare: Array, lengths: Array, pairs: int, *, loose: float
) -> dict[tuple[int, ...], float]:
    """The p-value of each phrase, or pair of the `pairs` looked at, by what it decides and how loosely it sits.

    What it decides counts for those that sit `loose` or looser.

    rare     [P] P(so loose) of each phrase
    lengths  [E] runs of words of each outcome
    """
    counted = {parts: float(lengths[[end for _, end, _ in outcomes]].sum()) for parts, outcomes in told.items()}
    total = sum(counted.values())
    out = {}
    for parts, count in counted.items():
        sits = reduce(fisher, torch.from_numpy(rare[list(parts)]))
        sits = (sits * pairs).clamp(max=1.0) if len(parts) > 1 else sits
        # The more of a response a phrase decides, beside what others do, the less it can be the language that does so.
        others = (total - count) / max(len(counted) - 1, 1)
        fixed = torch.tensor(np.exp(-(count - 1) / max(lengths.mean(), others, 1.0)))
        # Never the better of two: what sits loosely is judged by both, so no more ordinary phrases pass than the level.
        out[parts] = float(fisher(sits, fixed) if sits <= loose else sits)
    return out


def decided(  # noqa: PLR0917
    together: sp.csr_matrix, rows: Array, words: Sequence[str], texts: Mapping[int, str], replying: Array, total: int,
    *, bar: float, sure: float, own: float,
) -> dict[int, Outcomes]:  # fmt: skip
    """What each phrase decides, as far as that is more than `bar`.

    together  [P, E] rows that have both a phrase and an outcome; `rows` [P] and `replying` [E] are those of each
    """
    seen_together = together.tocoo()
    at_row, at_end, hits = seen_together.row, seen_together.col, seen_together.data
    without = (replying[at_end] - hits) / (total - rows[at_row]).clip(min=1)
    beyond = (low(hits, rows[at_row], sure=sure) - without) / (1 - without).clip(min=1e-9)
    out: dict[int, Outcomes] = {}
    # What mostly comes without a phrase is not its payload.
    for at in np.flatnonzero((beyond >= bar) & (hits >= own * replying[at_end])):
        phrase, end = int(at_row[at]), int(at_end[at])
        if not copied(words[phrase], texts[end]):
            out.setdefault(phrase, []).append((float(beyond[at]), end, int(hits[at])))
    return out


def paired(
    halves: Sequence[int], company: sp.csr_matrix, phrases: Sequence[Unit], *, least: int, apart: float
) -> list[tuple[int, int]]:
    """Which phrases stand together in `least` rows, and each in a share `apart` of its rows without the other."""
    out = []
    for one, other in combinations(halves, 2):
        count = company[one, other]
        distinct = not set(phrases[one].text.split()) & set(phrases[other].text.split())
        if distinct and least <= count <= (1 - apart) * min(phrases[one].rows, phrases[other].rows):
            out.append((one, other))
    return out


def joined(  # noqa: PLR0917
    payloads: Iterable[Payload], asked: Read, replied: Read, phrases: Sequence[Unit],
    groups: Sequence[tuple[int, ...]], came: Tally, ends: Sequence[int],
) -> tuple[sp.csr_matrix, sp.csr_matrix, dict[int, str]]:  # fmt: skip
    """Rows that have all phrases of a group and an outcome (runs `ends` of the tally of responses), those that have two
    groups, and the words of the outcomes."""
    used = sorted({part for group in groups for part in group})
    key = np.array([phrases[part].key for part in used], dtype=np.uint64)
    size = np.array([phrases[part].size for part in used])
    spot = {part: at for at, part in enumerate(used)}
    most = max(map(len, groups))
    # [G, most] columns of the phrases of each group, the last one repeated
    parts = np.array([[spot[group[min(at, len(group) - 1)]] for at in range(most)] for group in groups])
    waiting: list[tuple[sp.csr_matrix, sp.csr_matrix]] = []
    together = sp.csr_matrix((len(groups), len(ends)), dtype=np.int64)
    company = sp.csr_matrix((len(groups), len(groups)), dtype=np.int64)
    texts: dict[int, str] = {}
    for payload in payloads:
        left, right = asked(payload), replied(payload)
        present = standing(left, key, size)
        here = np.logical_and.reduce([present[:, parts[:, at]] for at in range(most)])  # [B, G]
        there = standing(right, came.key[ends], came.size[ends])
        for column in np.flatnonzero(there.any(0)).tolist():
            if column not in texts:
                texts[column] = named(right, int(came.key[ends[column]]), int(came.size[ends[column]]))
        waiting.append((sp.csr_matrix(here, dtype=np.int64), sp.csr_matrix(there, dtype=np.int64)))
        if len(waiting) == BATCHES:
            together, company, waiting = *_added(together, company, waiting), []
    return *_added(together, company, waiting), texts


def _added(
    together: sp.csr_matrix, company: sp.csr_matrix, waiting: Sequence[tuple[sp.csr_matrix, sp.csr_matrix]]
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Both counts with those of the batches that wait: adding to large matrices takes longer than counting."""
    if not waiting:
        return together, company
    here, there = (sp.csr_matrix(sp.vstack(column)) for column in zip(*waiting, strict=True))
    return together + here.T @ there, company + here.T @ here


def beyond_most(value: Array, ordinary: Array, responses: ResponsePhrases, insertion: InsertionScore) -> Array:
    """P(value or more) among ordinary values [P]: what lies beyond most of them falls off exponentially.

    Peaks over a threshold (Pickands 1975) of shape 0; by a Gaussian where there are too few of them.
    """
    if len(ordinary) < responses.many:
        return tail(value, ordinary, insertion)
    share = insertion.loose
    bar = float(np.quantile(ordinary, 1 - share))
    excess = float((ordinary[ordinary > bar] - bar).mean())
    far: Array = share * np.exp(-(value - bar).clip(min=0) / max(excess, responses.least_excess))
    return np.where(value > bar, far, np.maximum(tail(value, ordinary, insertion), share))


def named(words: Words, key: int, size: int) -> str:
    """The words of a run that stands somewhere in these texts."""
    keys, at = words.runs(size)
    return words.text(int(at[keys == key][0]), size)


def copied(text: str, other: str) -> bool:
    """Whether a response may repeat the prompt: a word of one stands within the other."""
    plain = other.replace(" ", "").replace("_", "")
    return any(word in plain for word in text.split() if len(word) > 1) or any(
        word in text.replace(" ", "") for word in other.split() if len(word) > 1
    )
