"""The false alarms a report tells of are those that were measured with its plan, and of no other plan."""

from __future__ import annotations

import json

import pytest
from scipy.stats import binom, binomtest

from foretaste.pipeline import default_plans, plan
from foretaste.pipeline import false_alarms as record
from foretaste.pipeline.false_alarms import Series, at_most, false_alarms, recorded
from foretaste.report.document import plain
from foretaste.types.dataset import Modality
from foretaste.types.digests import plan_digest

DEFAULT = plan.parse(default_plans.DEFAULT[Modality.IMAGE])


@pytest.mark.parametrize(("failed", "audits"), [(0, 30), (0, 300), (1, 72), (3, 126), (9, 10)])
def test_no_more_fail_than_a_one_sided_test_leaves_possible(failed, audits):
    told = binomtest(failed, audits, alternative="less").proportion_ci(0.95, "exact").high
    assert at_most(failed, audits) == pytest.approx(told, rel=1e-9)


def test_where_all_failed_all_may():
    assert at_most(5, 5) == 1.0


def test_series_of_one_plan_add_up_and_others_count_for_nothing(monkeypatch):
    mine, now = str(plan_digest(plain(DEFAULT.describe()))), record.code()
    series = [
        Series(mine, now, "1.0", "digits", "whole", True, 0, 40, 1, 2, 4000, 7),
        Series("other", now, "1.0", "digits", "whole", True, 0, 500, 500, 0, 50_000, 50_000),
        Series(mine, "other", "1.0", "digits", "whole", True, 0, 500, 500, 0, 50_000, 50_000),
        Series(mine, now, "1.1", "signs", "frames", False, 0, 60, 0, 1, 6000, 0),
        Series(mine, now, "1.1", "digits", "frames", True, 40, 10, 0, 0, 1000, 0),
        Series(mine, now, "1.1", "birds", "whole", True, 0, 1, 0, 0, 100, 0),
    ]
    monkeypatch.setattr(record, "recorded", lambda: iter([Series(**json.loads(one.line())) for one in series]))
    found = dict(false_alarms(DEFAULT))
    assert found.pop("at_most") == at_most(1, 2)  # of the origins kept aside
    assert found == {
        "origins": 3,
        "failed_origins": 1,
        "aside": 2,
        "failed_aside": 1,
        "audits": 111,
        "failed": 1,
        "warned": 3,
        "rows": 11_100,
        "accused": 7,
        "kinds": ["whole", "frames"],
        "releases": ["1.0", "1.1"],
    }
    series[:] = [one for one in series if not one.aside]
    assert false_alarms(DEFAULT)["at_most"] == at_most(0, 1)


def test_any_other_setting_makes_another_plan():
    changed = {
        **default_plans.DEFAULT[Modality.IMAGE],
        "decide": {**default_plans.DEFAULT[Modality.IMAGE]["decide"], "fdr": 0.02},
    }
    assert false_alarms(plan.parse(changed)) == {}


def test_no_dataset_counts_twice():
    seeds = [
        (one.plan, one.code, one.origin, one.kind, seed)
        for one in recorded()
        for seed in range(one.first, one.first + one.audits)
    ]
    assert len(seeds) == len(set(seeds)) > 0


@pytest.mark.parametrize("modality", Modality)
def test_the_default_plans_were_measured_as_they_are(modality):
    """Who changes them measures them again: python -m benchmarks.clean.audits ... --record."""
    found = false_alarms(plan.parse(default_plans.DEFAULT[modality]))
    if not found:
        pytest.skip("the code or the plan changed since clean data was audited, and reports say that it was not")
    assert found["audits"] >= found["origins"] >= 5
    # Not significantly more than the one in a hundred that the audit aims at.
    assert binom.sf(found["failed"] - 1, found["audits"], 0.01) >= 0.05
    if found["accused"] / found["rows"] > 0.001:
        pytest.xfail("of the sets kept aside one too many is failed; docs/clean.md says what is known of it")
