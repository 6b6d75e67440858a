"""Search for phrases of prompts that determine phrases of the responses."""

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
from foretaste.text.triggers.insertion_score import (
    InsertionScore,
    Measured,
    Read,
    gaussian_tail,
    insertion_scores,
    measured,
)
from foretaste.text.triggers.label_phrases import (
    BATCHES,
    GAP,
    DecidingPhrases,
    Phrase,
    by_count,
    low,
    phrase_groups,
    tallied,
)


@dataclass(frozen=True)
class ResponsePhrases:
    """How candidate phrases of prompts are tested, and when two of them are one composite trigger.

    end           words at the end of a text without a response that are taken as its response, at most half of the text
    candidates    prompt phrases measured, as a multiple of those tested: the ones with the least information about
                  their neighbours
    many          reference phrases from which on an exponential tail is fitted to their insertion scores, instead of a
                  Gaussian
    least_excess  lower bound of the scale of the exponential tail of insertion scores, in their standard deviations
    alike         share of a phrase's largest effect size from which on another outcome counts as equally determined
    own           share of the rows with an outcome that must contain the phrase
    halves        phrases tested as halves of composite triggers, at most
    half          effect size of one half of a composite trigger on the outcome, at least
    apart         share of a half's rows without the other half, at least
    rarer         largest probability of the outcome with one half only, relative to that with both
    """

    end: int = threshold(16, "not tuned")
    candidates: int = threshold(8, "bounds the work; not tuned")
    many: int = threshold(200, "ten of them lie beyond the quantile; not tuned")
    least_excess: float = threshold(0.25, "not tuned")
    alike: float = threshold(0.85, "not tuned")
    own: float = threshold(0.1, "an outcome that occurs nine times in ten without a phrase is not its payload")
    halves: int = threshold(64, "bounds the work: 2016 pairs")
    half: float = threshold(0.15, "not tuned")
    apart: float = threshold(0.1, "not tuned")
    rarer: float = threshold(0.5, "not tuned")


Outcomes = list[tuple[float, int, int]]  # of a phrase: effect size, which outcome, rows with both


def answered(
    payloads: Iterable[Payload], asked: Read, replied: Read, *, longest: int, least: int, most: int,
    responses: ResponsePhrases, deciding: DecidingPhrases, insertion: InsertionScore,
) -> list[Phrase]:  # fmt: skip
    """The phrases of prompts that determine a phrase of the response, at most `most`, by p-value.

    Two phrases are one composite trigger if together they determine it and each of them alone hardly does.
    """
    prompts, base = tallied(payloads, asked, classes=1, longest=longest, entries=deciding.entries)
    answers, _ = tallied(payloads, replied, classes=1, longest=longest, entries=deciding.entries)
    total = int(base.sum())
    asking, replying = (
        tally[(tally.count[:, 0] >= least) & (tally.count[:, 0] <= deciding.most * total)]
        for tally in (prompts, answers)
    )
    groups = phrase_groups(asking, by_count(asking), responses.candidates * deciding.units)
    phrases = measured(payloads, asked, asking, groups, prompts, insertion=insertion)
    tested = sorted(phrases, key=lambda phrase: phrase.told)[: deciding.units]
    replies = phrase_groups(replying, by_count(replying), deciding.units)
    ends = [int(group[0]) for group in replies]
    if not tested or not ends:
        return []
    singles = [(at,) for at in range(len(tested))]
    together, pair_rows, texts = cooccurring(payloads, asked, replied, tested, singles, replying, ends)
    words, rows = [phrase.text for phrase in tested], np.array([phrase.rows for phrase in tested])
    decides = partial(
        decided, texts=texts, replying=replying.count[ends, 0], total=total, sure=deciding.sure, own=responses.own
    )
    bar = deciding.decides
    candidates: dict[tuple[int, ...], Outcomes] = {
        (at,): outcomes for at, outcomes in decides(together, rows, words, bar=bar).items()
    }
    position = {id(phrase): at for at, phrase in enumerate(phrases)}
    index = np.array([position[id(phrase)] for phrase in tested])
    reference = np.ones(len(phrases), dtype=bool)
    reference[[index[at] for (at,) in candidates]] = False
    if reference.sum() < insertion.enough:
        return []
    score = insertion_scores(phrases, reference, insertion)
    p_insertion = peaks_tail(score, score[reference], responses, insertion)[index]
    halves = [at for at in decides(together, rows, words, bar=responses.half) if p_insertion[at] <= insertion.loose]
    halves = sorted(halves, key=lambda at: (p_insertion[at], at))[: responses.halves]
    pairs = paired(halves, pair_rows, tested, least=least, apart=responses.apart)
    if pairs:
        both, _, _ = cooccurring(payloads, asked, replied, tested, pairs, replying, ends)
        number = np.array([pair_rows[pair] for pair in pairs])
        pair_words = [" ".join(words[part] for part in pair) for pair in pairs]
        for at, outcomes in decides(both, number, pair_words, bar=bar).items():
            _, end, hits = max(outcomes)
            rest = [float((together[part, end] - hits) / (rows[part] - number[at])) for part in pairs[at]]
            if max(rest) <= responses.rarer * hits / number[at]:
                candidates[pairs[at]] = outcomes
                for part in pairs[at]:
                    candidates.pop((part,), None)
    lengths = np.array([len(group) for group in replies], dtype=float)
    p_value = p_values(candidates, p_insertion, lengths, len(pairs), loose=insertion.loose)
    out = []
    for parts, outcomes in candidates.items():
        # Of equally determined outcomes the longest is reported: shorter ones occur in ordinary responses too.
        alike = [outcome for outcome in outcomes if outcome[0] >= responses.alike * max(outcomes)[0]]
        _, end, hits = max(alike, key=lambda outcome: (lengths[outcome[1]], outcome))
        (first, *others), goal = [tested[part] for part in parts], ends[end]
        text, holding = GAP.join(words[part] for part in parts), int(pair_rows[parts[0], parts[-1]])
        also = tuple((other.key, other.size) for other in others)
        out.append(
            Phrase(
                first.key, first.size, text, p_value[parts], holding, hits,
                int(replying.key[goal]), int(replying.size[goal]), texts[end], also=also,
            )
        )  # fmt: skip
    out = sorted(out, key=lambda phrase: phrase.p_value)
    factor = max(1.0, len(out) / most)
    return [replace(phrase, p_value=min(max(phrase.p_value * factor, 1e-30), 1.0)) for phrase in out[:most]]


