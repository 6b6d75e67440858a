"""Facts that cannot all be true of one audit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretaste.decide.settings import Decide
from foretaste.decide.verdict import verdict
from foretaste.gate.facts import AttestedFinding, AttestedRun, Facts, contradictions
from foretaste.gate.policy import DEFAULT, decide
from foretaste.types.digests import Digest
from foretaste.types.findings import Finding, Kind, Run, Status, Verdict

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
GOOD = Facts(
    dataset=Digest("dirHash1", "a" * 64),
    verdict=Verdict.PASSED,
    result=Verdict.PASSED,
    reason="nothing found",
    rows=1000,
    counts={},
    groups=(),
    runs=(AttestedRun("spectral", "spectral-signature", "grey", "pixels", "completed", ""),),
    fdr=0.01,
    plan=Digest("sha256", "b" * 64),
    ended=NOW,
    afterwards=False,
    classes=10,
    flagged=0,
    started=NOW - timedelta(minutes=1),
)


def test_a_good_audit_contradicts_nothing():
    assert contradictions(GOOD) == ()
    assert contradictions(replace(GOOD, classes=None, flagged=None, started=None)) == ()


@st.composite
def audits(draw: st.DrawFn) -> Facts:
    """Facts as an audit would state them, whatever it finds: the verdict is that of foretaste.decide.verdict."""
    rows = draw(st.integers(1, 10_000))
    counts = {
        str(kind): draw(st.integers(0, rows)) for kind in Kind if kind is not Kind.OUTLIER and draw(st.booleans())
    }
    findings = []
    for kind in Kind:
        if kind is Kind.INTEGRITY:
            continue
        parts = draw(st.lists(st.integers(0, counts.get(kind, 0)), max_size=2))
        if counts.get(kind) and kind is not Kind.LABEL and not parts:
            parts = [counts[kind]]
        labels = ("cat", "dog")
        findings += [Finding(kind, label, n, 1e-9, (), "x") for label, n in zip(labels, parts, strict=False)]
    for kind in (Kind.LABEL, Kind.INTEGRITY):
        if counts.get(kind):
            findings.append(Finding(kind, None, counts[kind], 1.0, (), "x"))
    ends = draw(st.lists(st.sampled_from(list(Status)), max_size=4))
    runs = [Run(f"check {n}", "grey", status, "", 0.0) for n, status in enumerate(ends)]
    outcome, reason = verdict(findings, runs, odd=(), counts=counts, rows=rows, decide=Decide())
    flagged = max(counts.values(), default=0)
    return replace(
        GOOD,
        verdict=outcome,
        result=draw(st.sampled_from([outcome, Verdict.FAILED])),
        reason=reason,
        rows=rows,
        counts=counts,
        groups=tuple(
            AttestedFinding(str(one.kind), one.label, one.rows, one.p_value < 1, one.reason) for one in findings
        ),
        runs=tuple(AttestedRun(run.detector, "x", run.embedder, "y", str(run.status), "") for run in runs),
        flagged=draw(st.integers(flagged, min(sum(counts.values()), rows))),
        suspicious=("check 0 on grey",) if outcome is Verdict.FAILED else (),
    )


@given(audits())
def test_no_audit_contradicts_itself(facts):
    assert contradictions(facts) == ()


@given(audits(), st.sampled_from([Verdict.PASSED, Verdict.WARNED]))
def test_a_better_verdict_than_was_reached_contradicts_what_was_found(facts, better):
    """Unless the audit only warned because many labels look wrong: a plan sets how many are too many."""
    labels = facts.counts.get(Kind.LABEL, 0) and not any(one.certain and one.kind == Kind.LABEL for one in facts.groups)
    worse = [Verdict.PASSED, Verdict.WARNED, Verdict.FAILED]
    if worse.index(better) < worse.index(facts.verdict) and not (facts.verdict is Verdict.WARNED and labels):
        claimed = replace(facts, verdict=better, result=better)
        assert contradictions(claimed)
        assert decide(DEFAULT, claimed, NOW)


@pytest.mark.parametrize("kind", list(Kind))
def test_flagged_rows_need_a_group_that_found_them(kind):
    facts = replace(GOOD, verdict=Verdict.FAILED, result=Verdict.FAILED, counts={str(kind): 5}, flagged=5)
    assert any(f"5 rows are flagged as {kind}" in one for one in contradictions(facts))
    group = AttestedFinding(str(kind), None, 5, True, "x")
    assert contradictions(replace(facts, groups=(group,))) == ()


def test_rows_of_outlier_groups_are_flagged_as_backdoors():
    group = AttestedFinding("outlier", "cat", 0, True, "x")
    facts = replace(GOOD, verdict=Verdict.FAILED, result=Verdict.FAILED, groups=(group,), counts={"backdoor": 5})
    assert contradictions(replace(facts, flagged=5)) == ()


def test_clocks_may_differ_a_little_and_a_signature_may_come_later():
    late = replace(GOOD, started=NOW + timedelta(minutes=4))
    assert contradictions(late) == ()
    later = replace(GOOD, started=NOW + timedelta(days=1))
    assert contradictions(later)
    assert contradictions(replace(later, afterwards=True)) == ()
