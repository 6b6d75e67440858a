"""Frozen values without tensors: what travels between the rooms and into the report."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


class Modality(StrEnum):
    """What a row's payload is."""

    IMAGE = "image"
    TEXT = "text"
    MESSAGES = "messages"
    PAIR = "pair"  # prompt and response
    FEATURES = "features"
    EMBEDDING = "embedding"


class Kind(StrEnum):
    """What a finding says is wrong with a row."""

    BACKDOOR = "backdoor"
    LABEL = "label"
    DUPLICATE = "duplicate"
    OUTLIER = "outlier"
    INTEGRITY = "integrity"

    @property
    def fails_audit(self) -> bool:
        """Whether a group of this kind fails an audit. Wrong labels and unreadable rows are data quality: they warn."""
        return self not in (Kind.LABEL, Kind.INTEGRITY)


class Status(StrEnum):
    """How a run of one detector on one embedding ended. Only COMPLETED can speak for the data."""

    COMPLETED = "completed"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


class Verdict(StrEnum):
    """What an audit says of a dataset as a whole."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"


def mostly_blind(completed: int, looks: int) -> bool:
    """Whether so few of an audit's looks were possible that a pass says little."""
    return 2 * completed < looks


@dataclass(frozen=True)
class Digest:
    """A digest that names its own recipe: `algorithm` records everything that influences `value`.

    Law: Digest.parse(str(d)) == d.
    """

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        algorithm, _, value = text.rpartition(":")
        return cls(algorithm, value)


def recipe(*parts: Any) -> str:
    """Name of a stored result: 32 hexadecimal digits that depend on every part (str, numbers, frozen dataclasses)."""
    text = json.dumps(parts, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return [type(value).__qualname__, asdict(value)]
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a recipe")


@dataclass(frozen=True)
class Roles:
    """Which columns mean what. `payload` has one column, but for PAIR (prompt, response) and FEATURES (many)."""

    modality: Modality
    payload: tuple[str, ...]
    label: str | None = None
    id: str | None = None
    source: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column an audit reads, each once."""
        named = (*self.payload, self.label, self.id, self.source)
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True)
class File:
    """One Parquet file: `name` is relative to the dataset's root, `path` is what fsspec opens."""

    name: str
    path: str
    rows: int
    size: int  # bytes
    digest: Digest


@dataclass(frozen=True)
class Shard:
    """A range of row groups of one file: the unit of work, of resume and of evidence."""

    file: File
    first_group: int
    groups: tuple[int, ...]  # rows in each row group from first_group on
    first_row: int  # position of the shard's first row over all files in sorted order
    first_row_in_file: int
    digest: Digest

    @property
    def rows(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True)
class Dataset:
    """A dataset whose bytes were read once, digested and whose columns have roles."""

    root: str
    files: tuple[File, ...]
    shards: tuple[Shard, ...]
    roles: Roles
    classes: tuple[str, ...]  # class names in label order; empty without labels
    class_rows: tuple[int, ...]  # rows of each class
    digest: Digest
    id_type: str | None = None

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Schema:
    """What a detector may know of the embeddings before it sees a row."""

    dim: int
    classes: int  # 1 when unlabelled: every row is of class 0
    labelled: bool
    probs: bool  # out-of-fold class probabilities come along
    rows: int


@dataclass(frozen=True)
class Run:
    """One detector on one embedder's vectors."""

    detector: str
    embedder: str
    status: Status
    reason: str
    seconds: float


@dataclass(frozen=True)
class Finding:
    """Rows that were found together, and why."""

    kind: Kind
    label: str | None
    rows: int
    p_value: float
    detectors: tuple[str, ...]
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The result of an audit; `folder` holds the tables of every row."""

    verdict: Verdict
    reason: str
    rows: int
    flagged: int
    dataset: Dataset
    runs: tuple[Run, ...]
    groups: tuple[Finding, ...]
    counts: Mapping[str, int]  # flagged rows of each kind
    notes: tuple[str, ...]  # what could not be looked at
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    plan: Mapping[str, Any]
    folder: str
    power: Mapping[str, Any] = field(default_factory=dict)
    false_alarms: Mapping[str, Any] = field(default_factory=dict)  # of this plan on clean data; empty if not measured

    def _repr_html_(self) -> str | None:
        """How a notebook shows it; None leaves it at the plain repr. The library hangs its own on here."""
        return None

    def table(self, name: str = "flagged") -> pl.DataFrame:
        """The flagged rows, or all "samples" or "scores" of the audit, as a polars frame."""
        import polars as pl

        return pl.read_parquet(os.path.join(self.folder, f"{name}.parquet"))
