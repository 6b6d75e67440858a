"""The verdict on the dataset as a whole, from findings and runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from foretaste.decide.settings import Decide
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding, Kind, Run, Status, Verdict, mostly_blind


def borderline(groups: pl.DataFrame, dataset: Dataset) -> tuple[str, ...]:
    """A sentence for each watched class in which nothing is suspicious."""
    accused = groups.filter(pl.col("suspicious") & (pl.col("kind") != str(Kind.LABEL)))["label"]
    odd = groups.filter(
        pl.col("watched") & (pl.col("kind") != str(Kind.LABEL)) & ~pl.col("label").is_in(accused.implode())
    )
    out = []
    for part in odd.sort("q_value", "detector", "embedder").partition_by("label", maintain_order=True):
        label = int(part["label"][0])
        who = f"class {dataset.classes[label]}" if dataset.classes and label >= 0 else "the dataset"
        runs = ", ".join(f"{run['detector']} on {run['embedder']}" for run in part.iter_rows(named=True))
        chance = f"chance alone does so in {part['q_value'][0]:.0%} of clean datasets"
        out.append(f"{who} is worth a look: some of its rows stand apart ({runs}), but {chance}, so none is accused")
    return tuple(out)


def verdict(
    groups: Sequence[Finding],
    runs: Sequence[Run],
    *,
    odd: Sequence[str],
    counts: Mapping[str, int],
    rows: int,
    tested: int,
    decide: Decide,
) -> tuple[Verdict, str]:
    """The verdict and its reason in one sentence. Only completed runs can clear the data, and only if they tested any.

    tested  the most rows that any run tested for an attack
    """
    completed = [run for run in runs if run.status is Status.COMPLETED]
    failing = [group.reason for group in groups if group.kind.fails_audit]
    failing += [
        f"{run.detector} on {run.embedder} did not complete, so nothing can be said: {run.reason}"
        for run in runs
        if run.status is Status.FAILED
    ]
    wrong, unread = counts.get(Kind.LABEL, 0), counts.get(Kind.INTEGRITY, 0)
    warning = [*odd, *(group.reason for group in groups if group.kind is Kind.LABEL and group.p_value < 1)]
    if unread:
        warning.append(f"{unread:,} of {rows:,} rows cannot be read and were not looked at")
    if wrong > decide.label_share * rows:
        warning.append(f"{wrong:,} of {rows:,} labels look wrong; nothing organised was found")
    if failing:
        return Verdict.FAILED, failing[0]
    if not completed:
        return Verdict.INCONCLUSIVE, "no detector applies to this dataset, so nothing can be said of it"
    if not tested:
        return Verdict.INCONCLUSIVE, "no class has rows enough to be tested for an attack, so nothing can be said of it"
    if warning:
        return Verdict.WARNED, warning[0]
    none = "the only completed look found no" if len(completed) == 1 else f"none of {len(completed)} looks found a"
    reason = f"{none} suspicious group among {rows:,} rows"
    if mostly_blind(len(completed), len(runs)):
        reason += f", but {len(runs) - len(completed)} of {len(runs)} looks do not apply to this dataset"
    return Verdict.PASSED, reason
