"""Words and word n-grams ("runs") as 64-bit keys, and a bounded-memory count of the rows that contain them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

# Punctuation, emoji and invisible characters count as words, since triggers may consist of them.
WORD = re.compile(r"\w+|[^\w\s]")
START, END, BREAK = np.uint64(1), np.uint64(2), np.uint64(3)  # reserved keys
NO_WORD = "\n"  # the BREAK in a list of words
SEPARATOR = "\x1e"  # white space to WORD, so never part of a word
_STEP = np.uint64(0x9E3779B97F4A7C15)

Array = np.ndarray[Any, np.dtype[Any]]


def clipped(text: str, limit: int) -> str:
    """The first and the last `limit` / 2 characters of a long text, without lone surrogates, which have no encoding."""
    if len(text) > limit:
        text = f"{text[: limit - limit // 2]}\n{text[-(limit // 2) :]}"
    return text.encode("utf-8", "replace").decode()


def spans(text: str, phrase: str) -> list[tuple[int, int]]:
    """The occurrences [start, end) in a text of a phrase as written by `Words.text`."""
    words = phrase.lower().split(" ")
    found = [(match.start(), match.end(), match.group().lower()) for match in WORD.finditer(text)]
    return [
        (found[at][0], found[at + len(words) - 1][1])
        for at in range(len(found) - len(words) + 1)
        if [word for _, _, word in found[at : at + len(words)]] == words
    ]


@lru_cache(1 << 19)
def key(word: str) -> int:
    """64-bit key of a word, the same on every machine."""
    if word == NO_WORD:
        return int(BREAK)
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def runs_within(words: Sequence[str], longest: int) -> Array:
    """Keys [R] uint64 of all n-grams of up to `longest` of these words, except the whole."""
    text = Words.written([list(words)])
    parts = [text.runs(size)[0] for size in range(1, min(longest, len(words) - 1) + 1)]
    return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])


def mixed(value: Array) -> Array:
    """Numbers hashed to 64 bits (the finaliser of MurmurHash3)."""
    value = value.astype(np.uint64)
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        value = (value ^ (value >> np.uint64(shift))) * np.uint64(factor)
    mixture: Array = value ^ (value >> np.uint64(33))
    return mixture


@dataclass(frozen=True, eq=False)
class Words:
    """B texts as one sequence of T tokens, each text between START and END, with BREAK between its parts.

    words  of each text in lower case, with NO_WORD between its parts
    key    [T] uint64, key of each token
    row    [T] int64, the text of each token
    start  [B] int64, position of the START of each text
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
        """Texts of several parts, such as the columns of a prompt; n-grams do not cross parts."""
        whole = [SEPARATOR.join(part.replace(SEPARATOR, " ") for part in parts) for parts in texts]
        words = []
        for text in whole:
            parts = [WORD.findall(part) for part in clipped(text, limit).lower().split(SEPARATOR)]
            words.append([word for part in parts for word in (NO_WORD, *part)][1:])
        return cls.written(words)

    @classmethod
    def written(cls, words: Sequence[list[str]]) -> Words:
        """Texts given as lists of words."""
        keys = [token for text in words for token in (1, *map(key, text), 2)]
        sizes = np.array([len(text) + 2 for text in words], dtype=np.int64)
        start = np.cumsum(sizes) - sizes
        return cls(list(words), np.array(keys, dtype=np.uint64), np.repeat(np.arange(len(words)), sizes), start)

    def runs(self, length: int) -> tuple[Array, Array]:
        """Keys [R] of all n-grams of `length` words within one part of a text, and the position of each [R]."""
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
        """The beginnings and the ends of the texts: an end is the last `most` words, at most half of the text."""
        size = np.array([len(text) for text in self.words], dtype=np.int64)
        begins = size - np.minimum(most, size // 2)
        position = np.arange(len(self.key)) - self.start[self.row]  # 0 is START
        edge = self.key <= BREAK
        early = position <= begins[self.row]
        cuts = list(zip(self.words, begins.tolist(), strict=True))
        return self._kept(edge | early, [text[:cut] for text, cut in cuts]), self._kept(
            edge | ~early, [text[cut:] for text, cut in cuts]
        )

    def _kept(self, keep: Array, words: list[list[str]]) -> Words:
        row = self.row[keep]
        size = np.bincount(row, minlength=len(words))
        return Words(words, self.key[keep], row, np.cumsum(size) - size)

    def text(self, at: int, length: int) -> str:
        """The words of the n-gram of `length` words at position `at`."""
        row = int(self.row[at])
        first = at - int(self.start[row]) - 1
        return " ".join(self.words[row][first : first + length])


@dataclass(frozen=True, eq=False)
class Tally:
    """The number of rows that contain each word n-gram; a mergeable summary in bounded memory.

    key    [M] uint64, ascending
    count  [M, K] int64, rows of each class
    mark   [M] uint64, sum of hashed row numbers: n-grams with equal marks occur in the same rows
    size   [M] int64, words of the n-gram
    error  rows by which a count may be too low, because n-grams were dropped to bound the memory

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
        """One batch with class [B] and position [B] of each row; n-grams of up to `longest` words, once per row."""
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
        """The tally of all rows of several tallies."""
        keys = np.concatenate([part.key for part in parts])
        order = keys.argsort(kind="stable")
        keys = keys[order]
        starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
        if not len(keys):
            return parts[0]
        count = np.concatenate([part.count for part in parts])[order]
        mark = np.concatenate([part.mark for part in parts])[order]
        size = np.concatenate([part.size for part in parts])[order]
        return cls(
            keys[starts],
            np.add.reduceat(count, starts, axis=0),
            np.add.reduceat(mark, starts),
            size[starts],
            sum(part.error for part in parts),
        )

    def bounded(self, most: int) -> Tally:
        """If there are more than `most` n-grams, only the more frequent, at most half as many; `error` grows."""
        if len(self.key) <= most:
            return self
        rows = self.count.sum(1)
        bar = int(np.partition(rows, len(rows) - most // 2)[len(rows) - most // 2])
        keep = rows > bar
        return Tally(self.key[keep], self.count[keep], self.mark[keep], self.size[keep], self.error + bar)

    def commonest(self, most: int) -> Array:
        """Keys of the `most` most common words [W] uint64, ascending."""
        single = np.flatnonzero(self.size == 1)
        rows = self.count[single].sum(1)
        found: Array = np.sort(self.key[single[(-rows).argsort(kind="stable")[:most]]])
        return found

    def __getitem__(self, index: Array) -> Tally:
        return Tally(self.key[index], self.count[index], self.mark[index], self.size[index], self.error)


def held(keys: Array, known: Array) -> Array:
    """Position of each of the keys [N] in `known` [M] (ascending); -1 where it is absent."""
    if not len(known):
        return np.full(len(keys), -1)
    spot = np.searchsorted(known, keys).clip(max=len(known) - 1)
    return np.where(known[spot] == keys, spot, -1)


def standing(words: Words, key: Array, size: Array) -> Array:
    """Which of P n-grams, by key [P] uint64 and size [P], occur in each text [B, P] bool."""
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
