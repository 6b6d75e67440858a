"""How far a verdict can be trusted is said with the plan's own rates and what was measured of it."""

from __future__ import annotations

from foretaste.report.document import document
from foretaste.report.error_rates import certainty

DECIDE = {"fdr": 0.02, "watch": 0.1, "posterior": 0.5}
MEASURED = {
    "origins": 60,
    "failed_origins": 2,
    "aside": 20,
    "failed_aside": 1,
    "audits": 1200,
    "failed": 3,
    "warned": 20,
    "rows": 2_400_000,
    "accused": 71,
    "kinds": ["whole", "draws of 800 rows"],
    "releases": ["1.0"],
    "at_most": 0.2161,
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
    assert "of 1,200 clean datasets from 60 origins this plan failed 3 and warned of 20" in whole
    assert "it accused 71 of their 2,400,000 rows." in whole
    assert "Of the 20 origins kept aside while settings were chosen it failed 1" in whole
    assert "at most 21.6 % of other origins with 95 % confidence" in whole
    assert "not measured" not in whole


def test_without_origins_kept_aside_those_that_were_measured_count(report):
    whole = said(report, false_alarms=MEASURED | {"aside": 0, "failed_aside": 0, "at_most": 0.1012})
    assert "Of the 60 origins measured it failed 2" in whole
    assert "at most 10.1 % of other origins" in whole


def test_what_was_not_measured_is_told_as_well(report):
    assert "was not measured" in said(report, false_alarms={})


def test_an_audit_without_a_plan_has_no_rates(report):
    assert list(certainty(document(report) | {"plan": {}})) == ["Not recorded."]
