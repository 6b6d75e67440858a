"""gate.toml: what it may say, and what it makes of facts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretaste.errors import PlanError
from foretaste.gate import policy_file
from foretaste.gate.facts import AttestedFinding, AttestedRun, Facts
from foretaste.gate.policy import DEFAULT, Limit, Policy, Waiver, decide
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind, Verdict

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)
ROOT = Digest("dirHash1", "a" * 64)
GROUP = AttestedFinding("backdoor", "cat", 12, True, "12 rows share a pattern")
RAN = AttestedRun("mine", "spectral-signature", "grey32", "pixels", "completed", "")
GOOD = Facts(
    dataset=ROOT,
    verdict=Verdict.PASSED,
    result=Verdict.PASSED,
    reason="nothing found",
    rows=1000,
    counts={},
    groups=(),
    runs=(RAN,),
    fdr=0.01,
    plan=Digest("sha256", "b" * 64),
    ended=NOW - timedelta(hours=1),
    afterwards=False,
)
BAD = replace(
    GOOD, verdict=Verdict.FAILED, result=Verdict.FAILED, reason="poison", counts={"backdoor": 12}, groups=(GROUP,)
)
UNREAD = replace(
    GOOD,
    verdict=Verdict.WARNED,
    result=Verdict.WARNED,
    counts={"integrity": 11},
    groups=(AttestedFinding("integrity", None, 11, False, "11 rows cannot be read"),),
)


def waiver(**changed: object) -> Waiver:
    given: dict[str, object] = {"by": "ada", "why": "frames of one video", "until": NOW + timedelta(days=1)}
    return Waiver(**(given | {"kind": Kind.BACKDOOR, "label": "cat"} | changed))  # type: ignore[arg-type]


def waived(*waivers: Waiver) -> Policy:
    return Policy(waivers=waivers)


def test_a_good_audit_has_nothing_against_it():
    assert decide(DEFAULT, GOOD, NOW) == ()


@pytest.mark.parametrize(
    ("rules", "facts", "said"),
    [
        (DEFAULT, replace(GOOD, verdict=Verdict.FAILED, reason="poison"), "the audit failed: poison"),
        (DEFAULT, replace(GOOD, result=Verdict.FAILED), "signed as failed"),
        (Policy(warned="refuse"), replace(GOOD, verdict=Verdict.WARNED, reason="odd"), "the audit warned"),
        (DEFAULT, replace(GOOD, counts={"backdoor": 1}), "1 rows are flagged as backdoor, and the policy allows 0"),
        (DEFAULT, UNREAD, "11 rows are flagged as integrity, and the policy allows 0: they could not be looked at"),
        (DEFAULT, UNREAD, "allow them in the policy of audit and gate with [limits.integrity] rows = 11"),
        (Policy(limits={Kind.INTEGRITY: Limit(share=0.01)}), UNREAD, "11 of 1000 rows are flagged as integrity"),
        (Policy(limits={Kind.LABEL: Limit(5)}), replace(GOOD, counts={"label": 6}), "6 rows are flagged as label"),
        (DEFAULT, replace(GOOD, runs=(replace(RAN, kind="label-issue"),)), "requires spectral-signature, which the"),
        (DEFAULT, replace(GOOD, runs=()), "no detector of the audit completed"),
        (DEFAULT, replace(GOOD, runs=(RAN, replace(RAN, status="failed", reason="boom"))), "on grey32 crashed: boom"),
        (DEFAULT, replace(GOOD, runs=(replace(RAN, status="not applicable", reason="one class"),)), "one class"),
        (Policy(required=("spectral-signature on tokens",)), GOOD, "requires spectral-signature on tokens"),
        (Policy(plans=(Digest("sha256", "c" * 64),)), GOOD, "not among the policy's plans"),
        (DEFAULT, replace(GOOD, fdr=1e-12), "false discovery rate is 1e-12"),
        (DEFAULT, replace(GOOD, fdr=0.5), "false discovery rate is 0.5"),
        (DEFAULT, replace(GOOD, fdr=float("nan")), "false discovery rate is nan"),
        (DEFAULT, replace(GOOD, ended=NOW - timedelta(days=31)), "31d old"),
        (DEFAULT, replace(GOOD, ended=NOW + timedelta(hours=1)), "has not come yet"),
        (DEFAULT, replace(GOOD, afterwards=True), "not signed when it ran"),
    ],
)
def test_each_fault_has_its_own_reason(rules, facts, said):
    reasons = decide(rules, facts, NOW)
    assert any(said in reason for reason in reasons), reasons
    assert len(reasons) <= 3


@pytest.mark.parametrize(
    ("rules", "facts"),
    [
        (DEFAULT, replace(GOOD, verdict=Verdict.WARNED, result=Verdict.WARNED)),
        (Policy(required=("spectral-signature on grey32", "spectral-signature on pixels")), GOOD),
        (Policy(plans=(GOOD.plan,)), GOOD),
        (Policy(afterwards="allow"), replace(GOOD, afterwards=True)),
        (Policy(limits={Kind.INTEGRITY: Limit(rows=11)}), UNREAD),
        (Policy(limits={Kind.INTEGRITY: Limit(share=0.011)}), UNREAD),
        (waived(waiver(kind=Kind.INTEGRITY, label=None)), UNREAD),
        (DEFAULT, replace(GOOD, counts={"label": 400}, groups=(AttestedFinding("label", None, 400, False, "odd"),))),
        (DEFAULT, replace(GOOD, ended=NOW + timedelta(minutes=4))),
        (waived(waiver()), BAD),
        (waived(waiver(kind=None, label=None, dataset=ROOT)), BAD),
        (waived(waiver(dataset=ROOT)), BAD),
    ],
)
def test_what_is_let_through(rules, facts):
    assert decide(rules, facts, NOW) == ()


@pytest.mark.parametrize(
    ("rules", "facts", "said"),
    [
        (waived(waiver(until=NOW)), BAD, "the waiver of ada for the backdoor group labelled cat expired on 2027-03-01"),
        (waived(waiver(label="dog")), BAD, "the audit failed"),
        (waived(waiver(kind=Kind.LABEL)), BAD, "the audit failed"),
        (waived(waiver(dataset=Digest("dirHash1", "f" * 64))), BAD, "the audit failed"),
        (waived(waiver()), replace(BAD, counts={"backdoor": 13}), "1 rows are flagged as backdoor"),
        (waived(waiver()), replace(BAD, groups=(GROUP, replace(GROUP, label="dog"))), "the audit failed"),
        (waived(waiver()), replace(BAD, runs=(RAN, replace(RAN, status="failed", reason="x"))), "crashed"),
        (waived(waiver(kind=None, label=None, dataset=ROOT)), replace(BAD, runs=()), "no detector"),
        (waived(waiver()), replace(BAD, groups=(), counts={}), "the audit failed"),
    ],
)
def test_a_waiver_forgives_what_it_names_and_nothing_else(rules, facts, said):
    assert any(said in reason for reason in decide(rules, facts, NOW))


@pytest.mark.parametrize(
    ("classes", "asked"),
    [(0, "trigger-enrichment"), (1, "trigger-enrichment"), (2, None), (None, None)],
)
def test_of_data_without_classes_other_detectors_are_required(classes, asked):
    """A detector that compares classes answers nothing where there are none, so its run is no reason to let data in."""
    said = decide(DEFAULT, replace(GOOD, classes=classes), NOW)
    assert (said == ()) if asked is None else any(f"the policy requires {asked}" in one for one in said)
    texts = tuple(replace(RAN, kind=kind) for kind in DEFAULT.unlabelled)
    assert decide(DEFAULT, replace(GOOD, classes=0, runs=texts), NOW) == ()


def test_an_expired_waiver_that_nobody_needs_refuses_nothing():
    assert decide(waived(waiver(kind=None, label=None, dataset=ROOT, until=NOW)), GOOD, NOW) == ()


@given(st.sampled_from([GOOD, BAD]), st.timedeltas(timedelta(0), timedelta(days=400)))
def test_growing_older_never_helps(facts, later):
    rules = waived(waiver())
    assert not decide(rules, facts, NOW) or decide(rules, facts, NOW + later)


TOML = """
required = ["spectral-signature", "label-issue on patches"]
unlabelled = ["flood"]
plans = ["sha256:{b}"]
warned = "refuse"
min_fdr = 0.005
max_fdr = 0.05
max_age = "36h"
afterwards = "allow"

