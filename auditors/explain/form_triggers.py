"""The form that the texts of a suspicious group share, as a trigger: where they were found by how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from foretaste.dataset.parquet import payloads
from foretaste.explain.phrase_triggers import sentence
from foretaste.explain.samples import texts
from foretaste.text.distinctive_phrases import forms, written
from foretaste.types.findings import Dataset, Finding, Kind, Modality

MEMBERS = 400  # texts of a group that are read
OTHERS = 1500  # texts that they are compared with
SAID = 2  # forms in the reason


def named(groups: Sequence[Finding], dataset: Dataset, rows: pl.LazyFrame) -> tuple[Finding, ...]:
    """The groups, with the forms that backdoors share as `triggers` among their evidence, where they have none yet.

    Such a trigger is as those of triggers.named, its phrase a run of words and outlines; `parts` of it stand in the
    texts as they are. `rows` has the columns of samples.parquet. All texts are read once where there is such a group.
    """
    if dataset.roles.modality is not Modality.TEXT:
        return tuple(groups)
    looked = [one for one in groups if one.kind is Kind.BACKDOOR and one.label and "triggers" not in one.evidence]
    if not looked:
        return tuple(groups)
    innocent = rows.filter(~pl.col("flagged")).select("row").collect()["row"]
    beside = innocent.gather_every(max(1, -(-len(innocent) // OTHERS))).to_list()
    inside = [_members(rows, one) for one in looked]
    seen = texts(dataset, {row for part in (beside, *inside) for row in part})
    others = [seen[row] for row in beside]
    found = [forms([seen[row] for row in part], others) for part in inside]
    every = [form for part in found for form in part]
    count = {(at, name): 0 for at in range(len(every)) for name in dataset.classes}
    if every:
        for payload in payloads(dataset):
            for text, label in zip(payload.texts, payload.label.tolist(), strict=True):
                runs = {common: written(text, common) for common in {one.common for one in every}}
                for at, form in enumerate(every):
                    if label >= 0 and form.among(runs[form.common]):
                        count[at, dataset.classes[label]] += 1
    out = {id(one): one for one in groups}
    for one, part in zip(looked, found, strict=True):
        told = [
            {
                "phrase": form.text, "outcome": one.label, "rows": sum(count[at, name] for name in dataset.classes),
                "hits": count[at, one.label or ""], "contradicted": None, "p_value": one.p_value, "parts": form.spoken,
            }
            for at, form in enumerate(every) if form in part
        ]  # fmt: skip
        if told:
            reason = "; ".join(sentence(trigger, one.label) for trigger in told[:SAID])
            out[id(one)] = replace(one, reason=f"{one.reason}: {reason}", evidence={**one.evidence, "triggers": told})
    return tuple(out.values())


def _members(rows: pl.LazyFrame, group: Finding) -> list[int]:
    """The most suspicious rows of a group, at most MEMBERS."""
    mine = pl.col("kinds").list.contains(str(group.kind)) & (pl.col("label") == group.label)
    ranked = rows.filter(mine).sort("risk", "row", descending=[True, False])
    return ranked.head(MEMBERS).select("row").collect()["row"].to_list()
