"""What an audit came to: verdict, runs and findings, as frozen values without tensors."""

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
    """What a finding says is wrong with its rows.

    BACKDOOR   a planted pattern that decides something: the label, or the response
    LABEL      a label that the content contradicts
    DUPLICATE  one content in more rows than the dataset's own duplicates explain
    OUTLIER    rows unlike all others
    INTEGRITY  rows that cannot be read
    """

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


def mostly_blind(completed: int, checks: int) -> bool:
    """Whether so few of an audit's checks could run that a pass says little."""
    return 2 * completed < checks


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

    kind       what is wrong with them
    label      their class; None for rows of no one class
    rows       how many they are
    p_value    of the test that found them; 1 for single rows that were listed without one
    detectors  the plan's checks that saw them
    reason     why, in a sentence
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
    """The result of an audit.

    verdict       passed, warned or failed
    reason        of the verdict, in a sentence
    rows          how many rows were audited
    flagged       how many of them are flagged
    dataset       files, digests, roles of columns and classes
    runs          how each check of the plan ended on each embedder
    groups        what was found
    counts        flagged rows of each kind
    notes         what could not be looked at
    versions      of foretaste, of the code that decides, and of the libraries beneath
    seconds       by stage
    plan          with every default spelt out
    folder        where report.json, report.html and the tables of all rows are
    power         how weak a pattern could have been found, by class
    false_alarms  what this plan made of clean data; empty where that was not measured on this code
    html          how a notebook shows it
    """

    verdict: Verdict
    reason: str
    rows: int
    flagged: int
    dataset: Dataset
    runs: tuple[Run, ...]
    groups: tuple[Finding, ...]
    counts: Mapping[str, int]
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    seconds: Mapping[str, float]
    plan: Mapping[str, Any]
    folder: str
    power: Mapping[str, Any] = field(default_factory=dict)
    false_alarms: Mapping[str, Any] = field(default_factory=dict)
    html: str | None = field(default=None, repr=False, compare=False)

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
