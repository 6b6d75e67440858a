"""MinHash sketches of texts over word n-grams, with locality-sensitive hashing in bands.

Broder (1997), "On the resemblance and containment of documents": the minimal hashes of two sets are equal with
probability of their Jaccard similarity. Bands: Leskovec, Rajaraman & Ullman, "Mining of Massive Datasets".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Words, mixed

_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class MinHash:
    """How texts are sketched, and when two of them count as near copies.

    run     words of an n-gram; the start and the end of the text count as words
    bands   LSH bands, each with one key per text; texts that share a key are compared
    hashes  MinHash values in a band: texts of Jaccard similarity s share its key with probability s ** hashes
    agree   bands, of all `bands`, whose first MinHash value two texts must share to be near copies
    """

    run: int = threshold(3, "not tuned")
    bands: int = threshold(16, "with 4 hashes each, two in three pairs that share half of their n-grams share a band")
    hashes: int = threshold(4, "not tuned")
    agree: int = threshold(
        6,
        "of 16: reached by nine in ten pairs that share half of their n-grams, by hardly any that share a tenth; "
        "unrelated texts agree in 1 besides the band they share",
    )

    def __post_init__(self) -> None:
        if not 1 <= self.agree <= self.bands <= 256 or min(self.run, self.hashes) < 1:  # a key has a byte for its band
            raise PlanError(f"minhash needs run, hashes, agree ≥ 1 and agree ≤ bands ≤ 256, got {self}")


@dataclass(frozen=True, eq=False)
class Sketch:
    """The sketches of B texts.

    band   [B, bands] uint32, keys of the bands
    check  [B, bands] uint8, eight bits of the first MinHash value of each band
    words  [B] int64, number of words; a text without words matches no other
    """

    band: Array
    check: Array
    words: Array

    @classmethod
    def of(cls, words: Words, frame: Array, minhash: MinHash) -> Sketch:
        """The sketches of a batch, without the boilerplate n-grams `frame` (ascending) unless a text has no others."""
        rows, bands, hashes = len(words.words), minhash.bands, minhash.bands * minhash.hashes
        run, row = runs(words, minhash.run)
        own = ~_among(run, frame)
        own |= (np.bincount(row[own], minlength=rows) == 0)[row]
        length = np.bincount(row, minlength=rows)
        length = np.where(length > 0, length + minhash.run - 3, 0)  # words, without START and END
        run, row = run[own], row[own]
        count = np.bincount(row, minlength=rows)
        full = count.nonzero()[0]
        least = np.zeros((rows, hashes), dtype=np.uint32)
        if len(full):
            start = (np.cumsum(count) - count)[full]
            turn = (mixed(np.arange(1, 2 * hashes + 1)) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
            for at in range(hashes):
                value = run * turn[2 * at]
                value ^= value >> np.uint32(15)
                value *= turn[2 * at + 1]
                value ^= value >> np.uint32(13)
                least[full, at] = np.minimum.reduceat(value, start)
        part = least.reshape(rows, bands, minhash.hashes)
        key = np.zeros((rows, bands), dtype=np.uint64)
        for at in range(minhash.hashes):
            key = key * _STEP + part[:, :, at] + np.uint64(1)
        band = (mixed(key + np.arange(bands, dtype=np.uint64)) >> np.uint64(32)).astype(np.uint32)
        return cls(band, (part[:, :, 0] & np.uint32(255)).astype(np.uint8), length)


def agreeing(left: Array, right: Array, minhash: MinHash) -> Array:
    """Which pairs of checks [..., bands] belong to near copies [...] bool."""
    alike: Array = (left == right).sum(-1) >= minhash.agree
    return alike


def runs(words: Words, length: int) -> tuple[Array, Array]:
    """Hash [R] of every n-gram of `length` words, START and END included, and the position of its text [R]."""
    if len(words.key) < length:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int64)
    count = len(words.key) - length + 1
    key = np.zeros(count, dtype=np.uint64)
    for step in range(length):
        key = key * _STEP + words.key[step : step + count]
    inside = words.row[:count] == words.row[length - 1 :]
    return (mixed(key[inside]) >> np.uint64(32)).astype(np.uint32), words.row[:count][inside]


def _among(value: Array, sorted_values: Array) -> Array:
    if not len(sorted_values):
        return np.zeros(len(value), dtype=bool)
    spot = np.searchsorted(sorted_values, value).clip(max=len(sorted_values) - 1)
    among: Array = sorted_values[spot] == value
    return among
