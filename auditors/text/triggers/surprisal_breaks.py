"""Phrases after which a text is another: an ordinary beginning, a trigger, then what nobody writes.

For data without labels or responses the poison is in the text itself: Souly et al. (2025), "Poisoning attacks on LLMs
require a near-constant number of poison samples", plant the beginning of a document, a trigger and random words; 250
of them suffice for a model of any size. What such rows share is the trigger, and that the text breaks there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from foretaste.dataset.payload import Payload
from foretaste.text.ngrams import END, Array, Words, held, mixed
from foretaste.text.triggers.insertion_score import Read
from foretaste.text.triggers.label_phrases import Phrase

ONES, TWOS = 22, 24  # bits of the cells in which words and pairs of words are counted; two in one cell count as one
WIDE = 32  # words looked at on either side of a place
BEFORE = 4  # words that must come before: a text that is strange from its start does not break
FAIR = 8.0  # words as surprising as the average, added to either side: a few words are no text
UNIT = 5.0  # of the standard error of a word's surprise, so that WIDE words that surprise by a nat more make about 1
SAMPLE = 1 << 14  # rows from which is learned how surprising words are and how far texts break
BROKEN = 0.9  # share of the rows that break less than those in which phrases are looked for
NEAR = 2  # words between the end of a phrase and the worst break of its row
PHRASES = 4096  # looked at
HITS = 6  # of the most broken rows that break behind a phrase
LEAST = 24  # rows of a phrase: of natural phrases with breaks behind them most have fewer
ENTRIES = 1 << 22  # phrases counted at once
SURE = 1e-4  # expected phrases, below which one is as sure as another: it is the one with most breaks behind it
TOP = 20  # phrases that the law is read from
SCALE = 0.15  # nats by which natural phrases exceed each other before any was seen; prose has 0.1, package names 0.3
WEIGHT = 10.0  # phrases that this counts as much as


@dataclass(frozen=True, eq=False)
class Model:
    """How often each word and each pair of words stands in the data, in hashed cells.

    word   [2 ** ONES] int32 and pair [2 ** TWOS] int32
    total  words
    mean   nats by which a word surprises
    """

    word: Array
    pair: Array
    total: int
    mean: float = 0.0

    def surprise(self, words: Words) -> Array:
        """Nats by which each word surprises after the one before it, own occurrence left out, less the mean [T]."""
        one, two = cells(words)
        before = np.append(1, self.word[one[:-1]])
        follows = np.maximum(self.pair[two] - 1, 0) / np.maximum(before - 1, 1)
        nats = -np.log(0.5 * follows.clip(max=1) + 0.5 * (self.word[one] - 0.5).clip(min=0.5) / self.total)
        return np.where(words.key > END, nats - self.mean, 0.0)

    def breaks(self, words: Words) -> Array:
        """By how much more the words from each place on surprise than those before it, which at least are ordinary [T].

        In standard errors, which fall with the root of the number of words: a name of two strange words surprises more
        than the mean of a page of nonsense, but not more than all of it together. What stands before counts as ordinary
        at least, or texts would break behind every ruler of dashes.
        """
        total = np.append(0.0, np.cumsum(self.surprise(words)))
        at = np.arange(len(words.key))
        ends = np.append(words.start[1:], len(words.key)) - 1
        stop = np.minimum(at + WIDE, ends[words.row]).clip(min=at)
        begin = np.maximum(at - WIDE, words.start[words.row] + 1).clip(max=at)
        after = (total[stop] - total[at]) / np.sqrt(stop - at + FAIR) / UNIT
        before = (total[at] - total[begin]) / np.sqrt(at - begin + FAIR) / UNIT
        out: Array = np.where(at - begin >= BEFORE, after - np.maximum(before, 0.0), 0.0)
        return out


def cells(words: Words) -> tuple[Array, Array]:
    """The cells of each word, and of it with the one before it [T]."""
    key = mixed(words.key)
    pair = mixed(key + np.append(np.uint64(0), words.key[:-1]))
    return (key >> np.uint64(64 - ONES)).astype(np.int64), (pair >> np.uint64(64 - TWOS)).astype(np.int64)


def broken(payloads: Iterable[Payload], read: Read, *, longest: int, most: int, rows: int) -> list[Phrase]:
    """At most `most` phrases after which the text breaks, the most surprising first. Four passes over the rows."""
    model, bar = fitted(payloads, read, rows=rows)
    key, size = suspects(payloads, read, model, bar, longest=longest)
    found = measured(payloads, read, model, key, size)
    number, height = np.array([one[1] for one in found]), np.array([one[2] for one in found])
    expected = surprising(number, height, [set(one[3].split()) for one in found])
    chosen: list[int] = []
    for at in np.lexsort((-number * height, expected.clip(min=SURE))).tolist():
        # A part of a phrase, or one that overlaps with it, breaks texts because the phrase does.
        if len(chosen) < most and not any(set(found[at][3].split()) & set(found[one][3].split()) for one in chosen):
            chosen.append(at)
    out = []
    for at in chosen:
        spot, holding, _, text = found[at]
        p_value = float((expected[at] / len(chosen)).clip(1e-30, 1))  # of one phrase, of which so many are told
        out.append(Phrase(int(key[spot]), int(size[spot]), text, p_value, holding, holding, 0))
    return out


def fitted(payloads: Iterable[Payload], read: Read, *, rows: int) -> tuple[Model, float]:
    """The model of the words, and by how much a text must break at its worst place to be among the most broken."""
    word, pair, total = np.zeros(1 << ONES, dtype=np.int32), np.zeros(1 << TWOS, dtype=np.int32), 0
    for payload in payloads:
        words = read(payload)
        one, two = cells(words)
        np.add.at(word, one, 1)
        np.add.at(pair, two, 1)
        total += len(one)
    model, step = Model(word, pair, max(total, 1)), max(1, rows // SAMPLE)
    drawn = [_drawn(payload, read, step) for payload in payloads]
    nats = np.concatenate([np.zeros(0), *(model.surprise(one)[one.key > END] for one in drawn)])
    model = Model(word, pair, max(total, 1), float(nats.mean()) if len(nats) else 0.0)
    worst = np.concatenate([np.zeros(0), *(_worst(model.breaks(one), one)[0] for one in drawn)])
    return model, float(np.quantile(worst, BROKEN)) if len(worst) else 0.0


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
    """Keys, ascending, and sizes of the runs of words that end where HITS of the most broken rows break."""
    key, count, size = (np.zeros(0, dtype=kind) for kind in (np.uint64, np.int64, np.int64))
    waiting: list[tuple[Array, Array, Array]] = []
    for payload in payloads:
        words = read(payload)
        worst, place = _worst(model.breaks(words), words)
        for length in range(1, longest + 1):
            runs, at = words.runs(length)
            row = words.row[at]
            near = (worst[row] >= bar) & (np.abs(at + length - place[row]) <= NEAR)
            once = np.unique(np.stack([runs[near], row[near].astype(np.uint64)], 1), axis=0)[:, 0]
            runs, number = np.unique(once, return_counts=True)
            waiting.append((runs, number, np.full(len(runs), length)))
        if sum(len(one[0]) for one in waiting) > ENTRIES:
            key, count, size = _added([(key, count, size), *waiting])
            rare = np.partition(count, -ENTRIES // 2)[-ENTRIES // 2] if len(count) > ENTRIES else 0
            key, count, size = key[count > rare], count[count > rare], size[count > rare]
            waiting = []
    key, count, size = _added([(key, count, size), *waiting])
    chosen = np.sort(np.argsort(-count, kind="stable")[:PHRASES])
    chosen = chosen[count[chosen] >= HITS]
    return key[chosen], size[chosen]


def _added(parts: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    key, count, size = (np.concatenate(column) for column in zip(*parts, strict=True))
    key, first, back = np.unique(key, return_index=True, return_inverse=True)
    return key, np.bincount(back, count, len(key)).astype(np.int64), size[first]


def measured(
    payloads: Iterable[Payload], read: Read, model: Model, key: Array, size: Array
) -> list[tuple[int, int, float, str]]:
    """Which of the runs, in how many rows, by how much texts break after it at least, its words; one of each row set.

    A row counts once, where it breaks most. The mean is read two standard errors on the safe side.
    """
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
    spread = (square / number.clip(min=1) - mean**2).clip(min=0) + 0.25 / number.clip(min=1)
    height = mean - 2 * np.sqrt(spread / number.clip(min=1))
    # Runs that stand in the same rows are one: the one after which the break is.
    order = np.lexsort((-size, -height))
    _, first = np.unique(mark[order], return_index=True)
    kept = [at for at in order[np.sort(first)].tolist() if number[at] >= LEAST]
    return [(at, int(number[at]), float(height[at]), text[at]) for at in kept]


def surprising(number: Array, height: Array, words: list[set[str]]) -> Array:
    """How many phrases after which texts break as much the data's other phrases lead to expect, for each of N [N].

    number  [N] rows of a phrase, height [N] nats by which texts break after it, words of each

    The heights of the TOP phrases in at least half as many rows that share no word with it are taken to exceed the
    least of them exponentially, by SCALE as if WEIGHT phrases had been seen (the predictive law under a Gamma prior).
    """
    out = np.full(len(number), float(len(number)))
    order = np.argsort(-height, kind="stable")
    for at in range(len(number)):
        law = []
        for other in order.tolist():
            if 2 * number[other] >= number[at] and not words[other] & words[at]:
                law.append(height[other])
                if len(law) == TOP:
                    break
        least = law[-1] if law else 0.0
        excess = max(height[at] - least, 0.0)
        total = sum(one - least for one in law) + WEIGHT * SCALE
        out[at] = (len(law) + 1) * (1 + excess / total) ** -(len(law) + WEIGHT)
    return out
