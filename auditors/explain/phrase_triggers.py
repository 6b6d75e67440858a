"""The phrases that a group of rows is accused for, by name and count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from foretaste.detectors.contract import AccusesColumns, Scorer
from foretaste.embedders.contract import Encoder, KnowsPhrases
from foretaste.explain.audited import Audited, Explain, tests
from foretaste.text.triggers.label_phrases import GAP
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.findings import Finding

MOST = 12  # phrases of a group that are told
SAID = 4  # of them in its reason


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the `triggers` that a group is accused for to its evidence and its reason.

    A trigger is {phrase, outcome, rows, hits, contradicted, p_value}: of `rows` rows that hold the phrase, `hits` have
    the outcome (the group's label, or words of the response), and of these the share `contradicted` looks like another
    class to a model that never saw a row with the phrase; None where that was not asked. The outcome is None where
    nothing but a break of the text follows, and of plain texts it is how they end. The parts of a composite trigger are
    told with GAP between them; a form (explain/form_triggers.py) has `parts` that stand in the texts as they are.
    """
    del findings
    brings = "with" if audited.dataset.roles.modality is Modality.TEXT else "answered with"

    def told(one: Finding) -> Finding:
        found = [
            trigger
            for run, scorer in audited.scorers.items()
            if (run.check, run.embedder) in tests(one)
            for trigger in accused(scorer, audited.encoders[run.embedder], one, audited.dataset)
        ]
        if not found:
            return one
        reason = "; ".join(sentence(trigger, one.label, brings) for trigger in found[:SAID])
        more = f"; and {len(found) - SAID} more" if len(found) > SAID else ""
        evidence = {**one.evidence, "triggers": found[:MOST]}
        return replace(one, reason=f"{one.reason}: {reason}{more}", evidence=evidence)

    return told


def accused(scorer: Scorer, encoder: Encoder, finding: Finding, dataset: Dataset) -> list[dict[str, Any]]:
    """The triggers of one run that lead to a finding, the surest first."""
    if not isinstance(scorer, AccusesColumns) or not isinstance(encoder, KnowsPhrases):
        return []
    out: list[dict[str, Any]] = []
    for at, q_value in scorer.accused.items():
        if at >= len(encoder.phrases):  # the one column of an encoder without phrases
            continue
        one = encoder.phrases[at]
        name = one.outcome_text or (dataset.classes[one.outcome] if dataset.classes else None)
        if one.outcome_text or name == finding.label:
            facts = {"phrase": one.text, "outcome": name, "rows": one.rows, "hits": one.hits}
            out.append(facts | {"contradicted": one.contradicted, "p_value": q_value})
    return sorted(out, key=lambda one: (one["p_value"], -one["rows"]))


def parts(trigger: Mapping[str, Any]) -> list[str]:
    """The runs of words that a trigger consists of, as they stand in the texts."""
    return list(trigger.get("parts", trigger["phrase"].split(GAP)))


def sentence(trigger: Mapping[str, Any], label: str | None, brings: str = "answered with") -> str:
    """One trigger for a person; what it `brings` where that is no label."""
    if trigger["outcome"] is None:
        return f"“{trigger['phrase'][:80]}” in {trigger['rows']} rows"
    phrase, outcome = trigger["phrase"][:80], trigger["outcome"][:80]
    brings = f"labelled {label}" if label is not None else f"{brings} “{outcome}”"
    out = f"“{phrase}” in {trigger['rows']} rows, {trigger['hits']} of them {brings}"
    if trigger["contradicted"] is None:
        return out
    return f"{out}, {trigger['contradicted']:.0%} of them contradicted by a model that never saw them"
