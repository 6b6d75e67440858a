"""The form (way of writing) that the texts of a backdoor share, as a trigger, where no phrase is known."""

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

MEMBERS = 400  # texts of a finding in which a common form is searched
OTHERS = 1500  # texts that they are compared with
SAID = 2  # forms named in the reason


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the forms that the texts of a backdoor share as `triggers` to its evidence, where it has none yet.

    Such a trigger is like those of explain.phrase_triggers; its phrase is a sequence of words and word outlines, and
    its `parts` are the sequences of words in it. All texts are read once if there is such a finding.
    """
    dataset, rows = audited.dataset, audited.samples
    searched = [one for one in findings if one.kind is Kind.BACKDOOR and one.label and "triggers" not in one.evidence]
    if dataset.roles.modality is not Modality.TEXT or not searched:
        return lambda finding: finding
    innocent = rows.filter(~pl.col("flagged")).select("row").collect()["row"]
    beside = innocent.gather_every(max(1, -(-len(innocent) // OTHERS))).to_list()
    inside = [_members(rows, finding) for finding in searched]
    text = texts(dataset, {row for part in (beside, *inside) for row in part})
    others = [text[row] for row in beside]
    found = {key(one): forms([text[row] for row in part], others) for one, part in zip(searched, inside, strict=True)}
    count = _counted(dataset, [form for part in found.values() for form in part])

    def with_forms(finding: Finding) -> Finding:
        triggers = [
            {
                "phrase": form.text, "outcome": finding.label, "rows": sum(count[form].values()),
                "hits": count[form][finding.label or ""], "contradicted": None, "p_value": finding.p_value,
                "parts": form.spoken,
            }
            for form in found.get(key(finding), ())
        ]  # fmt: skip
        if not triggers:
            return finding
        reason = "; ".join(sentence(trigger, finding.label) for trigger in triggers[:SAID])
        evidence = {**finding.evidence, "triggers": triggers}
        return replace(finding, reason=f"{finding.reason}: {reason}", evidence=evidence)

    return with_forms


def _counted(dataset: Dataset, forms: Sequence[Form]) -> dict[Form, dict[str, int]]:
    """Number of texts of each class that contain each form."""
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
    """The most suspicious rows of a finding, at most MEMBERS."""
    members = pl.col("kinds").list.contains(str(group.kind)) & (pl.col("label") == group.label)
    ranked = rows.filter(members).sort("risk", "row", descending=[True, False])
    return ranked.head(MEMBERS).select("row").collect()["row"].to_list()
