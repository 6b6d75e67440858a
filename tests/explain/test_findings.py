"""From the groups to a verdict, and nothing clean that was not looked at."""

from __future__ import annotations

import pytest
from looks import SPECTRAL, dataset, ran

from foretaste.decide.settings import Decide
from foretaste.decide.significance import significance
from foretaste.decide.verdict import verdict
from foretaste.detectors.activation_clustering import ActivationClustering
from foretaste.detectors.label_issue import LabelIssue
from foretaste.detectors.spectral_signature import SpectralSignature
from foretaste.explain import findings
from foretaste.types.findings import Finding, Kind, Run, Status, Verdict

PLAN = {"spectral": SpectralSignature(), "labels": LabelIssue()}


def test_nothing_tested_is_nothing_to_report():
    assert findings.findings(significance([], Decide()), {}, dataset(), {}) == ()


def test_groups_are_reported_by_kind_and_class_the_strongest_first():
    groups = significance([ran(1e-9, 0.9), ran(1e-4, 1e-5, embedder="probe")], Decide())
    found = findings.findings(
        groups, {("backdoor", "cat"): 12, ("backdoor", "dog"): 3, ("label", "cat"): 2}, dataset(60), PLAN
    )
    assert [(group.kind, group.label, group.rows) for group in found] == [
        (Kind.BACKDOOR, "cat", 12), (Kind.BACKDOOR, "dog", 3), (Kind.LABEL, None, 2),
    ]  # fmt: skip
    assert found[0].p_value < found[1].p_value
    assert "12 of 30 rows of class cat" in found[0].reason
    assert {one["embedder"] for one in found[0].evidence["tests"]} == {"grey", "probe"}


@pytest.mark.parametrize(
    ("detector", "evidence"),
    [
        (SpectralSignature(), SPECTRAL),
        (ActivationClustering(), {"share": 0.1, "silhouette": 0.5, "foreign": 0.9}),
        (LabelIssue(), {"belongs_to": 1.0, "rows_out": 30.0}),
    ],
)
def test_a_detector_says_why_in_one_sentence(detector, evidence):
    claim = detector.claim
    tested = ran(1e-9, 0.9, detector="mine", family=claim.family.name, kind=claim.kind, **evidence)
    (group,) = findings.findings(significance([tested], Decide()), {}, dataset(), {"mine": detector})
    assert "cat" in group.reason
    assert "nan" not in group.reason.lower()


DONE = Run("spectral", "grey", Status.COMPLETED, "", 1.0, 100)
CRASHED = Run("clusters", "probe", Status.FAILED, "ValueError: odd", 1.0, 0)
IDLE = Run("labels", "probe", Status.NOT_APPLICABLE, "no labels", 0.0, 0)
BACKDOOR = Finding(Kind.BACKDOOR, "cat", 30, 1e-6, ("spectral",), "30 rows share a pattern")
ORGANISED = Finding(Kind.LABEL, "cat", 30, 1e-6, ("label-issue",), "30 rows belong to dog")
SCATTERED = Finding(Kind.LABEL, None, 3, 1.0, ("label-issue",), "3 single rows")


def decided(groups=(), runs=(DONE,), counts=None, odd=(), tested=1000):
    return verdict(groups, runs, odd=odd, counts=counts or {}, rows=1000, tested=tested, decide=Decide())


def test_only_completed_runs_speak_for_the_data():
    assert decided()[0] is Verdict.PASSED
    assert decided(runs=(DONE, IDLE))[0] is Verdict.PASSED
    assert decided(runs=(DONE, CRASHED))[0] is Verdict.FAILED
    assert "ValueError: odd" in decided(runs=(DONE, CRASHED))[1]
    assert decided(runs=(IDLE,))[0] is Verdict.INCONCLUSIVE
    assert decided(runs=())[0] is Verdict.INCONCLUSIVE
    assert "nothing can be said" in decided(runs=(IDLE,))[1]
    assert "the only completed look" in decided(runs=(DONE, IDLE))[1]


def test_completed_runs_that_tested_nothing_pass_nothing():
    assert decided(tested=0) == (
        Verdict.INCONCLUSIVE, "no class has rows enough to be tested for an attack, so nothing can be said of it"
    )  # fmt: skip
    assert decided(tested=0, counts={"label": 900})[0] is Verdict.INCONCLUSIVE
    assert decided([BACKDOOR], tested=0)[0] is Verdict.FAILED


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"groups": (BACKDOOR,)}, Verdict.FAILED),
        ({"groups": (ORGANISED,)}, Verdict.WARNED),
        ({"groups": (SCATTERED,), "counts": {"label": 3}}, Verdict.PASSED),
        ({"groups": (SCATTERED,), "counts": {"label": 21}}, Verdict.WARNED),
        ({"counts": {"integrity": 1}}, Verdict.WARNED),
        ({"odd": ("class cat is worth a look",)}, Verdict.WARNED),
        ({"groups": (ORGANISED, BACKDOOR), "counts": {"integrity": 1}}, Verdict.FAILED),
    ],
    ids=str,
)
def test_the_verdict_follows_what_was_found(said, expected):
    found, reason = decided(**said)
    assert found is expected
    assert reason


def test_a_group_of_duplicates_fails_as_any_attack_does():
    assert decided([Finding(Kind.DUPLICATE, None, 99, 1e-6, ("copies",), "99 copies")])[0] is Verdict.FAILED
