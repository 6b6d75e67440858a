"""How far a verdict can be trusted is said with the plan's own rates and what was measured of it."""

from __future__ import annotations

from foretaste.report.document import document
from foretaste.report.error_rates import certainty

DECIDE = {"fdr": 0.02, "watch": 0.1, "posterior": 0.5}
MEASURED = {
    "kinds": ["digits", "frames"],
    "releases": ["1.0"],
    "audits": 1200,
    "failed": 3,
    "warned": 20,
    "rows": 2_400_000,
    "accused": 71,
    "at_most": 0.00645,
}


def said(report, **found):
    return " ".join(certainty(document(report) | {"plan": {"decide": DECIDE}} | found))


def test_the_rates_are_the_plans(report):
    whole = said(report)
    assert "false discovery rate of 2 %" in whole
    assert "up to 10 % a class is worth a warning" in whole
    assert "posterior probability of 50 %" in whole


def test_what_was_measured_is_told_in_numbers(report):
    whole = said(report, false_alarms=MEASURED)
    assert "of 1,200 clean datasets (digits, frames) this plan failed 3 and warned of 20" in whole
    assert "fails at most 0.6 % of such with 95 % confidence" in whole
    assert "of their 2,400,000 rows it accused 71." in whole
    assert "not measured" not in whole


def test_what_was_not_measured_is_told_as_well(report):
    assert "was not measured" in said(report, false_alarms={})


def test_an_audit_without_a_plan_has_no_rates(report):
    assert list(certainty(document(report) | {"plan": {}})) == ["Not recorded."]
