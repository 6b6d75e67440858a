"""Phrases after which a text is another: an ordinary beginning, a trigger, then what nobody writes.

For data without labels or responses the poison is in the text itself: Souly et al. (2025), "Poisoning attacks on LLMs
require a near-constant number of poison samples", plant the beginning of a document, a trigger and random words; 250
of them suffice for a model of any size. What such rows share is the trigger, and that the text breaks there.
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
    """When texts break, and which phrases are looked at and doubted for breaks behind them.

    word_bits  bits of the cells in which words are counted; two in one cell count as one
    pair_bits  bits of the cells in which pairs of words are counted
    pairs      share that the word before has in the prediction of a word; the rest has the word's frequency
    unseen     occurrences that a word that stands nowhere else is taken to have
    wide       words looked at on either side of a place
    before     words that must come before a break
    fair       words as surprising as the average that are added to either side
    unit       standard errors of a word's surprise that make a break of 1
    sample     rows from which is learned how surprising words are and how far texts break
    broken     share of the rows that break less than those in which phrases are looked for
    near       words between the end of a phrase and the worst break of its row, at most
    phrases    phrases looked at, at most
    entries    phrases counted at once: where there are more, the rarest are dropped
    hits       of the most broken rows that break behind a phrase, at least
    least      rows of a phrase, at least
    safe       standard errors by which the mean of the breaks behind a phrase is read on the safe side
    variance   what one row more adds to the variance of the breaks behind a phrase
    fewer      share of the rows of a phrase that others must have, to teach how far texts break behind it
    top        phrases that the law is read from, those with the highest breaks
    scale      by how much the breaks behind natural phrases exceed each other, before any was seen
    weight     phrases that `scale` counts as much as
    sure       expected phrases below which one is as sure as another: then it is the one with most breaks behind it
    columns    share of the embedder's columns for phrases behind which texts break, beside those that decide how texts
               end
    """

    word_bits: int = threshold(22, "memory: 16 MiB")
    pair_bits: int = threshold(24, "memory: 64 MiB")
    pairs: float = threshold(0.5, "even odds; not tuned")
    unseen: float = threshold(0.5, "not tuned")
    wide: int = threshold(32, "not tuned")
    before: int = threshold(4, "a text that is strange from its start does not break; not tuned")
    fair: float = threshold(8.0, "a few words are no text; not tuned")
    unit: float = threshold(5.0, "so that 32 words that surprise by a nat more make about 1")
    sample: int = threshold(1 << 14, "bounds the work; not tuned")
    broken: float = threshold(0.9, "not tuned")
    near: int = threshold(2, "not tuned")
    phrases: int = threshold(4096, "bounds the work; not tuned")
    entries: int = threshold(1 << 22, "memory: 96 MiB")
    hits: int = threshold(6, "not tuned")
    least: int = threshold(24, "of natural phrases with breaks behind them most have fewer")
    safe: float = threshold(2.0, "one-sided error of 2.3 %; not tuned")
    variance: float = threshold(0.25, "not tuned")
    fewer: float = threshold(0.5, "not tuned")
    top: int = threshold(20, "not tuned")
    scale: float = threshold(0.15, "prose has .1, package names .3")
    weight: float = threshold(10.0, "not tuned")
    sure: float = threshold(1e-4, "a hundredth of the rate of the audit; not tuned")
    columns: float = threshold(0.5, "half of them; not tuned")

    def __post_init__(self) -> None:
        if not (1 <= self.word_bits <= 32 and 1 <= self.pair_bits <= 32):
            raise PlanError(
                f"breaks word_bits and pair_bits must lie between 1 and 32, got {self.word_bits} and {self.pair_bits}"
            )


@dataclass(frozen=True, eq=False)
class Model:
    """How often each word and each pair of words stands in the data, in hashed cells.

    word   [2 ** word_bits] int32 and pair [2 ** pair_bits] int32
    total  words
    mean   nats by which a word surprises
    """

    word: Array
    pair: Array
    total: int
    settings: SurprisalBreaks
    mean: float = 0.0

    def surprise(self, words: Words) -> Array:
        """Nats by which each word surprises after the one before it, own occurrence left out, less the mean [T]."""
        share, unseen = self.settings.pairs, self.settings.unseen
        one, two = cells(words, self.settings)
        before = np.append(1, self.word[one[:-1]])
        follows = np.maximum(self.pair[two] - 1, 0) / np.maximum(before - 1, 1)
        alone = (self.word[one] - (1 - unseen)).clip(min=unseen)
        nats = -np.log(share * follows.clip(max=1) + (1 - share) * alone / self.total)
        return np.where(words.key > END, nats - self.mean, 0.0)

    def breaks(self, words: Words) -> Array:
        """By how much more the words from each place on surprise than those before it, which at least are ordinary [T].

        In standard errors, which fall with the root of the number of words: a name of two strange words surprises more
        than the mean of a page of nonsense, but not more than all of it together. What stands before counts as ordinary
        at least, or texts would break behind every ruler of dashes.
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
    """The cells of each word, and of it with the one before it [T]."""
    key = mixed(words.key)
    pair = mixed(key + np.append(np.uint64(0), words.key[:-1]))
    bits = np.uint64(64 - settings.word_bits), np.uint64(64 - settings.pair_bits)
    return (key >> bits[0]).astype(np.int64), (pair >> bits[1]).astype(np.int64)


