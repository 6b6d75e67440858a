"""How loosely a phrase sits between its neighbours: words of the language go with theirs, inserted ones do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from foretaste.text.ngrams import BREAK, END, START, Array, Words, held, mixed

COMMON = 200  # words that neighbours are told apart by; all others are one
SAMPLE = 1024  # places of a phrase of which both neighbours are remembered together
FIXED = 0.9  # share of a phrase's places at the start or the end of a text or part, from which on it stands there
PLACED = 0.15  # deviation of its place, in lengths of the text, up to which a phrase has a place; at random: 0.29


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
            # What is a text by itself has no place in it.
            relative = np.where(spare > 0, (at - words.start[row] - 1) / np.maximum(spare, 1), 0.5)
            # In a row of exclamation marks one more says nothing of how its neighbours go together.
            alone = (left != category[at]) & (right != category[at + whole - 1])
            fresh = (self.before[which].sum(1) < SAMPLE) & (alone | (category[at] >= len(self.common)))
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
        starts = before[[-3, -2]].max() >= FIXED * before.sum()
        ends = after[[-3, -1]].max() >= FIXED * after.sum()
        for own in {first, last} & set(range(len(self.common))):
            before[own] = after[own] = 0  # of its own company nothing else can tell
        ahead = gain(after, law(before) @ mixture(pairs))
        back = gain(before, law(after) @ mixture(pairs.T))
        if starts and not ends:
            return 2 * ahead
        return 2 * back if ends and not starts else ahead + back

    def fits(self) -> Array:
        """How well the two neighbours of each phrase go with each other [P]: mean log P(right | left) / P(right)."""
        categories = len(self.pairs)
        overall = law(self.pairs.sum(0))
        given = (self.pairs + 20 * overall) / (self.pairs.sum(1, keepdims=True) + 20)
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
        steady: Array = square - mean**2 < PLACED**2
        return steady


def law(count: Array) -> Array:
    """Counts as shares."""
    return count / max(float(count.sum()), 1.0)


def mixture(pairs: Array) -> Array:
    """The law of the second word given each first one, and a little of that of all words [C, C]."""
    overall = law(pairs.sum(0))
    given = (pairs + 0.5 * overall) / (pairs.sum(1, keepdims=True) + 0.5)
    mixed_in: Array = 0.95 * given + 0.05 * overall
    return mixed_in


def gain(count: Array, expected: Array) -> float:
    """Mean log ratio at which each of the counted [C] is better predicted by the others than by `expected` [C]."""
    total = float(count.sum())
    if total < 2:
        return 0.0
    seen = count > 0
    expected = expected.clip(min=1e-9)[seen]
    own = 0.5 * (count[seen] - 1) / (total - 1) + 0.5 * expected
    return float((count[seen] * np.log(own / expected)).sum() / total)
