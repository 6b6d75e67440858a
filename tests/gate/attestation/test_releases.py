"""Attestations outlive the release that signed them: what 0.1.0 signed, and what a later release may sign."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from pathlib import Path

import pytest

from foretaste.errors import Refused
from foretaste.gate import require
from foretaste.gate.attestation import statement
from foretaste.gate.policy import Policy
from foretaste.types.findings import Verdict

SIGNED = Path(__file__).with_name("signed_by_0_1_0")
DATA = Path(__file__).parents[3] / "data" / "breast_cancer.parquet"
NOW = datetime(2026, 12, 2, tzinfo=UTC)


@pytest.fixture
def old() -> dict:
    return statement.verified((SIGNED / "attestation.json").read_bytes(), SIGNED / "key.pub")


def test_what_0_1_0_signed_opens_a_gate_that_does_not_ask_for_more():
    of = {"key": str(SIGNED / "key.pub"), "attestation": str(SIGNED / "attestation.json"), "now": NOW}
    found = require.decide(str(DATA), policy=Policy(plans=("any",), min_tested=0), **of)
    assert (found.allowed, found.reasons) == (True, ())
    strict = require.decide(str(DATA), **of)
    assert not strict.allowed
    assert "does not say how many rows spectral-signature tested" in strict.reasons[0]
    assert "the policy's plans are the release's default plan" in strict.reasons[1]


def test_what_0_1_0_signed_says_what_it_said(old):
    told = statement.facts(old)
    assert (told.verdict, told.rows, told.counts, told.classes) == (Verdict.PASSED, 569, {"label": 1}, None)
    assert {run.status for run in told.runs} == {"completed", "not applicable"}
    assert told.unknown == {}


def test_what_a_later_release_says_besides_is_kept_and_harms_nothing(old):
    later = copy.deepcopy(old)
    told = annotations(later)
    told["claims"] = {"removed": 3}
    told["runs"][0]["seconds"] = 1.5
    told["groups"][0]["dispersion"] = 0.2
    later["predicate"]["slsa"] = "x"
    before, after = statement.facts(old), statement.facts(later)
    assert after.unknown == {"claims": {"removed": 3}}
    assert (after.runs, after.groups) == (before.runs, before.groups)


@pytest.mark.parametrize(
    ("part", "name", "said"),
    [
        (None, "fdr", "it does not say fdr"),
        (None, "runs", "it does not say runs"),
        ("runs", "status", "it does not say status of a run"),
        ("groups", "certain", "certain"),
        ("groups", "reason", "it does not say reason of a finding"),
    ],
)
def test_what_is_missing_is_named(old, part, name, said):
    lacking = copy.deepcopy(old)
    told = annotations(lacking)
    del (told if part is None else told[part][0])[name]
    with pytest.raises(Refused, match=said):
        statement.facts(lacking)


def annotations(body: dict) -> dict:
    [report] = [one for one in body["predicate"]["configuration"] if one["name"] == statement.REPORT]
    return report["annotations"]
