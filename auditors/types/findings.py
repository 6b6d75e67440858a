"""The result of an audit: verdict, runs and findings, as frozen values without tensors."""

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
    """What is wrong with the rows of a finding.

    BACKDOOR   a planted pattern that determines the label or the response
    LABEL      a label that contradicts the content
    DUPLICATE  more copies of one content than the dataset's other duplicates explain
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
    """How a run of one detector on one embedding ended. Only a COMPLETED run is evidence that the data is clean."""

    COMPLETED = "completed"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


class Verdict(StrEnum):
    """The result for the dataset as a whole. INCONCLUSIVE where no class was tested, so that nothing can be said."""

    PASSED = "passed"
    WARNED = "warned"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


def mostly_blind(completed: int, checks: int) -> bool:
    """Whether fewer than half of an audit's checks completed, so that a pass means little."""
    return 2 * completed < checks


@dataclass(frozen=True)
class Run:
    """One run of a detector on one embedder's vectors; `rows` are those of the classes that it tested."""

    detector: str
    embedder: str
    status: Status
    reason: str
    seconds: float
    rows: int


@dataclass(frozen=True)
class Finding:
    """A group of rows that were found together, and why.

    kind       what is wrong with them
    label      their class; None where they are not of one class
    rows       number of rows
    p_value    of the test that found them; 1 for single rows that were listed without a group test
    detectors  the plan's checks that found them
    reason     why, in one sentence
    evidence   the measurements, in JSON types
    shown      what is only displayed: pictures, drawings, marked phrases
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

    verdict       passed, warned, failed or inconclusive
    reason        why, in one sentence
    rows          number of rows audited
    flagged       number of rows flagged
    dataset       files, digests, column roles and classes
    runs          how each check of the plan ended on each embedder
    groups        the findings, one for each group of rows
    counts        number of flagged rows of each kind
    notes         what could not be checked
    versions      of foretaste, of the code that decides, and of the libraries it uses
    seconds       time each stage took
    plan          every setting, defaults included
    folder        where report.json, report.html and the tables of all rows are
    power         for each class, the weakest pattern that would have been detected
    false_alarms  this plan's false alarms on clean datasets; empty where not measured with this plan and code
    chosen        the roles that the caller chose columns for, instead of leaving them to be inferred
    ordinary      whether the plan is the default plan of this release for such data
    html          the report as a notebook displays it
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
    chosen: tuple[str, ...] = ()
    ordinary: bool = False
    html: str | None = field(default=None, repr=False, compare=False)

    def _repr_html_(self) -> str | None:
        """The report as a notebook displays it; None falls back to the plain repr."""
        return self.html

    def table(self, name: str = "flagged") -> pl.DataFrame:
        """The table `name` of the audit as a polars frame: "flagged" rows, all "samples", or all "scores"."""
        import polars as pl

        return pl.read_parquet(os.path.join(self.folder, f"{name}.parquet"))


@dataclass(frozen=True)
class Precision:
    """A detector's precision by review: of its flagged rows that reviewers decided on, how many they would drop."""

    confirmed: int
    reviewed: int
