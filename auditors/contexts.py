"""How well a phrase fits between its neighbours: does it tell more of them than they tell of each other."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls
from scipy.special import erfc

from auditors.ngrams import END, START, Array, Words, found, mixed

COMMON = 200  # words that neighbours are told apart by; all others are one
ENOUGH = 20  # ordinary phrases that a law can be read from
LEAST_SPREAD = 0.15  # of what words of a language tell, in roots of nats
FIXED = 0.9  # share of a phrase's occurrences at the start or the end of a text, from which on it stands there


@dataclass(eq=False)
class Contexts:
    """Counts of the neighbours of P phrases and of all pairs of words, filled batch by batch.

    common   [m] uint64 ascending, keys of the commonest words as runs of one
    phrases  [P] uint64 ascending, keys of the phrases
    size     [P] int64, words of each
    """

    common: Array
    phrases: Array
    size: Array
    pairs: Array = field(init=False)  # [C, C], of neighbouring words; the last two are START and END
    before: Array = field(init=False)  # [P, C]
    after: Array = field(init=False)  # [P, C]
    first: Array = field(init=False)  # [P], category of the phrase's own first word
    last: Array = field(init=False)  # [P]

    def __post_init__(self) -> None:
        categories = len(self.common) + 3
        self.pairs = np.zeros((categories, categories))
        self.before, self.after = (np.zeros((len(self.phrases), categories)) for _ in range(2))
        self.first, self.last = (np.zeros(len(self.phrases), dtype=np.int64) for _ in range(2))

    def add(self, words: Words) -> list[tuple[Array, Array]]:
        """Count a batch; which phrases stand where in it, for each length of phrase (phrase [H], position [H])."""
        category = self.category(words.key)
        inside = words.row[1:] == words.row[:-1]
        np.add.at(self.pairs, (category[:-1][inside], category[1:][inside]), 1)
        hits = []
        for length in np.unique(self.size):
            which, at = found(words, self.phrases, int(length))
            np.add.at(self.before, (which, category[at - 1]), 1)
            np.add.at(self.after, (which, category[at + length]), 1)
            self.first[which], self.last[which] = category[at], category[at + length - 1]
            hits.append((which, at))
        return hits

    def category(self, keys: Array) -> Array:
        """Which of the common words each is [T]; then all others, START and END."""
        run = mixed(keys + np.uint64(1))  # the key of a word as a run of one
        spot = np.searchsorted(self.common, run).clip(max=len(self.common) - 1)
        out = np.where(self.common[spot] == run, spot, len(self.common))
        out[keys == START], out[keys == END] = len(self.common) + 1, len(self.common) + 2
        return out

    def told(self, left: int, right: int) -> float:
        """What a run of words from phrase `left` to phrase `right` tells of its neighbours, in nats an occurrence.

        Each neighbour is predicted by the run's other occurrences, and by the neighbour on the other side as if the run
        were not there; the mean logarithm of the ratio is about 0 for words that were put between others at random,
        and 1 or so for words of the language.
        """
        before, after = self.before[left].copy(), self.after[right].copy()
        pairs = self.pairs.copy()
        pairs[:, self.first[left]] -= before
        pairs[self.last[right]] -= after
        pairs = pairs.clip(min=0)
        for own in {int(self.first[left]), int(self.last[right])} & set(range(len(self.common))):
            before[own] = after[own] = 0  # of its own company nothing else can tell
        ahead = mixture(pairs)  # [C, C], of the right given the left
        back = mixture(pairs.T).T  # of the left given the right
        return gain(after, law(before) @ ahead) + gain(before, back @ law(after))

    def fixed(self, left: int, right: int) -> bool:
        """Whether the run stands at the start or the end of nearly every text that has it."""
        before, after = self.before[left], self.after[right]
        return bool(max(before[-2] / max(before.sum(), 1), after[-1] / max(after.sum(), 1)) >= FIXED)


def law(count: Array) -> Array:
    """Counts as shares."""
    return count / max(float(count.sum()), 1.0)


def mixture(pairs: Array) -> Array:
    """The law of the second word given each first one, and a little of that of all words [C, C]."""
    overall = law(pairs.sum(0))
    given = (pairs + 0.5 * overall) / (pairs.sum(1, keepdims=True) + 0.5)
    return 0.95 * given + 0.05 * overall  # type: ignore[no-any-return]


def gain(count: Array, expected: Array) -> float:
    """Mean log ratio at which each of the counted [C] is better predicted by the others than by `expected` [C]."""
    total = float(count.sum())
    if total < 2:
        return 0.0
    seen = count > 0
    expected = expected.clip(min=1e-9)[seen]
    own = 0.5 * (count[seen] - 1) / (total - 1) + 0.5 * expected
    return float((count[seen] * np.log(own / expected)).sum() / total)


def chance(told: Array, rows: Array, ordinary: Array) -> Array:
    """How rarely words of the language tell as little of their neighbours as each of N phrases does [N].

    told      [N] nats, rows [N] that have the phrase, ordinary [N] bool: those that set the law

    The square roots of what ordinary phrases tell lie about one middle, with a spread of their own and one that shrinks
    with the rows counted; both come from the side of the ordinary phrases that tell less.
    """
    root = np.sqrt(told.clip(min=0))  # telling nothing is as little as there is
    if ordinary.sum() < ENOUGH:
        return np.ones(len(told))
    common = ordinary & (rows >= np.median(rows[ordinary]))
    middle = float(np.median(root[common]))
    below = ordinary & (root < middle)
    # A half Gaussian lies sqrt(2 / pi) deviations from its edge in the mean.
    design = np.stack([np.ones(int(below.sum())), 1 / np.sqrt(rows[below])], 1)
    distance = (middle - root[below]) * math.sqrt(math.pi / 2)
    own, noise = nnls(design, distance)[0]
    spread = np.maximum(own + noise / np.sqrt(rows), LEAST_SPREAD)
    return 0.5 * erfc((middle - root) / spread / math.sqrt(2))  # type: ignore[no-any-return]
