"""The explainers of findings, in the order in which they run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from foretaste.explain import (
    breakdowns,
    class_comparison,
    common_pattern,
    form_triggers,
    near_duplicates,
    phrase_triggers,
)
from foretaste.explain.audited import Audited, Explainer
from foretaste.types.findings import Finding


class Step(NamedTuple):
    """An explainer, the evidence that it reads from earlier steps, if present, and the evidence that it adds."""

    explain: Explainer
    reads: tuple[str, ...]
    adds: tuple[str, ...]


STEPS = (
    Step(phrase_triggers.explain, ("tests",), ("triggers",)),
    Step(near_duplicates.explain, ("tests",), ("copies",)),
    Step(form_triggers.explain, ("triggers",), ("triggers",)),
    Step(common_pattern.explain_pictures, (), ("where", "in_common", "box")),
    Step(common_pattern.explain_texts, ("triggers",), ("phrases",)),
    Step(breakdowns.explain_labels, (), ("pairs",)),
    Step(breakdowns.explain_sources, (), ("sources",)),
    Step(class_comparison.explain, (), ()),
)


def explained(audited: Audited, findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings after all explainers."""
    for step in STEPS:
        findings = tuple(map(step.explain(audited, findings), findings))
    return tuple(findings)
