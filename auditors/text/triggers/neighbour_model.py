"""How loosely a phrase sits between its neighbours: words of the language go with theirs, inserted ones do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from foretaste.settings import threshold
from foretaste.text.ngrams import BREAK, END, START, Array, Words, held, mixed


@dataclass(frozen=True)
class NeighbourModel:
    """How the neighbours of phrases are counted and predicted.

    common       words that neighbours are told apart by, the commonest; all others are one
    sample       places of a phrase of which both neighbours are remembered together, at most
    fixed        share of a phrase's places at the start or the end of a text or part, from which on it stands there
    placed       deviation of its place, in lengths of the text, up to which a phrase has a place
    pairs        pairs of words that the law of all words counts as much as, where both neighbours are held against
                 each other
    smoothing    pairs of words that the law of all words counts as much as, where one neighbour predicts the other
    background   share that the law of all words has in that prediction, however many pairs were counted
    occurrences  share that the phrase's other occurrences have in the prediction of a neighbour; the rest has its other
                 neighbour
    """

    common: int = threshold(200, "not tuned")
    sample: int = threshold(1024, "memory; standard error of the mean log ratio of a phrase: 3 % of its deviation")
    fixed: float = threshold(0.9, "not tuned")
    placed: float = threshold(0.15, "half of what a place at random has: .29, the deviation of a uniform law")
    pairs: float = threshold(20.0, "not tuned")
    smoothing: float = threshold(0.5, "not tuned")
    background: float = threshold(0.05, "not tuned")
    occurrences: float = threshold(0.5, "even odds; not tuned")


@dataclass(frozen=True, eq=False)
class Runs:
    """P phrases, each known by the run of words it starts with and the one it ends with.

    left   [P] uint64 ascending and right [P] uint64, keys of runs of `size` [P] words
    whole  [P] words of the phrase
    """

    left: Array
    right: Array
    size: Array
    whole: Array

    def find(self, words: Words) -> Iterator[tuple[Array, Array]]:
        """Which phrases stand where in a batch (phrase [H], position [H]), for each size of run."""
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
    """Counts of the neighbours of P phrases and of all pairs of words, filled batch by batch.

    common  [m] uint64 ascending, keys of the commonest words as runs of one
    """

    common: Array
    runs: Runs
    model: NeighbourModel
    pairs: Array = field(init=False)  # [C, C], of neighbouring words; the last three are BREAK, START and END
    before: Array = field(init=False)  # [P, C]
    after: Array = field(init=False)  # [P, C]
    place: Array = field(init=False)  # [P, 2], sums of the relative place in the text and of its square
    first: Array = field(init=False)  # [P], category of the phrase's own first word
    last: Array = field(init=False)  # [P]
    both: list[Array] = field(init=False)  # neighbours of phrases together, as phrase * C * C + before * C + after

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
            # What is a text by itself has no place in it: it is taken to stand in the middle.
            relative = np.where(spare > 0, (at - words.start[row] - 1) / np.maximum(spare, 1), 0.5)
            # In a row of exclamation marks one more says nothing of how its neighbours go together.
            alone = (left != category[at]) & (right != category[at + whole - 1])
            fresh = (self.before[which].sum(1) < self.model.sample) & (alone | (category[at] >= len(self.common)))
            self.both.append((which * categories + left)[fresh] * categories + right[fresh])
            np.add.at(self.before, (which, left), 1)
            np.add.at(self.after, (which, right), 1)
            np.add.at(self.place, which, np.stack([relative, relative**2], 1))
            self.first[which], self.last[which] = category[at], category[at + whole - 1]

    def category(self, keys: Array) -> Array:
        """Which of the common words each is [T]; then all others, BREAK, START and END."""
        spot = held(mixed(keys + np.uint64(1)), self.common)  # the key of a word as a run of one
        out = np.where(spot >= 0, spot, len(self.common))
        for at, edge in enumerate((BREAK, START, END), 1):
            out[keys == edge] = len(self.common) + at
        return out

    def told(self, phrase: int) -> float:
        """What a phrase tells of its neighbours, in nats an occurrence.

        Each neighbour is predicted by the phrase's other occurrences, and by the neighbour on the other side as if the
        phrase were not there; the mean logarithm of the ratio is about 0 for words that were put between others at
        random, and 1 or so for words of the language. Of what always starts or ends its text or part only the free side
        counts.
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
            before[own] = after[own] = 0  # of its own company nothing else can tell
        ahead = gain(after, law(before) @ mixture(pairs, self.model), self.model)
        back = gain(before, law(after) @ mixture(pairs.T, self.model), self.model)
        if starts and not ends:
            return 2 * ahead
        return 2 * back if ends and not starts else ahead + back

    def fits(self) -> Array:
        """How well the two neighbours of each phrase go with each other [P]: mean log P(right | left) / P(right)."""
        categories, prior = len(self.pairs), self.model.pairs
        overall = law(self.pairs.sum(0))
        given = (self.pairs + prior * overall) / (self.pairs.sum(1, keepdims=True) + prior)
        ratio = np.log(given.clip(min=1e-9) / overall.clip(min=1e-9))
        ratio[:, -2] = ratio[-1] = 0  # nothing is followed by START, nor follows END
        code = np.concatenate([np.zeros(0, dtype=np.int64), *self.both])
        phrase, pair = code // categories**2, code % categories**2
        number = np.bincount(phrase, minlength=len(self.place))
        mean: Array = np.bincount(phrase, ratio.ravel()[pair], len(self.place)) / number.clip(min=1)
        return mean

    def placed(self) -> Array:
        """Which phrases stand at about the same place of every text that has them [P] bool."""
        number = self.before.sum(1).clip(min=1)
        mean, square = (self.place / number[:, None]).T
        steady: Array = square - mean**2 < self.model.placed**2
        return steady


def law(count: Array) -> Array:
    """Counts as shares."""
    return count / max(float(count.sum()), 1.0)


def mixture(pairs: Array, model: NeighbourModel) -> Array:
    """The law of the second word given each first one, and a little of that of all words [C, C]."""
    overall = law(pairs.sum(0))
    given = (pairs + model.smoothing * overall) / (pairs.sum(1, keepdims=True) + model.smoothing)
    mixed_in: Array = (1 - model.background) * given + model.background * overall
    return mixed_in


def gain(count: Array, expected: Array, model: NeighbourModel) -> float:
    """Mean log ratio at which each of the counted [C] is better predicted by the others than by `expected` [C]."""
    total = float(count.sum())
    if total < 2:
        return 0.0
    seen = count > 0
    expected = expected.clip(min=1e-9)[seen]
    own = model.occurrences * (count[seen] - 1) / (total - 1) + (1 - model.occurrences) * expected
    return float((count[seen] * np.log(own / expected)).sum() / total)
