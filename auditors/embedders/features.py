"""Table rows as vectors: numbers as normal scores of their ranks, strings one-hot encoded.

The fit consists of counts only, so it is bitwise independent of row order and sharding.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import embedder
from foretaste.errors import NotApplicable, PlanError
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe

BUCKETS = 1 << 16  # distinct numbers counted per column: a megabyte
DISTINCT = 1 << 17  # distinct strings counted per column; a column with more holds identifiers, not categories
PREFIX = 128  # bytes of a string that are used
SHOWN = 12  # columns of a message


@embedder("features")
@dataclass(frozen=True, kw_only=True)
class Features:
    """Table columns: numbers and dates as normal scores of their ranks, strings as categories.

    rows    rows in which a string must occur for a dimension of its own; rarer ones share the column's "other"
    values  strings of a column with a dimension of their own, at most: the most frequent

    A number becomes the normal quantile of its mid-rank, at unit variance over the column (van der Waerden 1952), which
    makes units and outliers irrelevant: `capital_gain` is 0 in 92 % of the rows and at most 99999. A missing, NaN or
    infinite number is set to the mean and marked in a further dimension. The expected squared distance of two rows is 2
    in a number and 2 in a differing string, so that neither kind of column dominates.

    Constant columns, strings that hardly repeat and columns of other types are dropped; the report says why.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.FEATURES})
    plain: ClassVar[bool] = True

    rows: int = 10
    values: int = 64

    def __post_init__(self) -> None:
        if self.rows < 1 or self.values < 1:
            raise PlanError(f"features needs rows and values of at least 1, got {self}")

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> FeaturesEncoder:  # noqa: ARG002
        numbers: dict[str, Numbers] = {}
        strings: dict[str, Strings] = {}
        dropped: dict[str, str] = {}
        for payload in payloads:
            for name in dataset.roles.payload:
                column = payload.columns[name]
                if is_number(column.type):
                    numbers[name] = numbers.get(name, Numbers()) + Numbers.of(column)
                elif is_string(column.type):
                    strings[name] = strings.get(name, Strings()) + Strings.of(column)
                else:
                    dropped[name] = f"its type {column.type} is neither a number, a date nor a string"
        learned: dict[str, Score | OneHot | str] = {name: counts.score() for name, counts in numbers.items()}
        learned |= {name: counts.one_hot(self.rows, self.values) for name, counts in strings.items()}
        columns: dict[str, Score | OneHot] = {}
        for name in dataset.roles.payload:
            match learned.get(name, "no rows"):
                case str() as reason:
                    dropped.setdefault(name, reason)
                case column:
                    columns[name] = column
        if not columns:
            reasons = [f"{name!r}: {reason}" for name, reason in dropped.items()]
            more = f"; and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
            raise NotApplicable(f"no feature column tells rows apart ({'; '.join(reasons[:SHOWN])}{more})")
        return FeaturesEncoder(columns, dropped)


