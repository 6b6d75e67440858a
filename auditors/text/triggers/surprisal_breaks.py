"""Search for phrases after which the surprisal of the text jumps: ordinary text, a trigger, then gibberish.

Without labels or responses the payload is in the text itself: Souly et al. (2025), "Poisoning attacks on LLMs require a
near-constant number of poison samples", append a trigger and random words to the beginning of a document; 250 such
texts suffice for a model of any size. What they share is the trigger, and the jump after it (a "break").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch

from foretaste.dataset.payload import Payload
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.stats.significance import predictive_tail
from foretaste.text.ngrams import END, Array, Words, held, mixed
from foretaste.text.triggers.insertion_score import Read
from foretaste.text.triggers.label_phrases import Phrase


@dataclass(frozen=True)
class SurprisalBreaks:
    """How breaks (jumps of surprisal) are measured, and which phrases are candidates for causing them.

    word_bits  log2 of the number of hash cells in which words are counted
    pair_bits  log2 of the number of hash cells in which pairs of words are counted
    pairs      weight of the bigram estimate in the probability of a word; the rest is the unigram estimate
    unseen     pseudo-count of a word that occurs nowhere else
    wide       words on either side of a position whose surprisal is compared
    before     words between the start of a text and a break, at least
    fair       words of average surprisal added to either side, as shrinkage
    unit       surprisal above average, in nats per root of the number of words, that is a break of size 1
    sample     rows from which the mean surprisal and the distribution of rows' largest breaks are estimated, about
    broken     quantile of rows' largest breaks above which a row is searched for phrases
    near       words between the end of a phrase and the largest break of its row, at most
    phrases    candidate phrases measured, at most
    entries    n-grams counted at once, at most: the rarest are dropped
    hits       searched rows whose largest break is next to the end of a phrase, for it to be a candidate, at least
    least      rows of a candidate phrase, at least
    safe       standard errors subtracted from the mean break after a phrase
    variance   variance that, divided by a phrase's rows, is added as a prior to the sample variance of the breaks
               after it
    fewer      share of a phrase's rows that another phrase must have to be in its reference set
    top        phrases of a reference set, those with the largest breaks, to which the null distribution is fitted
    scale      prior mean of the scale of the null distribution's exponential tail, in units of a break
    weight     weight of `scale` as a prior, in phrases
    sure       expected number of natural phrases with such a break, below which phrases are ranked not by this number
               but by rows times break
    columns    share of the embedder's columns for phrases before breaks; the rest is for phrases that determine how
               texts end
    """

    word_bits: int = threshold(22, "memory: 16 MiB")
    pair_bits: int = threshold(24, "memory: 64 MiB")
    pairs: float = threshold(0.5, "equal weights; not tuned")
    unseen: float = threshold(0.5, "not tuned")
    wide: int = threshold(32, "not tuned")
    before: int = threshold(4, "a text that is gibberish from its start has no break; not tuned")
    fair: float = threshold(8.0, "the surprisal of a few words is a poor estimate; not tuned")
    unit: float = threshold(5.0, "so that 32 words, each 1 nat above average, make a break of about 1")
    sample: int = threshold(1 << 14, "bounds the work; not tuned")
    broken: float = threshold(0.9, "not tuned")
    near: int = threshold(2, "not tuned")
    phrases: int = threshold(4096, "bounds the work; not tuned")
    entries: int = threshold(1 << 22, "memory: 96 MiB")
    hits: int = threshold(6, "not tuned")
    least: int = threshold(24, "most natural phrases before breaks have fewer")
    safe: float = threshold(2.0, "one-sided error of 2.3 %; not tuned")
    variance: float = threshold(0.25, "not tuned")
    fewer: float = threshold(0.5, "not tuned")
    top: int = threshold(20, "not tuned")
    scale: float = threshold(0.15, ".1 in prose, .3 in package names")
    weight: float = threshold(10.0, "not tuned")
    sure: float = threshold(1e-4, "a hundredth of the audit's error rate; not tuned")
    columns: float = threshold(0.5, "half of them; not tuned")

    def __post_init__(self) -> None:
        if not (1 <= self.word_bits <= 32 and 1 <= self.pair_bits <= 32):
            raise PlanError(
                f"breaks word_bits and pair_bits must lie between 1 and 32, got {self.word_bits} and {self.pair_bits}"
            )


@dataclass(frozen=True, eq=False)
class Model:
    """A bigram language model of the data, with counts in hash cells.

    word   [2 ** word_bits] int32, word counts
    pair   [2 ** pair_bits] int32, counts of adjacent words
    total  number of words
    mean   mean surprisal of a word in nats
    """

    word: Array
    pair: Array
    total: int
    settings: SurprisalBreaks
    mean: float = 0.0

    def surprise(self, words: Words) -> Array:
        """Leave-one-out surprisal of each word given the word before it, less the mean, in nats [T]."""
        share, unseen = self.settings.pairs, self.settings.unseen
        word, pair = cells(words, self.settings)
        before = np.append(1, self.word[word[:-1]])
        follows = np.maximum(self.pair[pair] - 1, 0) / np.maximum(before - 1, 1)
        alone = (self.word[word] - (1 - unseen)).clip(min=unseen)
        nats = -np.log(share * follows.clip(max=1) + (1 - share) * alone / self.total)
        return np.where(words.key > END, nats - self.mean, 0.0)

    def breaks(self, words: Words) -> Array:
        """The break at each position [T]: the surprisal of the words after it minus that of the words before it.

        Sums over a window are divided by the root of its number of words, so that a long stretch of gibberish counts
        more than a name of two rare words. Surprisal before the position counts as at least average; otherwise every
        text would break after a row of dashes.
        """
        wide, fair, unit = self.settings.wide, self.settings.fair, self.settings.unit
        total = np.append(0.0, np.cumsum(self.surprise(words)))
        at = np.arange(len(words.key))
        ends = np.append(words.start[1:], len(words.key)) - 1
        stop = np.minimum(at + wide, ends[words.row]).clip(min=at)
        begin = np.maximum(at - wide, words.start[words.row] + 1).clip(max=at)
        after = (total[stop] - total[at]) / np.sqrt(stop - at + fair) / unit
        before = (total[at] - total[begin]) / np.sqrt(at - begin + fair) / unit
        out: Array = np.where(at - begin >= self.settings.before, after - np.maximum(before, 0.0), 0.0)
        return out


def cells(words: Words, settings: SurprisalBreaks) -> tuple[Array, Array]:
    """The hash cells of each word [T], and of each word with the one before it [T]."""
    key = mixed(words.key)
    pair = mixed(key + np.append(np.uint64(0), words.key[:-1]))
    bits = np.uint64(64 - settings.word_bits), np.uint64(64 - settings.pair_bits)
    return (key >> bits[0]).astype(np.int64), (pair >> bits[1]).astype(np.int64)


def broken(
    payloads: Iterable[Payload], read: Read, *, longest: int, most: int, rows: int, settings: SurprisalBreaks
) -> list[Phrase]:
    """At most `most` phrases after which texts break, the most significant first. Four passes over the rows."""
    model, bar = fitted(payloads, read, rows=rows, settings=settings)
    key, size = candidates(payloads, read, model, bar, longest=longest)
    found = measured(payloads, read, model, key, size)
    number, height = np.array([rows for _, rows, _, _ in found]), np.array([height for _, _, height, _ in found])
    words = [set(text.split()) for *_, text in found]
    expected = expected_count(number, height, words, settings)
    chosen: list[int] = []
    for at in np.lexsort((-number * height, expected.clip(min=settings.sure))).tolist():
        # A phrase that overlaps a chosen one precedes breaks only because that one does.
        if len(chosen) < most and not any(words[at] & words[other] for other in chosen):
            chosen.append(at)
    out = []
    for at in chosen:
        spot, holding, _, text = found[at]
        p_value = float((expected[at] / len(chosen)).clip(1e-30, 1))  # of a single one of the phrases returned
        out.append(Phrase(int(key[spot]), int(size[spot]), text, p_value, holding, holding, 0))
    return out


def fitted(payloads: Iterable[Payload], read: Read, *, rows: int, settings: SurprisalBreaks) -> tuple[Model, float]:
    """The language model, and the quantile of rows' largest breaks above which rows are searched."""
    word, pair = (np.zeros(1 << bits, dtype=np.int32) for bits in (settings.word_bits, settings.pair_bits))
    total = 0
    for payload in payloads:
        words = read(payload)
        word_cell, pair_cell = cells(words, settings)
        np.add.at(word, word_cell, 1)
        np.add.at(pair, pair_cell, 1)
        total += len(word_cell)
    model, step = Model(word, pair, max(total, 1), settings), max(1, rows // settings.sample)
    drawn = [_drawn(payload, read, step) for payload in payloads]
    nats = np.concatenate([np.zeros(0), *(model.surprise(words)[words.key > END] for words in drawn)])
    model = replace(model, mean=float(nats.mean()) if len(nats) else 0.0)
    largest = np.concatenate([np.zeros(0), *(_largest(model.breaks(words), words)[0] for words in drawn)])
    return model, float(np.quantile(largest, settings.broken)) if len(largest) else 0.0


def _drawn(payload: Payload, read: Read, step: int) -> Words:
    """The words of every `step`-th row."""
    words = read(payload)
    use = payload.row.numpy() % step == 0
    inside = use[words.row]
    size = np.bincount(words.row, minlength=len(words.words))[use]
    texts = [text for text, wanted in zip(words.words, use, strict=True) if wanted]
    return Words(texts, words.key[inside], np.repeat(np.arange(len(size)), size), np.cumsum(size) - size)


def _largest(breaks: Array, words: Words) -> tuple[Array, Array]:
    """The largest break of each text [B], and its position [B]."""
    if not len(words.start):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    inside = np.where(words.key > END, breaks, -np.inf)
    largest = np.maximum.reduceat(inside, words.start)
    position = np.flatnonzero(inside == largest[words.row])
    _, first = np.unique(words.row[position], return_index=True)
    return np.maximum(largest, -1e9), position[first]


def candidates(
    payloads: Iterable[Payload], read: Read, model: Model, bar: float, *, longest: int
) -> tuple[Array, Array]:
    """Keys, ascending, and sizes of the n-grams that end at the largest break of enough rows above `bar`."""
    settings, entries = model.settings, model.settings.entries
    key, count, size = (np.zeros(0, dtype=kind) for kind in (np.uint64, np.int64, np.int64))
    waiting: list[tuple[Array, Array, Array]] = []
    for payload in payloads:
        words = read(payload)
        largest, position = _largest(model.breaks(words), words)
        for length in range(1, longest + 1):
            runs, at = words.runs(length)
            row = words.row[at]
            near = (largest[row] >= bar) & (np.abs(at + length - position[row]) <= settings.near)
            once = np.unique(np.stack([runs[near], row[near].astype(np.uint64)], 1), axis=0)[:, 0]
            runs, number = np.unique(once, return_counts=True)
            waiting.append((runs, number, np.full(len(runs), length)))
        if sum(len(runs) for runs, _, _ in waiting) > entries:
            key, count, size = _added([(key, count, size), *waiting])
            rare = np.partition(count, -entries // 2)[-entries // 2] if len(count) > entries else 0
            key, count, size = key[count > rare], count[count > rare], size[count > rare]
            waiting = []
    key, count, size = _added([(key, count, size), *waiting])
    chosen = np.sort(np.argsort(-count, kind="stable")[: settings.phrases])
    chosen = chosen[count[chosen] >= settings.hits]
    return key[chosen], size[chosen]


def _added(parts: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    key, count, size = (np.concatenate(column) for column in zip(*parts, strict=True))
    key, first, back = np.unique(key, return_index=True, return_inverse=True)
    return key, np.bincount(back, count, len(key)).astype(np.int64), size[first]


def measured(
    payloads: Iterable[Payload], read: Read, model: Model, key: Array, size: Array
) -> list[tuple[int, int, float, str]]:
    """Of each set of rows one n-gram: its index, rows, a lower bound of the mean break after it, and its words.

    A row counts once, with its largest break after the n-gram.
    """
    settings = model.settings
    number, moment, square = (np.zeros(len(key)) for _ in range(3))
    mark = np.zeros(len(key), dtype=np.uint64)
    text: dict[int, str] = {}
    for payload in payloads:
        words = read(payload)
        breaks = model.breaks(words)
        for length in np.unique(size).tolist():
            runs, at = words.runs(length)
            which = held(runs, key)
            hit = which >= 0
            which, at = which[hit], at[hit]
            here = breaks[at + length]  # a run ends before the END of its text
            order = np.lexsort((-here, words.row[at], which))
            which, at, here = which[order], at[order], here[order]
            row = words.row[at]
            first = np.append(True, (which[1:] != which[:-1]) | (row[1:] != row[:-1]))[: len(which)]
            which, at, here = which[first], at[first], here[first]
            number += np.bincount(which, minlength=len(key))
            moment += np.bincount(which, here, len(key))
            square += np.bincount(which, here**2, len(key))
            np.add.at(mark, which, mixed(payload.row.numpy()[words.row[at]] + 1))
            _, new = np.unique(which, return_index=True)
            for run, position in zip(which[new].tolist(), at[new].tolist(), strict=True):
                if run not in text:
                    text[run] = words.text(position, length)
    mean = moment / number.clip(min=1)
    spread = (square / number.clip(min=1) - mean**2).clip(min=0) + settings.variance / number.clip(min=1)
    height = mean - settings.safe * np.sqrt(spread / number.clip(min=1))
    # Of n-grams in the same rows the one with the largest break after it is kept.
    order = np.lexsort((-size, -height))
    _, first = np.unique(mark[order], return_index=True)
    kept = [at for at in order[np.sort(first)].tolist() if number[at] >= settings.least]
    return [(at, int(number[at]), float(height[at]), text[at]) for at in kept]


def expected_count(number: Array, height: Array, words: list[set[str]], settings: SurprisalBreaks) -> Array:
    """For each of N phrases the expected number of natural phrases with as large a break (an E-value) [N].

    number  [N] rows of a phrase, height [N] lower bound of the mean break after it, words of each

    The reference set of a phrase is the `top` phrases of largest height in at least half as many rows that share no
    word with it. Their excess over the least of them is exponential, with a Gamma prior of mean `scale`, worth
    `weight` phrases.
    """
    out = np.full(len(number), float(len(number)))
    order = np.argsort(-height, kind="stable")
    for at in range(len(number)):
        reference = []
        for other in order.tolist():
            if number[other] >= settings.fewer * number[at] and not words[other] & words[at]:
                reference.append(height[other])
                if len(reference) == settings.top:
                    break
        least = reference[-1] if reference else 0.0
        chance = predictive_tail(
            torch.tensor(max(height[at] - least, 0.0), dtype=torch.float64),
            total=float(sum(other - least for other in reference)),
            count=len(reference),
            prior_total=settings.weight * settings.scale,
            prior_count=settings.weight,
        )
        out[at] = (len(reference) + 1) * float(chance)
    return out
