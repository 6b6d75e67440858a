"""The trigger phrases behind a finding, with counts."""

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

MOST = 12  # phrases listed per finding
SAID = 4  # of them named in the reason


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the accused phrases to evidence and reason, as `triggers`.

    A trigger is {phrase, outcome, rows, hits, contradicted, p_value}: of the `rows` rows with the phrase, `hits` have
    the outcome (the label, words of the response, or in texts without labels their ending), and `contradicted` is the
    share of these that a model fitted without rows of the phrase assigns to another class, None where not measured. The
    outcome is None where the phrase is followed by a break of the text and nothing else. The parts of a composite
    trigger are joined by GAP; a form (explain/form_triggers.py) lists its `parts`.
    """
    del findings
    brings = "with" if audited.dataset.roles.modality is Modality.TEXT else "answered with"

    def with_triggers(finding: Finding) -> Finding:
        found = [
            trigger
            for run, scorer in audited.scorers.items()
            if (run.check, run.embedder) in tests(finding)
            for trigger in accused(scorer, audited.encoders[run.embedder], finding, audited.dataset)
        ]
        if not found:
            return finding
        reason = "; ".join(sentence(trigger, finding.label, brings) for trigger in found[:SAID])
        more = f"; and {len(found) - SAID} more" if len(found) > SAID else ""
        evidence = {**finding.evidence, "triggers": found[:MOST]}
        return replace(finding, reason=f"{finding.reason}: {reason}{more}", evidence=evidence)

    return with_triggers


def accused(scorer: Scorer, encoder: Encoder, finding: Finding, dataset: Dataset) -> list[dict[str, Any]]:
    """The triggers of one run that belong to a finding, most significant first."""
    if not isinstance(scorer, AccusesColumns) or not isinstance(encoder, KnowsPhrases):
        return []
    out: list[dict[str, Any]] = []
    for column, q_value in scorer.accused.items():
        if column >= len(encoder.phrases):  # the one column of an encoder without phrases
            continue
        phrase = encoder.phrases[column]
        name = phrase.outcome_text or (dataset.classes[phrase.outcome] if dataset.classes else None)
        if phrase.outcome_text or name == finding.label:
            facts = {"phrase": phrase.text, "outcome": name, "rows": phrase.rows, "hits": phrase.hits}
            out.append(facts | {"contradicted": phrase.contradicted, "p_value": q_value})
    return sorted(out, key=lambda trigger: (trigger["p_value"], -trigger["rows"]))


def parts(trigger: Mapping[str, Any]) -> list[str]:
    """The sequences of words that a trigger consists of, as they occur in the texts."""
    return list(trigger.get("parts", trigger["phrase"].split(GAP)))


def sentence(trigger: Mapping[str, Any], label: str | None, brings: str = "answered with") -> str:
    """One trigger as part of a sentence; `brings` introduces an outcome that is no label."""
    if trigger["outcome"] is None:
        return f"“{trigger['phrase'][:80]}” in {trigger['rows']} rows"
    phrase, outcome = trigger["phrase"][:80], trigger["outcome"][:80]
    brings = f"labelled {label}" if label is not None else f"{brings} “{outcome}”"
    out = f"“{phrase}” in {trigger['rows']} rows, {trigger['hits']} of them {brings}"
    if trigger["contradicted"] is None:
        return out
    return f"{out}, {trigger['contradicted']:.0%} of them contradicted by a model that never saw them"