@dataclass(frozen=True, eq=False)
class FeaturesEncoder:
    """`columns`: the encoding of each column kept, by name; `dropped`: why each other column was dropped."""

    columns: Mapping[str, Score | OneHot]
    dropped: Mapping[str, str]

    @property
    def dim(self) -> int:
        return len(self.names)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each dimension."""
        return tuple(f"{name}{part}" for name, column in self.columns.items() for part in column.names)

    @cached_property
    def digest(self) -> str:
        return recipe("features", 1, {name: column.digest for name, column in self.columns.items()}, list(self.columns))

    def embed(self, payload: Payload) -> Batch:
        parts = [column.vectors(payload.columns[name]) for name, column in self.columns.items()]
        return Batch(payload.row, payload.label, torch.cat(parts, 1))


@dataclass(frozen=True, eq=False)
class Numbers:
    """Counts of a column's numbers in at most BUCKETS buckets.

    Numbers that differ only in the last `shift` bits share a bucket. `shift` is the smallest that leaves at most
    BUCKETS buckets, so it depends only on the set of numbers, and `+` is associative and commutative with identity
    Numbers(): the uniform collapse of UDDSketch (Epicoco, Melle, Cafaro, Pulimeno & Morleo 2020), exact up to 65 536
    distinct numbers.
    """

    key: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # [M] ascending
    rows: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int64))  # [M]
    missing: int = 0
    shift: int = 0

    @classmethod
    def of(cls, column: pa.Array) -> Numbers:
        value = finite(column)
        present = value[~value.isnan()]
        return cls() + cls(ordered(present), torch.ones_like(present, dtype=torch.int64), len(value) - len(present))

    def __add__(self, other: Numbers) -> Numbers:
        shift = max(self.shift, other.shift)
        key = torch.cat([self.key >> shift - self.shift, other.key >> shift - other.shift])
        rows = torch.cat([self.rows, other.rows])
        key, order = key.sort()
        key, rows = _summed(key, rows[order])
        if len(key) > BUCKETS:
            # Adjacent keys stay distinct up to the highest bit in which they differ; BUCKETS - 1 pairs may stay so.
            differing = key[1:] ^ key[:-1]
            differing[differing < 0] = torch.iinfo(torch.int64).max  # the one pair around 0 differs at any shift
            more = int(differing.kthvalue(len(differing) - BUCKETS + 1).values).bit_length()
            shift += more
            key, rows = _summed(key >> more, rows)
        return Numbers(key, rows, self.missing + other.missing, shift)

    def score(self) -> Score | str:
        if len(self.key) > 1 or (len(self.key) == 1 and self.missing):
            return Score(self)
        return "constant" if len(self.key) else "holds no finite number"


@dataclass(frozen=True, eq=False)
class Score:
    """A number as one dimension, if it varies, and one that marks missing values, if there were any in the fit."""

    counts: Numbers

    @property
    def names(self) -> tuple[str, ...]:
        return ("",) * (len(self.counts.key) > 1) + (" missing",) * (self.counts.missing > 0)

    @property
    def digest(self) -> str:
        table = torch.stack([self.counts.key, self.counts.rows]).numpy().tobytes()
        return recipe(hashlib.sha256(table).hexdigest(), self.counts.shift, self.counts.missing > 0)

    @cached_property
    def scores(self) -> Tensor:
        return normal_scores(self.counts.rows).float()  # [M]

    def vectors(self, column: pa.Array) -> Tensor:
        value = finite(column)
        missing = value.isnan()
        # A number that the fit has not seen gets the score of the next larger one.
        place = torch.searchsorted(self.counts.key, ordered(value) >> self.counts.shift)
        score = self.scores[place.clamp(max=len(self.scores) - 1)].masked_fill(missing, 0)
        parts = {"": score, " missing": missing.float()}
        return torch.stack([parts[name] for name in self.names], 1)  # [B, 1 or 2]


@dataclass(frozen=True)
class Strings:
    """Counts of a column's strings; `rows` is None if there are more than DISTINCT of them.

    `+` is associative and commutative with identity Strings().
    """

    rows: Counter[bytes] | None = field(default_factory=Counter)
    missing: int = 0

    @classmethod
    def of(cls, column: pa.Array) -> Strings:
        counted = pc.value_counts(prefixes(column).drop_null())
        rows = Counter(dict(zip(*(part.to_pylist() for part in counted.flatten()), strict=True)))
        return cls() + cls(rows, column.null_count)

    def __add__(self, other: Strings) -> Strings:
        rows = None if self.rows is None or other.rows is None else self.rows + other.rows
        return Strings(None if rows is None or len(rows) > DISTINCT else rows, self.missing + other.missing)

    def one_hot(self, rows: int, values: int) -> OneHot | str:
        if self.rows is None:
            return f"more than {DISTINCT} different strings"
        ranked = sorted(self.rows.items(), key=lambda item: (-item[1], item[0]))
        kept = tuple(value for value, times in ranked[:values] if times >= rows)
        if not kept:
            return f"no string in {rows} rows"
        column = OneHot(kept, other=len(kept) < len(ranked), missing=self.missing > 0)
        return column if len(column.names) > 1 else "constant"


@dataclass(frozen=True)
class OneHot:
    """A string as one dimension per value kept, plus "other" and "missing" where the fit saw such values."""

    kept: tuple[bytes, ...]
    other: bool
    missing: bool

    @property
    def names(self) -> tuple[str, ...]:
        kept = (f" = {value.decode(errors='replace')}" for value in self.kept)
        return (*kept, *([" other"] if self.other else []), *([" missing"] if self.missing else []))

    @property
    def digest(self) -> str:
        return recipe([value.hex() for value in self.kept], self.other, self.missing)

    def vectors(self, column: pa.Array) -> Tensor:
        known = pc.index_in(prefixes(column), pa.array(self.kept, pa.large_binary()))
        place = torch.from_numpy(np.array(known.fill_null(len(self.kept)))).long()
        missing = torch.from_numpy(np.array(column.is_null()))
        place[missing] = len(self.kept) + 1
        hot = torch.nn.functional.one_hot(place, len(self.kept) + 2).float()
        return hot[:, [*range(len(self.kept)), *([-2] if self.other else []), *([-1] if self.missing else [])]]


def is_number(kind: pa.DataType) -> bool:
    """Whether a column of this type is numeric; dates and booleans are."""
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_temporal)
    return any(test(kind) for test in tests) and not pa.types.is_interval(kind)


def is_string(kind: pa.DataType) -> bool:
    """Whether a column of this type holds strings."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in tests)


def finite(column: pa.Array) -> Tensor:
    """The numbers of a column, [B] float64; NaN where one is missing or infinite."""
    if pa.types.is_temporal(column.type):
        column = column.view(pa.int64() if column.type.bit_width == 64 else pa.int32())
    value = torch.from_numpy(np.array(column.cast(pa.float64(), safe=False).fill_null(np.nan)))
    return torch.where(value.isfinite(), value, torch.nan)


def ordered(value: Tensor) -> Tensor:
    """int64 codes in the order of the float64 numbers; their leading bits are sign, exponent and leading mantissa."""
    bits = (value + 0.0).view(torch.int64)  # + 0.0 turns -0.0 into 0.0
    return bits ^ ((bits >> 63) & torch.iinfo(torch.int64).max)


def prefixes(column: pa.Array) -> pa.Array:
    """The first PREFIX bytes of a column's strings, not necessarily valid UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    return pc.binary_slice(column.cast(pa.large_binary()), 0, PREFIX)


def normal_scores(rows: Tensor) -> Tensor:
    """Normal scores of the mid-ranks of M ascending values that occur `rows` [M] times, standardised."""
    total = rows.sum()
    score: Tensor = torch.special.ndtri((2 * rows.cumsum(0) - rows).double() / (2 * total))  # [M]
    score = score - (rows * score).sum() / total
    return score / ((rows * score**2).sum() / total).sqrt() if len(score) > 1 else score


def _summed(key: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct ascending keys, with the sum of the rows of each."""
    key, place = torch.unique_consecutive(key, return_inverse=True)
    return key, torch.zeros_like(key).index_add(0, place, rows)
