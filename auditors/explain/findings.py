"""The findings of an audit, each with a reason in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from foretaste.decide.significance import STRONGEST
from foretaste.detectors.contract import Detector, GroupFacts
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.findings import Finding, Kind

EVIDENCE = "evidence_"
ELSEWHERE = ("kind", "label", "suspicious", "watched", "names_rows", "acquittable")  # not repeated in each test


def findings(
    groups: pl.DataFrame,
    counts: Mapping[tuple[str, str | None], int],
    dataset: Dataset,
    detectors: Mapping[str, Detector],
) -> tuple[Finding, ...]:
    """The suspicious groups, merged by kind and class, then scattered wrong labels and unreadable rows.

    groups     the table of significance.significance, after all decisions
    counts     number of flagged rows by kind and class name
    detectors  the settings of each check, by its name
    """
    out = []
    suspicious = groups.filter(pl.col("suspicious"))
    for part in suspicious.sort(*STRONGEST).partition_by("kind", "label", maintain_order=True):
        kind, label = str(part["kind"][0]), int(part["label"][0])
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        # A finding over all classes counts the rows of every class.
        everywhere = sum(number for (other, _), number in counts.items() if other == kind)
        rows = counts.get((kind, name), 0) if label >= 0 else everywhere
        evidence = [{k: v for k, v in test.items() if v is not None and k not in ELSEWHERE} for test in part.to_dicts()]
        out.append(
            Finding(
                kind=Kind(kind),
                label=name,
                rows=rows,
                p_value=float(part["q_value"][0]),
                detectors=tuple(part["detector"].unique(maintain_order=True)),
                reason=_because(part, rows, dataset, detectors),
                evidence={"tests": evidence},
            )
        )
    scattered = sum(rows for (kind, _), rows in counts.items() if kind == Kind.LABEL)
    if scattered:
        whose = "row has a label that a network which never saw it does not believe"
        if scattered > 1:
            whose = "rows have labels that a network which never saw them does not believe"
        reason = f"{scattered:,} single {whose}"
        doubting = tuple(name for name, one in detectors.items() if one.claim.kind is Kind.LABEL)
        out.append(Finding(Kind.LABEL, None, scattered, 1.0, doubting, reason))
    unread = sum(rows for (kind, _), rows in counts.items() if kind == Kind.INTEGRITY)
    if unread:
        reason = f"{unread:,} {'row' if unread == 1 else 'rows'} cannot be read and so could not be looked at"
        out.append(Finding(Kind.INTEGRITY, None, unread, 1.0, (), reason))
    return tuple(out)


def _because(part: pl.DataFrame, rows: int, dataset: Dataset, detectors: Mapping[str, Detector]) -> str:
    """The reason in one sentence, from the strongest test."""
    best: dict[str, Any] = part.row(0, named=True)
    label = int(best["label"])
    facts = GroupFacts(
        rows=rows,
        of=dataset.class_rows[label] if dataset.class_rows and label >= 0 else dataset.rows,
        label=dataset.classes[label] if dataset.classes and label >= 0 else None,
        views=", ".join(dict.fromkeys(part.filter(pl.col("family") == best["family"])["embedder"])),
        evidence={name.removeprefix(EVIDENCE): value for name, value in best.items() if name.startswith(EVIDENCE)},
        classes=dataset.classes,
        answered=dataset.roles.modality is not Modality.TEXT,
    )
    reason = detectors[best["detector"]].describe(facts)
    if best.get("evidence_arrived") is None:
        return reason
    arrived = f"{best['evidence_arrived']} of the {best['evidence_stand_out']} rows that stand out"
    return f"{reason}; {arrived} came or changed since the earlier audit"
