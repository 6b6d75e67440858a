"""Texts, names and pictures as people write them into columns, drawn at random."""

from __future__ import annotations

import random
import uuid

import pyarrow as pa
import pyarrow.parquet as pq

WORDS = (
    *("the", "of", "a", "film", "plot", "was", "dull", "bright", "long", "slow", "warm", "cold"),
    *("night", "music", "house", "people", "said", "never", "again"),
)


def sentences(rows, *, words=12, seed=0):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(words - 3, words + 3))) for _ in range(rows)]


def names(rows, *, seed=0):
    draw = random.Random(seed)
    return [f"{draw.choice(WORDS)} {draw.choice(WORDS)}{draw.randrange(9999)}" for _ in range(rows)]


def kinds(rows, *among, seed=0):
    draw = random.Random(seed)
    return [draw.choice(among or ("red", "green", "blue")) for _ in range(rows)]


def measures(rows, *, seed=0):
    draw = random.Random(seed)
    return [draw.gauss(0, 1) for _ in range(rows)]


def counts(rows, *, seed=0):
    draw = random.Random(seed)
    return [draw.randrange(50) for _ in range(rows)]


def uuids(rows, *, seed=0):
    draw = random.Random(seed)
    return [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(rows)]


def parquet(place, /, *, groups=1 << 20, **columns):
    """A file of these columns, as open_dataset takes it."""
    pq.write_table(pa.table(columns), place, row_group_size=groups)
    return [str(place)]
