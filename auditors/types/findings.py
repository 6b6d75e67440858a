"""Frozen values without tensors: what travels between the rooms and into the report."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from foretaste.types.dataset import Dataset

if TYPE_CHECKING:
    import polars as pl


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
class Run:
    """One detector on one embedder's vectors."""

    detector: str
    embedder: str
    status: Status
    reason: str
    seconds: float


@dataclass(frozen=True)
class Finding:
    """Rows that were found together, and why.

    evidence  what was measured and found out of them, in JSON types
    shown     what only a person looks at: pictures, drawings, marks
    """

    kind: Kind
    label: str | None
    rows: int
    p_value: float
    detectors: tuple[str, ...]
    reason: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    shown: Mapping[str, Any] = field(default_factory=dict)


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
    html: str | None = field(default=None, repr=False, compare=False)  # for a notebook

    def _repr_html_(self) -> str | None:
        """How a notebook shows it; None leaves it at the plain repr."""
        return self.html

    def table(self, name: str = "flagged") -> pl.DataFrame:
        """The flagged rows, or all "samples" or "scores" of the audit, as a polars frame."""
        import polars as pl

        return pl.read_parquet(os.path.join(self.folder, f"{name}.parquet"))


@dataclass(frozen=True)
class Precision:
    """Of the rows that a detector accused and people settled, how many they would drop."""

    confirmed: int
    reviewed: int