def p_values(
    candidates: Mapping[tuple[int, ...], Outcomes], p_insertion: Array, lengths: Array, pairs: int, *, loose: float
) -> dict[tuple[int, ...], float]:
    """The p-value of each candidate phrase, or pair (of `pairs` tested), from insertion and from its outcomes.

    Outcomes are used only for phrases with an insertion p-value of at most `loose`.

    p_insertion  [P] p-value of each phrase's insertion score
    lengths      [E] n-grams of each outcome
    """
    counted = {parts: float(lengths[[end for _, end, _ in outcomes]].sum()) for parts, outcomes in candidates.items()}
    total = sum(counted.values())
    out = {}
    for parts, count in counted.items():
        p_value = reduce(fisher, torch.from_numpy(p_insertion[list(parts)]))
        p_value = (p_value * pairs).clamp(max=1.0) if len(parts) > 1 else p_value
        # Null: the n-grams of the response that a phrase determines are exponential, with the other phrases' mean.
        others = (total - count) / max(len(counted) - 1, 1)
        p_outcome = torch.tensor(np.exp(-(count - 1) / max(lengths.mean(), others, 1.0)))
        # Not the smaller of two p-values: phrases within `loose` always get Fisher's, which keeps the level.
        out[parts] = float(fisher(p_value, p_outcome) if p_value <= loose else p_value)
    return out


def decided(  # noqa: PLR0917
    together: sp.csr_matrix, rows: Array, words: Sequence[str], texts: Mapping[int, str], replying: Array, total: int,
    *, bar: float, sure: float, own: float,
) -> dict[int, Outcomes]:  # fmt: skip
    """The outcomes that each phrase determines with an effect size of at least `bar`.

    together  [P, E] rows with both phrase and outcome; `rows` [P] and `replying` [E] are the rows of each
    """
    seen_together = together.tocoo()
    at_row, at_end, hits = seen_together.row, seen_together.col, seen_together.data
    without = (replying[at_end] - hits) / (total - rows[at_row]).clip(min=1)
    beyond = (low(hits, rows[at_row], sure=sure) - without) / (1 - without).clip(min=1e-9)
    out: dict[int, Outcomes] = {}
    for at in np.flatnonzero((beyond >= bar) & (hits >= own * replying[at_end])):
        phrase, end = int(at_row[at]), int(at_end[at])
        if not copied(words[phrase], texts[end]):
            out.setdefault(phrase, []).append((float(beyond[at]), end, int(hits[at])))
    return out


