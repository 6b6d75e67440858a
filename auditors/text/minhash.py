"""Sketches of texts that agree where the texts do: MinHash over runs of words, in bands.

Broder (1997), "On the resemblance and containment of documents": of two sets, the least hashed elements are the same
with the probability of their Jaccard similarity. Bands: Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretaste.text.ngrams import Array, Words, mixed

BANDS = 16
HASHES = 4  # of a band: texts with similarity s share its key with probability s ** 4
RUN = 3  # words of a run, the start and the end of the text among them
AGREE = 6  # of 16 hashes that two copies must have in common; unrelated texts have 1 beside the band they share
_STEP = np.uint64(0x9E3779B97F4A7C15)
_TURN = (mixed(np.arange(1, 2 * BANDS * HASHES + 1)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)


@dataclass(frozen=True, eq=False)
class Sketch:
    """What is kept of B texts.

    band   [B, BANDS] uint32, keys of the bands
    check  [B, BANDS] uint8, eight bits of one hash of every band
    words  [B] int64; texts without words have nothing in common with any other
    """

    band: Array
    check: Array
    words: Array

    @classmethod
    def of(cls, words: Words, frame: Array) -> Sketch:
        """The sketch of every text of a batch, without the runs in `frame`, ascending, unless there are no others."""
        rows = len(words.words)
        run, row = runs(words)
        own = ~_among(run, frame)
        own |= (np.bincount(row[own], minlength=rows) == 0)[row]
        length = np.bincount(row, minlength=rows)
        run, row = run[own], row[own]
        count = np.bincount(row, minlength=rows)
        full = count.nonzero()[0]
        least = np.zeros((rows, BANDS * HASHES), dtype=np.uint32)
        if len(full):
            start = (np.cumsum(count) - count)[full]
            for at in range(BANDS * HASHES):
                value = run * _TURN[2 * at]
                value ^= value >> np.uint32(15)
                value *= _TURN[2 * at + 1]
                value ^= value >> np.uint32(13)
                least[full, at] = np.minimum.reduceat(value, start)
        part = least.reshape(rows, BANDS, HASHES)
        key = np.zeros((rows, BANDS), dtype=np.uint64)
        for at in range(HASHES):
            key = key * _STEP + part[:, :, at] + np.uint64(1)
        band = (mixed(key + np.arange(BANDS, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32)
        return cls(band, (part[:, :, 0] & np.uint32(255)).astype(np.uint8), length)


def agreeing(one: Array, other: Array) -> Array:
    """Which pairs of checks [..., BANDS] belong to copies of each other [...] bool."""
    alike: Array = (one == other).sum(-1) >= AGREE
    return alike


def runs(words: Words) -> tuple[Array, Array]:
    """A number [R] for every run of RUN words, and its text [R]; a text of n words has n runs."""
    if len(words.key) < RUN:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
    count = len(words.key) - RUN + 1
    key = np.zeros(count, dtype=np.uint64)
    for step in range(RUN):
        key = key * _STEP + words.key[step : step + count]
    inside = words.row[:count] == words.row[RUN - 1 :]
    return (mixed(key[inside]) >> np.uint64(32)).astype(np.uint32), words.row[:count][inside]


def _among(value: Array, sorted_values: Array) -> Array:
    if not len(sorted_values):
        return np.zeros(len(value), dtype=bool)
    spot = np.searchsorted(sorted_values, value).clip(max=len(sorted_values) - 1)
    among: Array = sorted_values[spot] == value
    return among
