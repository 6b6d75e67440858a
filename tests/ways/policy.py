"""The policy: malformed, or saying what cannot be compared."""

from __future__ import annotations

from datetime import timedelta

from attested import NOW
from ways.contract import Options, Scene, way

from foretaste.gate.policy import Limit, Policy
from foretaste.types.findings import Kind

WAIVER = '[[waiver]]\ngroup = {kind = "backdoor", label = "cat"}\nby = "ada"\nwhy = "x"\nuntil = %s'
NAN = float("nan")
FAILED = "the audit failed: poison"

for name, said, text in [
    ("not TOML", "the policy is not TOML", "= 3"),
    ("deep", "the policy is not TOML", "a = " + "[" * 99_999),
    ("empty", FAILED, ""),
    (
        "until in the year 0",
        "until must end within the years 1 to 9999 of UTC, got 0001-01-01T00:00:00+14:00",
        WAIVER % "0001-01-01T00:00:00+14:00",
    ),
    (
        "until in the year 10000",
        "until must end within the years 1 to 9999 of UTC, got 9999-12-31T23:59:59-14:00",
        WAIVER % "9999-12-31T23:59:59-14:00",
    ),
    (
        "until the last day there is",
        "until must end within the years 1 to 9999 of UTC, got 9999-12-31",
        WAIVER % "9999-12-31",
    ),
    ("until the first second there is", "expired on 0001-01-01", WAIVER % "0001-01-01T00:00:00Z"),
    ("until the first day there is", "expired on 0001-01-01", WAIVER % "0001-01-01"),
    ("a waiver of the group, with a reason and an end", "", WAIVER % "9999-12-30"),
    ("max_age of a million weeks", FAILED, 'max_age = "999999w"'),
    ("max_age of more", "must be a number and m, h, d or w", 'max_age = "9999999w"'),
    ("a limit of 5,000 digits", "the policy is not TOML", "[limits.backdoor]\nrows = " + "9" * 5000),
    ("a limit of 1,000 digits", FAILED, "[limits.backdoor]\nrows = " + "9" * 1000),
    ("a share of infinity", "must be a number from 0 to 1, got inf", "[limits.backdoor]\nshare = inf"),
]:

    @way(f"policy: {name}", said)
    def _(scene: Scene, text: str = text) -> Options:
        return scene.policy(text)


@way("policy: not UTF-8", "the policy is not TOML")
def _(scene: Scene) -> Options:
    options = scene.policy("")
    (scene.workshop.folder / "gate.toml").write_bytes(b"\xff")
    return options


for name, rules in {
    "a share that is no number": Policy(limits={Kind.BACKDOOR: Limit(share=NAN)}),
    "a negative age": Policy(max_age=timedelta(days=-1)),
    "a rate that is no number": Policy(min_fdr=NAN),
    "no detector required": Policy(required=()),
}.items():

    @way(f"policy: in Python, {name}", FAILED)
    def _(_: Scene, rules: Policy = rules) -> Options:
        return {"policy": rules}


for name, said, later in [
    ("four minutes before its end", "", timedelta(minutes=-4)),
    ("ten minutes before its end", "which has not come yet", timedelta(minutes=-10)),
    ("29 days later", "", timedelta(days=29)),
    ("31 days later", "d old", timedelta(days=31)),
]:

    @way(f"clock: the audit is asked for {name}", said)
    def _(scene: Scene, later: timedelta = later) -> Options:
        scene.workshop.sign(ended=NOW)
        return {"now": NOW + later}


@way("rows: one of 200 could not be read", "1 rows are flagged as integrity, and the policy allows 0")
def _(scene: Scene) -> Options:
    return unread(scene, Policy(limits={Kind.INTEGRITY: Limit(rows=1)}))


@way("rows: one of 200 could not be read, and audit and gate know it", "")
def _(scene: Scene) -> Options:
    return unread(scene, Policy(limits={Kind.INTEGRITY: Limit(rows=1)})) | scene.policy("[limits.integrity]\nrows = 1")


def unread(scene: Scene, policy: Policy) -> Options:
    """A newer audit that could not read one row, signed by this policy."""
    group = {"kind": "integrity", "label": None, "rows": 1, "p_value": 1.0, "detectors": [], "reason": "unread"}
    found = {"verdict": "warned", "groups": [group | {"evidence": {}}], "counts": {"integrity": 1}}
    scene.workshop.sign(policy=policy, **found)
    return {}