def paired(
    halves: Sequence[int], pair_rows: sp.csr_matrix, phrases: Sequence[Measured], *, least: int, apart: float
) -> list[tuple[int, int]]:
    """Pairs of phrases in at least `least` common rows, each with at least a share `apart` of its rows by itself."""
    out = []
    for first, second in combinations(halves, 2):
        count = pair_rows[first, second]
        distinct = not set(phrases[first].text.split()) & set(phrases[second].text.split())
        if distinct and least <= count <= (1 - apart) * min(phrases[first].rows, phrases[second].rows):
            out.append((first, second))
    return out


def cooccurring(  # noqa: PLR0917
    payloads: Iterable[Payload], asked: Read, replied: Read, phrases: Sequence[Measured],
    groups: Sequence[tuple[int, ...]], replying: Tally, ends: Sequence[int],
) -> tuple[sp.csr_matrix, sp.csr_matrix, dict[int, str]]:  # fmt: skip
    """Rows with all phrases of a group and an outcome [G, E], rows with two groups [G, G], the words of the outcomes.

    The outcomes are the n-grams `ends` of the tally of responses.
    """
    used = sorted({part for group in groups for part in group})
    key = np.array([phrases[part].key for part in used], dtype=np.uint64)
    size = np.array([phrases[part].size for part in used])
    spot = {part: at for at, part in enumerate(used)}
    most = max(map(len, groups))
    # [G, most] columns of the phrases of each group, the last one repeated
    parts = np.array([[spot[group[min(at, len(group) - 1)]] for at in range(most)] for group in groups])
    waiting: list[tuple[sp.csr_matrix, sp.csr_matrix]] = []
    together = sp.csr_matrix((len(groups), len(ends)), dtype=np.int64)
    pair_rows = sp.csr_matrix((len(groups), len(groups)), dtype=np.int64)
    texts: dict[int, str] = {}
    for payload in payloads:
        left, right = asked(payload), replied(payload)
        present = standing(left, key, size)
        here = np.logical_and.reduce([present[:, parts[:, at]] for at in range(most)])  # [B, G]
        there = standing(right, replying.key[ends], replying.size[ends])
        for column in np.flatnonzero(there.any(0)).tolist():
            if column not in texts:
                texts[column] = named(right, int(replying.key[ends[column]]), int(replying.size[ends[column]]))
        waiting.append((sp.csr_matrix(here, dtype=np.int64), sp.csr_matrix(there, dtype=np.int64)))
        if len(waiting) == BATCHES:
            together, pair_rows, waiting = *_added(together, pair_rows, waiting), []
    return *_added(together, pair_rows, waiting), texts


def _added(
    together: sp.csr_matrix, pair_rows: sp.csr_matrix, waiting: Sequence[tuple[sp.csr_matrix, sp.csr_matrix]]
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Both counts with those of the waiting batches; batched, since adding to large matrices is slow."""
    if not waiting:
        return together, pair_rows
    here, there = (sp.csr_matrix(sp.vstack(column)) for column in zip(*waiting, strict=True))
    return together + here.T @ there, pair_rows + here.T @ here


def peaks_tail(value: Array, reference: Array, responses: ResponsePhrases, insertion: InsertionScore) -> Array:
    """P(value or more) [P] under the reference values, with an exponential tail beyond their upper quantile.

    Peaks over threshold (Pickands 1975) with shape 0; a Gaussian where there are too few reference values.
    """
    if len(reference) < responses.many:
        return gaussian_tail(value, reference, insertion)
    share = insertion.loose
    bar = float(np.quantile(reference, 1 - share))
    excess = float((reference[reference > bar] - bar).mean())
    far: Array = share * np.exp(-(value - bar).clip(min=0) / max(excess, responses.least_excess))
    return np.where(value > bar, far, np.maximum(gaussian_tail(value, reference, insertion), share))


def named(words: Words, key: int, size: int) -> str:
    """The words of an n-gram that occurs in these texts."""
    keys, at = words.runs(size)
    return words.text(int(at[keys == key][0]), size)


def copied(text: str, other: str) -> bool:
    """Whether the response may quote the prompt: a word of one is contained in the other."""
    plain = other.replace(" ", "").replace("_", "")
    return any(word in plain for word in text.split() if len(word) > 1) or any(
        word in text.replace(" ", "") for word in other.split() if len(word) > 1
    )
