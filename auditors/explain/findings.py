"""What a report says of a dataset: its findings in sentences, what is worth a look, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from foretaste.decide.significance import STRONGEST
from foretaste.pipeline.plan import Decide
from foretaste.types.findings import Dataset, Finding, Kind, Modality, Run, Status, Verdict, mostly_blind


def findings(
    groups: pl.DataFrame, counts: Mapping[tuple[str, str | None], int], dataset: Dataset
) -> tuple[Finding, ...]:
    """The groups of a report: suspicious ones by kind and class, then scattered wrong labels and unreadable rows.

    `counts` are the flagged rows by kind and class name.
    """
    out = []
    suspicious = groups.filter(pl.col("suspicious"))
    for part in suspicious.sort(*STRONGEST).partition_by("kind", "label", maintain_order=True):
        kind, label = str(part["kind"][0]), int(part["label"][0])
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        # What is suspected of all classes together is counted over all of them.
        everywhere = sum(number for (other, _), number in counts.items() if other == kind)
        rows = counts.get((kind, name), 0) if label >= 0 else everywhere
        told = ("kind", "label", "suspicious", "watched")
        evidence = [{k: v for k, v in row.items() if v is not None and k not in told} for row in part.to_dicts()]
        out.append(
            Finding(
                kind=Kind(kind),
                label=name,
                rows=rows,
                p_value=float(part["q_value"][0]),
                detectors=tuple(part["detector"].unique(maintain_order=True)),
                reason=_because(part, name, rows, dataset),
                evidence={"tests": evidence},
            )
        )
    scattered = sum(rows for (kind, _), rows in counts.items() if kind == Kind.LABEL)
    if scattered:
        whose = "row has a label that a network which never saw it does not believe"
        if scattered > 1:
            whose = "rows have labels that a network which never saw them does not believe"
        reason = f"{scattered:,} single {whose}"
        out.append(Finding(Kind.LABEL, None, scattered, 1.0, ("label-issue",), reason))
    unread = sum(rows for (kind, _), rows in counts.items() if kind == Kind.INTEGRITY)
    if unread:
        reason = f"{unread:,} {'row' if unread == 1 else 'rows'} cannot be read and so could not be looked at"
        out.append(Finding(Kind.INTEGRITY, None, unread, 1.0, (), reason))
    return tuple(out)


def noted(groups: Sequence[Finding], name: str, found: Mapping[tuple[str, str | None], Any]) -> tuple[Finding, ...]:
    """The groups with what was `found` of them, by kind and class, among their evidence under `name`."""
    keys = [(str(one.kind), one.label) for one in groups]
    return tuple(
        replace(one, evidence={**one.evidence, name: found[key]}) if key in found else one
        for one, key in zip(groups, keys, strict=True)
    )


def watched(groups: pl.DataFrame, dataset: Dataset) -> tuple[str, ...]:
    """A sentence for each class that is odd, but not odd enough to accuse its rows, and not already accused."""
    accused = groups.filter(pl.col("suspicious") & (pl.col("kind") != str(Kind.LABEL)))["label"]
    odd = groups.filter(
        pl.col("watched") & (pl.col("kind") != str(Kind.LABEL)) & ~pl.col("label").is_in(accused.implode())
    )
    out = []
    for part in odd.sort("q_value", "detector", "embedder").partition_by("label", maintain_order=True):
        label = int(part["label"][0])
        who = f"class {dataset.classes[label]}" if dataset.classes and label >= 0 else "the dataset"
        looks = ", ".join(f"{one['detector']} on {one['embedder']}" for one in part.iter_rows(named=True))
        chance = f"chance alone does so in {part['q_value'][0]:.0%} of clean datasets"
        out.append(f"{who} is worth a look: some of its rows stand apart ({looks}), but {chance}, so none is accused")
    return tuple(out)


def _because(part: pl.DataFrame, name: str | None, rows: int, dataset: Dataset) -> str:
    """One sentence for a person, from the strongest test."""
    best: dict[str, Any] = part.row(0, named=True)
    told = _apart(best, part, name, rows, dataset)
    if best.get("evidence_arrived") is None:
        return told
    arrived = f"{best['evidence_arrived']} of the {best['evidence_stand_out']} rows that stand out"
    return f"{told}; {arrived} came or changed since the earlier audit"


def _apart(  # noqa: PLR0911
    best: Mapping[str, Any], part: pl.DataFrame, name: str | None, rows: int, dataset: Dataset
) -> str:
    """What sets the rows apart."""
    label = int(best["label"])
    total = dataset.class_rows[label] if dataset.class_rows and label >= 0 else dataset.rows
    who = f"class {name}" if name is not None else "the dataset"
    family = best["family"]
    views = ", ".join(dict.fromkeys(part.filter(pl.col("family") == family)["embedder"]))
    if family == "spectral":
        return (
            f"{rows:,} of {total:,} rows of {who} share a pattern: along one direction ({views}) the class reaches "
            f"{best['evidence_times_farther_out']:.1f} times farther out than the other classes do"
        )
    if family == "contrast":
        doubted = "rows" if label < 0 else f"of {total:,} rows"
        return (
            f"{rows:,} {doubted} of {who} share a pattern ({views}) that goes with labels a network which never saw "
            "them does not believe; other doubted rows do not show it, nor do believed ones"
        )
    if family == "relabelling":
        source = best.get("evidence_source")
        of = "other classes" if source is None else f"class {dataset.classes[int(source)]}"
        return (
            f"{rows:,} of {total:,} rows of {who} stand apart ({views}): about "
            f"{best['evidence_foreign_rows']:,.0f} look like rows of {of} drawn at random, as "
            "flipped labels do; no other has so many"
        )
    if family == "form":
        return (
            f"{rows:,} of {total:,} rows of {who} are written in another form ({views}) than the rest of the class "
            "and than rows that mean what they do, and what they mean contradicts their label"
        )
    if family == "trigger":
        if not dataset.roles.label and dataset.roles.modality is Modality.TEXT:
            return f"{rows} of {total} rows of {who} hold a phrase after which the text is another"
        what = "hold a phrase that decides what becomes of them and fits between any words"
        return f"{rows:,} of {total:,} rows of {who} {what}"
    if family == "copies":
        texts = "one text" if best["evidence_floods"] == 1 else f"{best['evidence_floods']:.0f} texts"
        many = "far more than its other duplicates explain"
        return f"{rows:,} of {total:,} rows of {who} are near copies of {texts}, {many}"
    if family == "clustering":
        return (
            f"{rows:,} of {total:,} rows of {who} form a cluster of their own ({views}), and "
            f"{best['evidence_foreign']:.0%} of it would be classified as another class"
        )
    if family == "label":
        other = dataset.classes[int(best["evidence_belongs_to"])]
        out = f"{best['evidence_rows_out']:,.0f} rows labelled {name} confidently belong to {other}"
        return f"{out}, hardly any the other way"
    return f"{rows:,} of {total:,} rows of {who} stand apart ({views})"


def verdict(
    groups: Sequence[Finding],
    runs: Sequence[Run],
    *,
    odd: Sequence[str],
    counts: Mapping[str, int],
    rows: int,
    decide: Decide,
) -> tuple[Verdict, str]:
    """The verdict and its reason in one sentence. Only completed runs speak for the data."""
    completed = [run for run in runs if run.status is Status.COMPLETED]
    failing = [group.reason for group in groups if group.kind.fails_audit]
    failing += [
        f"{run.detector} on {run.embedder} did not complete, so nothing can be said: {run.reason}"
        for run in runs
        if run.status is Status.FAILED
    ]
    if not completed:
        failing.append("no detector applies to this dataset, so nothing can be said of it")
    wrong, unread = counts.get(Kind.LABEL, 0), counts.get(Kind.INTEGRITY, 0)
    warning = [*odd, *(group.reason for group in groups if group.kind is Kind.LABEL and group.p_value < 1)]
    if unread:
        warning.append(f"{unread:,} of {rows:,} rows cannot be read and were not looked at")
    if wrong > decide.label_share * rows:
        warning.append(f"{wrong:,} of {rows:,} labels look wrong; nothing organised was found")
    if failing:
        return Verdict.FAILED, failing[0]
    if warning:
        return Verdict.WARNED, warning[0]
    looks = "the only completed look found no" if len(completed) == 1 else f"none of {len(completed)} looks found a"
    reason = f"{looks} suspicious group among {rows:,} rows"
    if mostly_blind(len(completed), len(runs)):
        reason += f", but {len(runs) - len(completed)} of {len(runs)} looks do not apply to this dataset"
    return Verdict.PASSED, reason
