"""The form that the texts of a suspicious group share, as a trigger: where they were found by how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from foretaste.dataset.parquet import payloads
from foretaste.explain.audited import Audited, Explain, key
from foretaste.explain.phrase_triggers import sentence
from foretaste.explain.samples import texts
from foretaste.text.distinctive_phrases import Form, forms, written
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.findings import Finding, Kind

MEMBERS = 400  # texts of a group that are read
OTHERS = 1500  # texts that they are compared with
SAID = 2  # forms in the reason


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the forms that the texts of a backdoor share as `triggers` to its evidence, where it has none yet.

    Such a trigger is as those of explain.phrase_triggers, its phrase a run of words and outlines; `parts` of it stand
    in the texts as they are. All texts are read once where there is such a finding.
    """
    dataset, rows = audited.dataset, audited.samples
    looked = [one for one in findings if one.kind is Kind.BACKDOOR and one.label and "triggers" not in one.evidence]
    if dataset.roles.modality is not Modality.TEXT or not looked:
        return lambda one: one
    innocent = rows.filter(~pl.col("flagged")).select("row").collect()["row"]
    beside = innocent.gather_every(max(1, -(-len(innocent) // OTHERS))).to_list()
    inside = [_members(rows, one) for one in looked]
    seen = texts(dataset, {row for part in (beside, *inside) for row in part})
    others = [seen[row] for row in beside]
    found = {key(one): forms([seen[row] for row in part], others) for one, part in zip(looked, inside, strict=True)}
    count = _counted(dataset, [form for part in found.values() for form in part])

    def told(one: Finding) -> Finding:
        triggers = [
            {
                "phrase": form.text, "outcome": one.label, "rows": sum(count[form].values()),
                "hits": count[form][one.label or ""], "contradicted": None, "p_value": one.p_value,
                "parts": form.spoken,
            }
            for form in found.get(key(one), ())
        ]  # fmt: skip
        if not triggers:
            return one
        reason = "; ".join(sentence(trigger, one.label) for trigger in triggers[:SAID])
        return replace(one, reason=f"{one.reason}: {reason}", evidence={**one.evidence, "triggers": triggers})

    return told


def _counted(dataset: Dataset, forms: Sequence[Form]) -> dict[Form, dict[str, int]]:
    """In how many texts of each class each form is."""
    out = {form: dict.fromkeys(dataset.classes, 0) for form in forms}
    if out:
        for payload in payloads(dataset):
            for text, label in zip(payload.texts, payload.label.tolist(), strict=True):
                runs = {common: written(text, common) for common in {form.common for form in out}}
                for form, number in out.items():
                    if label >= 0 and form.among(runs[form.common]):
                        number[dataset.classes[label]] += 1
    return out


def _members(rows: pl.LazyFrame, group: Finding) -> list[int]:
    """The most suspicious rows of a group, at most MEMBERS."""
    mine = pl.col("kinds").list.contains(str(group.kind)) & (pl.col("label") == group.label)
    ranked = rows.filter(mine).sort("risk", "row", descending=[True, False])
    return ranked.head(MEMBERS).select("row").collect()["row"].to_list()
