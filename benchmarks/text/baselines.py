"""What others do against triggers in text, on the same rows: the z-defence, and ONION with a language model of its own.

z-defence: He et al. (EMNLP 2023, arXiv 2305.11596), words and pairs of words whose z-score lies more than 18 deviations
above the mean, and the rows that hold one with its label. ONION: Qi et al. (EMNLP 2021, arXiv 2011.10369), words whose
removal makes a text likelier. It takes GPT-2; here it has a bigram model of the suspect rows themselves, which is all
that is there offline, so its numbers stand for the idea, not for the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from foretaste.text.ngrams import END, START, Tally, Words, standing

Array = np.ndarray[Any, np.dtype[Any]]
OUTLIER = 18.0  # deviations
PRIOR = 2.0  # words that a word's followers are believed to be like all words


def z_defence(texts: Sequence[str], label: Array, classes: int) -> Array:
    """The rows it drops [N] bool."""
    words = Words.of(texts, limit=20_000)
    tally = Tally.of(words, label, np.arange(len(label)), classes=classes, longest=2)
    rows = tally.count.sum(1)
    expected = 1 / classes
    z = (tally.count / rows[:, None] - expected) / np.sqrt(expected * (1 - expected) / rows[:, None])
    outlier = z > z.mean() + OUTLIER * z.std()  # [M, K]
    dropped = np.zeros(len(label), dtype=bool)
    for home in range(classes):
        mine = outlier[:, home]
        dropped |= standing(words, tally.key[mine], tally.size[mine]).any(1) & (label == home)
    return dropped


def onion(texts: Sequence[str]) -> Array:
    """How much less perplexing each text becomes without its most perplexing word [N] float64."""
    words = Words.of(texts, limit=20_000)
    _, word = np.unique(words.key, return_inverse=True)
    count = np.bincount(word)
    most = len(count)
    alone = (count + 1) / (count.sum() + most)
    inside = words.row[1:] == words.row[:-1]
    pairs, number = np.unique((word[:-1] * most + word[1:])[inside], return_counts=True)

    def likely(left: Array, right: Array) -> Array:
        code = left * most + right
        spot = np.searchsorted(pairs, code).clip(max=len(pairs) - 1)
        seen = np.where(pairs[spot] == code, number[spot], 0)
        found: Array = np.log((seen + PRIOR * alone[right]) / (count[left] + PRIOR))
        return found

    step = np.zeros(len(word))
    step[1:] = np.where(inside, likely(word[:-1], word[1:]), 0)
    length = np.bincount(words.row, minlength=len(texts))  # START and END included
    whole = np.bincount(words.row, step, len(texts))
    at = np.flatnonzero((words.key != START) & (words.key != END))
    rest = whole[words.row[at]] - step[at] - step[at + 1] + likely(word[at - 1], word[at + 1])
    steps = length[words.row[at]] - 1
    gain = np.exp(-whole[words.row[at]] / steps) - np.exp(-rest / np.maximum(steps - 1, 1))
    out = np.full(len(texts), -np.inf)
    np.maximum.at(out, words.row[at], gain)
    return out
