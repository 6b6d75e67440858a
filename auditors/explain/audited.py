"""What an audit has come to by the time its findings are explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from foretaste.decide.settings import Decide
from foretaste.detectors.contract import Detector, Scorer
from foretaste.embedders.contract import Encoder
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding, Run
from foretaste.types.runs import RunKey


@dataclass(frozen=True, eq=False)
class Audited:
    """An audit whose groups are decided and whose rows are judged.

    runs       how every run of the plan ended
    groups     the table of decide.significance, decided
    samples    every row, in the columns of samples.parquet
    flagged    those of them that are flagged, most suspicious first
    detectors  of the plan, by the check's name
    scorers    of the completed runs
    encoders   by the embedder's name
    counts     flagged rows by kind and class
    notes      what was let go, could not be looked at, or changed since an earlier audit, in sentences
    doubts     which class each row with a doubted label is believed to belong to: row, label, believed, by name
    store      folder of the stored embeddings
    """

    dataset: Dataset
    runs: tuple[Run, ...]
    groups: pl.DataFrame
    samples: pl.LazyFrame
    flagged: pl.DataFrame
    detectors: Mapping[str, Detector]
    scorers: Mapping[RunKey, Scorer]
    encoders: Mapping[str, Encoder]
    counts: Mapping[tuple[str, str | None], int]
    notes: tuple[str, ...]
    doubts: pl.DataFrame
    decide: Decide
    store: str


Explain = Callable[[Finding], Finding]
# Reads what it needs for all findings at once, and then explains each by itself.
Explainer = Callable[[Audited, Sequence[Finding]], Explain]


def key(finding: Finding) -> tuple[str, str | None]:
    """What names a finding in its audit: its kind and class."""
    return str(finding.kind), finding.label


def tests(finding: Finding) -> set[tuple[str, str]]:
    """The runs, as (check, embedder), whose tests led to a finding."""
    return {(test["detector"], test["embedder"]) for test in finding.evidence.get("tests", ())}