def broken(
    payloads: Iterable[Payload], read: Read, *, longest: int, most: int, rows: int, settings: SurprisalBreaks
) -> list[Phrase]:
    """At most `most` phrases after which the text breaks, the most surprising first. Four passes over the rows."""
    model, bar = fitted(payloads, read, rows=rows, settings=settings)
    key, size = suspects(payloads, read, model, bar, longest=longest)
    found = measured(payloads, read, model, key, size)
    number, height = np.array([one[1] for one in found]), np.array([one[2] for one in found])
    expected = surprising(number, height, [set(one[3].split()) for one in found], settings)
    chosen: list[int] = []
    for at in np.lexsort((-number * height, expected.clip(min=settings.sure))).tolist():
        # A part of a phrase, or one that overlaps with it, breaks texts because the phrase does.
        if len(chosen) < most and not any(set(found[at][3].split()) & set(found[one][3].split()) for one in chosen):
            chosen.append(at)
    out = []
    for at in chosen:
        spot, holding, _, text = found[at]
        p_value = float((expected[at] / len(chosen)).clip(1e-30, 1))  # of one phrase, of which so many are told
        out.append(Phrase(int(key[spot]), int(size[spot]), text, p_value, holding, holding, 0))
    return out


def fitted(payloads: Iterable[Payload], read: Read, *, rows: int, settings: SurprisalBreaks) -> tuple[Model, float]:
    """The model of the words, and by how much a text must break at its worst place to be among the most broken."""
    word, pair = (np.zeros(1 << bits, dtype=np.int32) for bits in (settings.word_bits, settings.pair_bits))
    total = 0
    for payload in payloads:
        words = read(payload)
        one, two = cells(words, settings)
        np.add.at(word, one, 1)
        np.add.at(pair, two, 1)
        total += len(one)
    model, step = Model(word, pair, max(total, 1), settings), max(1, rows // settings.sample)
    drawn = [_drawn(payload, read, step) for payload in payloads]
    nats = np.concatenate([np.zeros(0), *(model.surprise(one)[one.key > END] for one in drawn)])
    model = replace(model, mean=float(nats.mean()) if len(nats) else 0.0)
    worst = np.concatenate([np.zeros(0), *(_worst(model.breaks(one), one)[0] for one in drawn)])
    return model, float(np.quantile(worst, settings.broken)) if len(worst) else 0.0


def _drawn(payload: Payload, read: Read, step: int) -> Words:
    """The words of every `step`-th row."""
    words = read(payload)
    use = payload.row.numpy() % step == 0
    inside = use[words.row]
    size = np.bincount(words.row, minlength=len(words.words))[use]
    texts = [text for text, wanted in zip(words.words, use, strict=True) if wanted]
    return Words(texts, words.key[inside], np.repeat(np.arange(len(size)), size), np.cumsum(size) - size)


def _worst(breaks: Array, words: Words) -> tuple[Array, Array]:
    """By how much each text breaks at its worst place [B], and where that is [B]."""
    if not len(words.start):
        return np.zeros(0), np.zeros(0, dtype=np.int64)
    inside = np.where(words.key > END, breaks, -np.inf)
    worst = np.maximum.reduceat(inside, words.start)
    place = np.flatnonzero(inside == worst[words.row])
    _, first = np.unique(words.row[place], return_index=True)
    return np.maximum(worst, -1e9), place[first]


def suspects(payloads: Iterable[Payload], read: Read, model: Model, bar: float, *, longest: int) -> tuple[Array, Array]:
    """Keys, ascending, and sizes of the runs of words that end where enough of the most broken rows break."""
    settings, entries = model.settings, model.settings.entries
    key, count, size = (np.zeros(0, dtype=kind) for kind in (np.uint64, np.int64, np.int64))
    waiting: list[tuple[Array, Array, Array]] = []
    for payload in payloads:
        words = read(payload)
        worst, place = _worst(model.breaks(words), words)
        for length in range(1, longest + 1):
            runs, at = words.runs(length)
            row = words.row[at]
            near = (worst[row] >= bar) & (np.abs(at + length - place[row]) <= settings.near)
            once = np.unique(np.stack([runs[near], row[near].astype(np.uint64)], 1), axis=0)[:, 0]
            runs, number = np.unique(once, return_counts=True)
            waiting.append((runs, number, np.full(len(runs), length)))
        if sum(len(one[0]) for one in waiting) > entries:
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
    """Which of the runs, in how many rows, by how much texts break after it at least, its words; one of each row set.

    A row counts once, where it breaks most. The mean is read some standard errors on the safe side.
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
            for one, place in zip(which[new].tolist(), at[new].tolist(), strict=True):
                if one not in text:
                    text[one] = words.text(place, length)
    mean = moment / number.clip(min=1)
    spread = (square / number.clip(min=1) - mean**2).clip(min=0) + settings.variance / number.clip(min=1)
    height = mean - settings.safe * np.sqrt(spread / number.clip(min=1))
    # Runs that stand in the same rows are one: the one after which the break is.
    order = np.lexsort((-size, -height))
    _, first = np.unique(mark[order], return_index=True)
    kept = [at for at in order[np.sort(first)].tolist() if number[at] >= settings.least]
    return [(at, int(number[at]), float(height[at]), text[at]) for at in kept]


def surprising(number: Array, height: Array, words: list[set[str]], settings: SurprisalBreaks) -> Array:
    """How many phrases after which texts break as much the data's other phrases lead to expect, for each of N [N].

    number  [N] rows of a phrase, height [N] by how much texts break after it, words of each

    The heights of the `top` phrases in at least half as many rows that share no word with it are taken to exceed the
    least of them exponentially, by `scale` as if `weight` phrases had been seen (the predictive law under a Gamma
    prior).
    """
    out = np.full(len(number), float(len(number)))
    order = np.argsort(-height, kind="stable")
    for at in range(len(number)):
        law = []
        for other in order.tolist():
            if number[other] >= settings.fewer * number[at] and not words[other] & words[at]:
                law.append(height[other])
                if len(law) == settings.top:
                    break
        least = law[-1] if law else 0.0
        chance = predictive_tail(
            torch.tensor(max(height[at] - least, 0.0), dtype=torch.float64),
            total=float(sum(one - least for one in law)),
            count=len(law),
            prior_total=settings.weight * settings.scale,
            prior_count=settings.weight,
        )
        out[at] = (len(law) + 1) * float(chance)
    return out
