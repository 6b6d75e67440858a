"""The state of an audit before its findings are explained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from foretaste.cache import Store
from foretaste.decide.settings import Decide
from foretaste.detectors.contract import Detector, Scorer
from foretaste.embedders.contract import Encoder
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding, Run
from foretaste.types.runs import RunKey


@dataclass(frozen=True, eq=False)
class Audited:
    """An audit after the decision on groups and rows.

    runs       how every run of the plan ended
    groups     the table of significance.significance, after all decisions
    samples    every row, in the columns of samples.parquet
    flagged    the flagged rows, most suspicious first
    detectors  the settings of each check, by its name
    scorers    of the completed runs
    encoders   by the embedder's name
    counts     number of flagged rows by kind and class name
    notes      sentences on what was acquitted, not tested, or changed since an earlier audit
    doubts     the most probable class of each row with a wrong label, by name: row, label, believed
    store      where embeddings are stored
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
    store: Store


Explain = Callable[[Finding], Finding]
# Takes all findings, so that what they need is read once; returns the function that explains one of them.
Explainer = Callable[[Audited, Sequence[Finding]], Explain]


def key(finding: Finding) -> tuple[str, str | None]:
    """The key of a finding in its audit: kind and class."""
    return str(finding.kind), finding.label


def tests(finding: Finding) -> set[tuple[str, str]]:
    """The runs behind a finding, as (check, embedder)."""
    return {(test["detector"], test["embedder"]) for test in finding.evidence.get("tests", ())}