[limits.label]
rows = 10
share = 0.02
[limits.backdoor]

[[waiver]]
dataset = "dirHash1:{a}"
by = "ada"
why = "natural"
until = 2027-01-31

[[waiver]]
group = {{kind = "backdoor", label = "cat"}}
by = "bob"
why = "frames of one video"
until = 2027-01-31T12:00:00+02:00
""".format(a="a" * 64, b="b" * 64)


def test_a_policy_file(tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(TOML)
    read = policy_file.load(str(path))
    assert read == Policy(
        required=("spectral-signature", "label-issue on patches"),
        unlabelled=("flood",),
        plans=(Digest("sha256", "b" * 64),),
        limits={Kind.BACKDOOR: Limit(), Kind.INTEGRITY: Limit(rows=0), Kind.LABEL: Limit(10, 0.02)},
        warned="refuse",
        min_fdr=0.005,
        max_fdr=0.05,
        max_age=timedelta(hours=36),
        afterwards="allow",
        waivers=(
            Waiver("ada", "natural", datetime(2027, 2, 1, tzinfo=UTC), ROOT),
            Waiver(
                "bob", "frames of one video", datetime(2027, 1, 31, 10, tzinfo=UTC), None, Kind.BACKDOOR, "cat"
            ),
        ),
    )  # fmt: skip
    path.write_text("# nothing said\n")
    assert policy_file.load(str(path)) == DEFAULT


def test_a_digest_is_of_the_meaning():
    assert policy_file.parse({"max_age": "30d"}).digest == DEFAULT.digest
    assert policy_file.parse({"max_age": "720h"}).digest == DEFAULT.digest
    assert policy_file.parse({"max_age": "31d"}).digest != DEFAULT.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_agee = '7d'", "no setting 'max_agee'; did you mean 'max_age'?"),
        ("[limits.backdor]", "no setting 'backdor'; did you mean 'backdoor'?"),
        ("[limits.label]\nrow = 1", "did you mean 'rows'?"),
        ("[limits.label]\nrows = true", "rows must be a whole number"),
        ("[limits.label]\nrows = -1", "at least 0"),
        ("[limits.label]\nshare = 2", "from 0 to 1"),
        ("max_fdr = nan", "from 0 to 1"),
        ("min_fdr = 0.05\nmax_fdr = 0.01", "must not exceed"),
        ("max_age = 7", "such as '7d'"),
        ("max_age = '0d'", "such as '7d'"),
        ("warned = 'ignore'", "'allow' or 'refuse'"),
        ("required = 'spectral-signature'", "a list of texts"),
        ("plans = ['b3']", "64 hexadecimal digits"),
        ("waiver = 1", "[[waiver]]"),
        ("[[waiver]]\nby = 'a'\nwhy = 'b'", "must say 'until'"),
        ("[[waiver]]\nby = ''\nwhy = 'b'\nuntil = 2027-01-01", "by must be a text"),
        ("[[waiver]]\nby = 'a'\nwhy = 'b'\nuntil = 2027-01-01", "got neither"),
        ("[[waiver]]\nby = 'a'\nwhy = 'b'\nuntil = '2027-01-01'\ngroup = {kind = 'label'}", "without quotes"),
        ("[[waiver]]\nby = 'a'\nwhy = 'b'\nuntil = 2027-01-01T00:00:00\ngroup = {kind = 'label'}", "with an offset"),
        ("[[waiver]]\nby = 'a'\nwhy = 'b'\nuntil = 2027-01-01\ngroup = {kind = 'odd'}", "must be one of backdoor"),
        ("[[waiver]]\nby = 'a'\nwhy = 'b'\nuntil = 2027-01-01\ndataset = 'x'", "dirHash1: and 64"),
        ("limits = 3", "must be a table"),
        ("= 3", "not TOML"),
    ],
)
def test_a_policy_that_says_what_there_is_not_is_refused(text, said, tmp_path):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(PlanError, match=r".") as caught:
        policy_file.load(str(path))
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_policy_that_is_not_there():
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        policy_file.load("nowhere.toml")
