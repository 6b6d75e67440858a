"""The phrases that a group of rows is accused for, by name and count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from foretaste.embedders.contract import Encoder, Scorer
from foretaste.pipeline.sweep import Outcome, RunKey
from foretaste.text.triggers.label_phrases import GAP, Phrase
from foretaste.types.findings import Dataset, Finding, Modality

MOST = 12  # phrases of a group that are told
SAID = 4  # of them in its reason


def named(
    groups: Sequence[Finding],
    scorers: Mapping[RunKey, Scorer],
    encoders: Mapping[str, Encoder | Outcome],
    dataset: Dataset,
) -> tuple[Finding, ...]:
    """The groups, with the `triggers` they are accused for among their evidence and in their reason.

    A trigger is {phrase, outcome, rows, hits, contradicted, p_value}: of `rows` rows that hold the phrase, `hits` have
    the outcome (the group's label, or words of the response), and of these the share `contradicted` looks like another
    class to a model that never saw a row with the phrase; None where that was not asked. The outcome is None where
    nothing but a break of the text follows, and of plain texts it is how they end. The parts of a composite trigger are
    told with GAP between them; a form (explain/form_triggers.py) has `parts` that stand in the texts as they are.
    """
    out = []
    brings = "with" if dataset.roles.modality is Modality.TEXT else "answered with"
    for one in groups:
        tests = {(test["detector"], test["embedder"]) for test in one.evidence.get("tests", ())}
        told = [
            trigger
            for look, scorer in scorers.items()
            if (look.detector, look.embedder) in tests
            for trigger in accused(scorer, encoders[look.embedder], one, dataset)
        ]
        if told:
            reason = "; ".join(sentence(trigger, one.label, brings) for trigger in told[:SAID])
            more = f"; and {len(told) - SAID} more" if len(told) > SAID else ""
            evidence = {**one.evidence, "triggers": told[:MOST]}
            out.append(replace(one, reason=f"{one.reason}: {reason}{more}", evidence=evidence))
        else:
            out.append(one)
    return tuple(out)


def accused(scorer: Scorer, encoder: Encoder | Outcome, group: Finding, dataset: Dataset) -> list[dict[str, Any]]:
    """The triggers of one look that lead to a group, the surest first."""
    phrases: tuple[Phrase, ...] = getattr(encoder, "phrases", ())
    q_value, rate = getattr(scorer, "q_value", None), getattr(scorer, "fdr", 0.0)
    if q_value is None or not phrases:
        return []
    out = []
    for one, q in zip(phrases, q_value.tolist(), strict=False):
        name = one.outcome_text or (dataset.classes[one.outcome] if dataset.classes else None)
        if q <= rate and (one.outcome_text or name == group.label):
            facts = {"phrase": one.text, "outcome": name, "rows": one.rows, "hits": one.hits}
            out.append(facts | {"contradicted": one.contradicted, "p_value": q})
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
