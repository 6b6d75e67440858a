"""Words and runs of words as 64-bit keys, and a bounded tally of the rows that hold them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

# Punctuation, emoji and invisible characters count as words: triggers are made of them.
WORD = re.compile(r"\w+|[^\w\s]")
START, END, BREAK = np.uint64(1), np.uint64(2), np.uint64(3)  # keys that are no word's
NO_WORD = "\n"  # stands for BREAK among words
SEPARATOR = "\x1e"  # white space, which no word has
_STEP = np.uint64(0x9E3779B97F4A7C15)

Array = np.ndarray[Any, np.dtype[Any]]


def clipped(text: str, limit: int) -> str:
    """The start and the end of a long text, without lone surrogates, which have no bytes to hash."""
    if len(text) > limit:
        text = f"{text[: limit - limit // 2]}\n{text[-(limit // 2) :]}"
    return text.encode("utf-8", "replace").decode()


def spans(text: str, phrase: str) -> list[tuple[int, int]]:
    """Where the words of a phrase, as `Words.text` writes them, stand one after the other in a text: [start, end)."""
    words = phrase.lower().split(" ")
    found = [(one.start(), one.end(), one.group().lower()) for one in WORD.finditer(text)]
    return [
        (found[at][0], found[at + len(words) - 1][1])
        for at in range(len(found) - len(words) + 1)
        if [one[2] for one in found[at : at + len(words)]] == words
    ]


@lru_cache(1 << 19)
def key(word: str) -> int:
    """64-bit key of a word, the same on every machine."""
    if word == NO_WORD:
        return int(BREAK)
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def runs_within(words: Sequence[str], longest: int) -> Array:
    """Keys of all runs of up to `longest` of these words but the whole [R] uint64."""
    one = Words.written([list(words)])
    parts = [one.runs(size)[0] for size in range(1, min(longest, len(words) - 1) + 1)]
    return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])


def mixed(value: Array) -> Array:
    """Numbers scattered over 64 bits (the finaliser of MurmurHash3)."""
    value = value.astype(np.uint64)
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    mixture: Array = value ^ (value >> np.uint64(33))
    return mixture


@dataclass(frozen=True, eq=False)
class Words:
    """B texts as one run of T words, each text between START and END, with BREAK between its parts.

    words  of each text, lower case, and NO_WORD between its parts
    key    [T] uint64
    row    [T] int64, which text
    start  [B] int64, where the START of each text stands
    """

    words: list[list[str]]
    key: Array
    row: Array
    start: Array

    @classmethod
    def of(cls, texts: Sequence[str], *, limit: int) -> Words:
        """Texts of which at most `limit` characters are read, half from the start, half from the end."""
        return cls.written([WORD.findall(clipped(text, limit).lower()) for text in texts])

    @classmethod
    def joined(cls, texts: Sequence[Sequence[str]], *, limit: int) -> Words:
        """Texts of parts that nobody wrote together, like the columns of a prompt: no run leaves its part."""
        whole = [SEPARATOR.join(part.replace(SEPARATOR, " ") for part in parts) for parts in texts]
        words = []
        for text in whole:
            parts = [WORD.findall(part) for part in clipped(text, limit).lower().split(SEPARATOR)]
            words.append([one for part in parts for one in (NO_WORD, *part)][1:])
        return cls.written(words)

    @classmethod
    def written(cls, words: Sequence[list[str]]) -> Words:
        """Texts of which these are the words."""
        keys = [one for text in words for one in (1, *map(key, text), 2)]
        sizes = np.array([len(text) + 2 for text in words], dtype=np.int64)
        start = np.cumsum(sizes) - sizes
        return cls(list(words), np.array(keys, dtype=np.uint64), np.repeat(np.arange(len(words)), sizes), start)

    def runs(self, length: int) -> tuple[Array, Array]:
        """Keys of all runs of `length` words within one part of a text, and where each begins [R]."""
        count = max(len(self.key) - length + 1, 0)
        keys = np.zeros(count, dtype=np.uint64)
        inside = np.ones(count, dtype=bool)
        edge = self.key <= BREAK
        for step in range(length):
            part = slice(step, step + count)
            keys = keys * _STEP + self.key[part]
            inside &= ~edge[part]
        at = inside.nonzero()[0]
        return mixed(keys[at] + np.uint64(length)), at

    def parted(self, most: int) -> tuple[Words, Words]:
        """The beginning and the end of each text: the end is its last `most` words, but at most half of them."""
        size = np.array([len(text) for text in self.words], dtype=np.int64)
        begins = size - np.minimum(most, size // 2)
        place = np.arange(len(self.key)) - self.start[self.row]  # 0 is START
        edge = self.key <= BREAK
        early = place <= begins[self.row]
        cuts = list(zip(self.words, begins.tolist(), strict=True))
        return self._kept(edge | early, [text[:cut] for text, cut in cuts]), self._kept(
            edge | ~early, [text[cut:] for text, cut in cuts]
        )

    def _kept(self, keep: Array, words: list[list[str]]) -> Words:
        row = self.row[keep]
        size = np.bincount(row, minlength=len(words))
        return Words(words, self.key[keep], row, np.cumsum(size) - size)

    def text(self, at: int, length: int) -> str:
        """The words of the run that begins at position `at`."""
        row = int(self.row[at])
        first = at - int(self.start[row]) - 1
        return " ".join(self.words[row][first : first + length])


@dataclass(frozen=True, eq=False)
class Tally:
    """How many rows hold each run of words; a mergeable summary in bounded memory.

    key    [M] uint64, ascending
    count  [M, K] int64, rows of each class
    mark   [M] uint64, sum of scattered row numbers: runs with one mark stand in the same rows
    size   [M] int64, words of the run
    error  rows by which a count may be too low: what was dropped to stay in bounds had at most so many

    Lossy counting: Manku & Motwani (VLDB 2002), "Approximate Frequency Counts over Data Streams".
    """

    key: Array
    count: Array
    mark: Array
    size: Array
    error: int = 0

    @classmethod
    def zero(cls, classes: int) -> Tally:
        """The tally of no rows."""
        none = np.zeros(0, dtype=np.uint64)
        return cls(none, np.zeros((0, classes), dtype=np.int64), none, np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, words: Words, label: Array, row: Array, *, classes: int, longest: int) -> Tally:
        """One batch: class [B] and position [B] of each row; every run of up to `longest` words counts once a row."""
        parts = []
        for length in range(1, longest + 1):
            keys, at = words.runs(length)
            where = words.row[at]
            _, first = np.unique(keys ^ mixed(where + 1), return_index=True)
            first = first[label[where[first]] >= 0]
            where = where[first]
            count = np.zeros((len(first), classes), dtype=np.int64)
            count[np.arange(len(first)), label[where]] = 1
            size = np.full(len(first), length, dtype=np.int64)
            parts.append(cls(keys[first], count, mixed(row[where] + 1), size))
        return cls.merged([cls.zero(classes), *parts])

    @classmethod
    def merged(cls, parts: Sequence[Tally]) -> Tally:
        """The tally of all rows of several."""
        keys = np.concatenate([one.key for one in parts])
        order = keys.argsort(kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        if not len(keys):
            return parts[0]
        count = np.concatenate([one.count for one in parts])[order]
        mark = np.concatenate([one.mark for one in parts])[order]
        size = np.concatenate([one.size for one in parts])[order]
        return cls(
            keys[starts],
            np.add.reduceat(count, starts, axis=0),
            np.add.reduceat(mark, starts),
            size[starts],
            sum(one.error for one in parts),
        )

    def bounded(self, most: int) -> Tally:
        """At most `most` runs: those in the fewest rows are dropped, and `error` grows by what they had."""
        if len(self.key) <= most:
            return self
        rows = self.count.sum(1)
        bar = int(np.partition(rows, len(rows) - most // 2)[len(rows) - most // 2])
        keep = rows > bar
        return Tally(self.key[keep], self.count[keep], self.mark[keep], self.size[keep], self.error + bar)

    def commonest(self, most: int) -> Array:
        """Keys of the words that stand in the most rows, at most so many [W] uint64, ascending."""
        single = np.flatnonzero(self.size == 1)
        rows = self.count[single].sum(1)
        found: Array = np.sort(self.key[single[(-rows).argsort(kind="stable")[:most]]])
        return found

    def __getitem__(self, index: Array) -> Tally:
        return Tally(self.key[index], self.count[index], self.mark[index], self.size[index], self.error)


def held(keys: Array, known: Array) -> Array:
    """Where each of the keys [N] stands in `known` [M], ascending; -1 where it does not."""
    if not len(known):
        return np.full(len(keys), -1)
    spot = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return np.where(known[spot] == keys, spot, -1)


def standing(words: Words, key: Array, size: Array) -> Array:
    """Which of P runs of words, by key [P] uint64 and size [P], stand in each text [B, P] bool."""
    out = np.zeros((len(words.words), len(key)), dtype=bool)
    for length in np.unique(size[size > 0]).tolist():
        mine = np.flatnonzero(size == length)
        known, back = np.unique(key[mine], return_inverse=True)
        runs, at = words.runs(length)
        which = held(runs, known)
        seen = np.zeros((len(words.words), len(known)), dtype=bool)
        seen[words.row[at[which >= 0]], which[which >= 0]] = True
        out[:, mine] = seen[:, back]
    return out
