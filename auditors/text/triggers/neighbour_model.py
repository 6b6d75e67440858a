"""Statistics of the words next to a phrase: ordinary words predict their neighbours, inserted ones do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from foretaste.settings import threshold
from foretaste.text.ngrams import BREAK, END, START, Array, Words, held, mixed


@dataclass(frozen=True)
class NeighbourModel:
    """How the neighbours of phrases are counted and predicted.

    common       words, the most common ones, that are distinguished as neighbours; all others are one category
    sample       occurrences of a phrase whose two neighbours are stored as a pair, at most
    fixed        share of a phrase's occurrences at the start (or end) of a text or part above which only its right (or
                 left) neighbours are used
    placed       standard deviation of a phrase's relative position in its texts (0 to 1) below which it has a fixed
                 place
    pairs        weight, in word pairs, of the unigram frequencies as a prior, in how well two neighbours go together
    smoothing    weight, in word pairs, of the unigram frequencies as a prior, where one neighbour predicts the other
    background   weight of the unigram frequencies mixed into the prediction of one neighbour by the other, however many
                 pairs were counted
    occurrences  weight of a phrase's other occurrences in predicting a neighbour; the rest is the prediction by the
                 other neighbour
    """

    common: int = threshold(200, "not tuned")
    sample: int = threshold(1024, "memory; standard error of a phrase's mean log ratio is 3 % of its deviation")
    fixed: float = threshold(0.9, "not tuned")
    placed: float = threshold(0.15, "half of the .29 of a uniformly distributed position")
    pairs: float = threshold(20.0, "not tuned")
    smoothing: float = threshold(0.5, "not tuned")
    background: float = threshold(0.05, "not tuned")
    occurrences: float = threshold(0.5, "even odds; not tuned")


@dataclass(frozen=True, eq=False)
class Runs:
    """P phrases, each identified by the n-grams it starts and ends with.

    left   [P] uint64 ascending and right [P] uint64, keys of n-grams of `size` [P] words
    whole  [P] number of words of the phrase
    """

    left: Array
    right: Array
    size: Array
    whole: Array

    def find(self, words: Words) -> Iterator[tuple[Array, Array]]:
        """Occurrences in a batch (phrase [H], position [H]), for each n-gram size."""
        for size in np.unique(self.size).tolist():
            keys, at = words.runs(size)
            which = held(keys, self.left)
            which, spot = which[which >= 0], at[which >= 0]
            key_at = np.zeros(len(words.key), dtype=np.uint64)
            key_at[at] = keys
            end = spot + self.whole[which] - size
            fits = (self.size[which] == size) & (end < len(key_at))
            fits[fits] = key_at[end[fits]] == self.right[which[fits]]
            yield which[fits], spot[fits]


@dataclass(eq=False)
class Contexts:
    """Counts of the neighbours of P phrases and of all word pairs, filled batch by batch.

    common  [m] uint64 ascending, keys of the most common words as 1-grams
    """

    common: Array
    runs: Runs
    model: NeighbourModel
    pairs: Array = field(init=False)  # [C, C] of adjacent words; the last four categories: other, BREAK, START, END
    before: Array = field(init=False)  # [P, C]
    after: Array = field(init=False)  # [P, C]
    place: Array = field(init=False)  # [P, 2], sums of the relative place in the text and of its square
    first: Array = field(init=False)  # [P], category of the phrase's own first word
    last: Array = field(init=False)  # [P]
    both: list[Array] = field(init=False)  # pairs of neighbours, coded as phrase * C * C + before * C + after

    def __post_init__(self) -> None:
        categories, phrases = len(self.common) + 4, len(self.runs.left)
        self.pairs = np.zeros((categories, categories))
        self.before, self.after = (np.zeros((phrases, categories)) for _ in range(2))
        self.place = np.zeros((phrases, 2))
        self.first, self.last = (np.zeros(phrases, dtype=np.int64) for _ in range(2))
        self.both = []

    def add(self, words: Words) -> None:
        """Count a batch."""
        category = self.category(words.key)
        categories = len(self.pairs)
        inside = words.row[1:] == words.row[:-1]
        code = category[:-1][inside] * categories + category[1:][inside]
        self.pairs += np.bincount(code, minlength=categories**2).reshape(categories, categories)
        length = np.bincount(words.row, minlength=len(words.words)) - 2  # [B]
        for which, at in self.runs.find(words):
            whole = self.runs.whole[which]
            left, right = category[at - 1], category[at + whole]
            row = words.row[at]
            spare = length[row] - whole
            # A phrase that is the whole text has no position in it, so the middle is taken.
            relative = np.where(spare > 0, (at - words.start[row] - 1) / np.maximum(spare, 1), 0.5)
            # Inside a repetition of one word ("!!!!") the two neighbours are no evidence of how they go together.
            alone = (left != category[at]) & (right != category[at + whole - 1])
            fresh = (self.before[which].sum(1) < self.model.sample) & (alone | (category[at] >= len(self.common)))
            self.both.append((which * categories + left)[fresh] * categories + right[fresh])
            np.add.at(self.before, (which, left), 1)
            np.add.at(self.after, (which, right), 1)
            np.add.at(self.place, which, np.stack([relative, relative**2], 1))
            self.first[which], self.last[which] = category[at], category[at + whole - 1]

    def category(self, keys: Array) -> Array:
        """Category [T] of each token: one of the common words, then other words, BREAK, START and END."""
        spot = held(mixed(keys + np.uint64(1)), self.common)  # the key of a word as a 1-gram
        out = np.where(spot >= 0, spot, len(self.common))
        for at, edge in enumerate((BREAK, START, END), 1):
            out[keys == edge] = len(self.common) + at
        return out

    def told(self, phrase: int) -> float:
        """Information of a phrase about its neighbours, in nats per occurrence.

        Each neighbour is predicted once by the phrase's other occurrences (leave-one-out), once by the other neighbour
        as if the phrase were absent. The mean log ratio of the two is about 0 for randomly inserted words and about 1
        for ordinary ones. For a phrase that always starts or ends its text or part only the other side is used.
        """
        before, after = self.before[phrase].copy(), self.after[phrase].copy()
        first, last = int(self.first[phrase]), int(self.last[phrase])
        pairs = self.pairs.copy()
        pairs[:, first] -= before
        pairs[last] -= after
        pairs = pairs.clip(min=0)
        starts = before[[-3, -2]].max() >= self.model.fixed * before.sum()
        ends = after[[-3, -1]].max() >= self.model.fixed * after.sum()
        for own in {first, last} & set(range(len(self.common))):
            before[own] = after[own] = 0  # repetitions of the phrase's own words
        ahead = gain(after, shares(before) @ transitions(pairs, self.model), self.model)
        back = gain(before, shares(after) @ transitions(pairs.T, self.model), self.model)
        if starts and not ends:
            return 2 * ahead
        return 2 * back if ends and not starts else ahead + back

    def fits(self) -> Array:
        """Mean pointwise mutual information [P] of the neighbours of each phrase: log P(right | left) / P(right)."""
        categories, prior = len(self.pairs), self.model.pairs
        overall = shares(self.pairs.sum(0))
        given = (self.pairs + prior * overall) / (self.pairs.sum(1, keepdims=True) + prior)
        ratio = np.log(given.clip(min=1e-9) / overall.clip(min=1e-9))
        ratio[:, -2] = ratio[-1] = 0  # START follows nothing, and nothing follows END
        code = np.concatenate([np.zeros(0, dtype=np.int64), *self.both])
        phrase, pair = code // categories**2, code % categories**2
        number = np.bincount(phrase, minlength=len(self.place))
        mean: Array = np.bincount(phrase, ratio.ravel()[pair], len(self.place)) / number.clip(min=1)
        return mean

    def placed(self) -> Array:
        """Which phrases have about the same relative position in all their texts [P] bool."""
        number = self.before.sum(1).clip(min=1)
        mean, square = (self.place / number[:, None]).T
        steady: Array = square - mean**2 < self.model.placed**2
        return steady


def shares(count: Array) -> Array:
    """Counts as relative frequencies."""
    return count / max(float(count.sum()), 1.0)


def transitions(pairs: Array, model: NeighbourModel) -> Array:
    """P(second word | first word) [C, C], smoothed by the unigram frequencies."""
    overall = shares(pairs.sum(0))
    given = (pairs + model.smoothing * overall) / (pairs.sum(1, keepdims=True) + model.smoothing)
    smoothed: Array = (1 - model.background) * given + model.background * overall
    return smoothed


def gain(count: Array, expected: Array, model: NeighbourModel) -> float:
    """Mean log ratio of the leave-one-out prediction of the counted words [C] to the prediction `expected` [C]."""
    total = float(count.sum())
    if total < 2:
        return 0.0
    seen = count > 0
    expected = expected.clip(min=1e-9)[seen]
    own = model.occurrences * (count[seen] - 1) / (total - 1) + (1 - model.occurrences) * expected
    return float((count[seen] * np.log(own / expected)).sum() / total)
