"""The attestation: edited, resigned, malformed, and contradicting itself."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from attested import group
from ways.contract import Options, Scene, annotations, way

from foretaste.gate.attestation import keys, statement
from foretaste.types.digests import canonical

EDITED = "was edited since it was signed, its signature does not fit what it says now"
NO_JSON = "an attestation is JSON, and this is not"
NO_ENVELOPE = "a DSSE envelope has payload, payloadType and signatures"
CONTRADICTS = "the attestation contradicts itself: "
LACKS = "the attestation lacks what an audit says: "


def sealed(scene: Scene) -> dict[str, Any]:
    return json.loads(Path(scene.passed).read_bytes())


@way("attestation: edited", EDITED)
def _(scene: Scene) -> Options:
    found = sealed(scene)
    text = base64.b64decode(found["payload"]).replace(b"nothing was found", b"nothing is there.")
    return scene.given(json.dumps(found | {"payload": base64.b64encode(text).decode()}).encode())


@way("attestation: of other bytes, with this signature", EDITED)
def _(scene: Scene) -> Options:
    body = scene.body()
    body["subject"][0]["digest"]["sha256"] = "0" * 64
    payload = base64.b64encode(canonical(body)).decode()
    return scene.given(json.dumps(sealed(scene) | {"payload": payload}).encode())


for name, said, change in [
    ("no signature", "was signed with another key (nobody)", lambda _: {"signatures": []}),
    (
        "2,000 wrong signatures",
        EDITED,
        lambda one: {"signatures": [one["signatures"][0] | {"sig": base64.b64encode(b"x" * 64).decode()}] * 2000},
    ),
    ("another payload type", "its payload is 'x'", lambda _: {"payloadType": "x"}),
    ("white space in the payload", EDITED, lambda one: {"payload": one["payload"][:8] + "\n" + one["payload"][8:]}),
    ("padding after the payload", EDITED, lambda one: {"payload": one["payload"] + "="}),
    ("payload is not ASCII", EDITED, lambda one: {"payload": "ä" + one["payload"]}),
    ("signature is no base64", EDITED, lambda one: {"signatures": [one["signatures"][0] | {"sig": "!"}]}),
    ("signature too short", EDITED, lambda one: {"signatures": [one["signatures"][0] | {"sig": "AAAA"}]}),
    ("signature is a number", NO_ENVELOPE, lambda _: {"signatures": [{"keyid": "x", "sig": 1}]}),
    ("signatures are an object", NO_ENVELOPE, lambda _: {"signatures": {}}),
    ("the right signature 2,000 times", "", lambda one: {"signatures": one["signatures"] * 2000}),
    ("the key called something else", "", lambda one: {"signatures": [one["signatures"][0] | {"keyid": "\ud800"}]}),
]:

    @way(f"attestation: {name}", said)
    def _(scene: Scene, change: Any = change) -> Options:
        found = sealed(scene)
        return scene.given(json.dumps(found | change(found)).encode())


for name, said, text in [
    ("empty", NO_JSON, b""),
    ("deep JSON", NO_JSON, b"[" * 99_999),
    ("a number of 5,000 digits", NO_JSON, b"9" * 5000),
    ("NaN", NO_JSON, b"NaN"),
    ("not UTF-8", NO_JSON, b"\xff\x00"),
    ("null", NO_ENVELOPE, b"null"),
    ("UTF-16", NO_ENVELOPE, '{"payload": ""}'.encode("utf-16")),
    (
        "a million bytes of junk",
        "its payload is 'x'",
        b'{"payload": "' + b"A" * 1_000_000 + b'", "payloadType": "x", "signatures": []}',
    ),
    (
        "two payloads",
        "an object says 'payload' twice",
        b'{"payload": "", "payload": "", "payloadType": "x", "signatures": []}',
    ),
]:

    @way(f"attestation: {name}", said)
    def _(scene: Scene, text: bytes = text) -> Options:
        return scene.given(text)


NO_RESULT = "is signed, but is not the attestation of a test result"
for name, payload in {
    "deep JSON": b"[" * 99_999,
    "a number of 5,000 digits": b"9" * 5000,
    "no JSON": b"hello",
    "a list": b"[]",
    "not UTF-8": b"\xff",
    "another predicate": canonical({"_type": statement.STATEMENT, "predicateType": "https://slsa.dev/provenance/v1"}),
}.items():

    @way(f"statement: {name}, signed by the right key", NO_RESULT)
    def _(scene: Scene, payload: bytes = payload) -> Options:
        return scene.sealed(payload)


@way("statement: verdict twice, signed by the right key", NO_RESULT)
def _(scene: Scene) -> Options:
    text = canonical(scene.body())
    return scene.sealed(text.replace(b'"verdict":"passed"', b'"verdict":"failed","verdict":"passed"'))


@way("statement: NaN for a rate, signed by the right key", NO_RESULT)
def _(scene: Scene) -> Options:
    return scene.sealed(canonical(scene.body()).replace(b'"fdr":0.01', b'"fdr":NaN'))


@way("statement: an entry of the log", "its payload is 'application/vnd.foretaste.ledger+json'")
def _(scene: Scene) -> Options:
    found = json.loads(scene.lines()[0])
    payload = base64.b64encode(canonical(found["entry"])).decode()
    kind = "application/vnd.foretaste.ledger+json"
    return scene.given(json.dumps(found | {"payload": payload, "payloadType": kind}).encode())


@way("key: signed by another", "was signed with another key")
def _(scene: Scene) -> Options:
    other, _ = keys.generate(scene.workshop.folder / "other")
    return scene.given(statement.sign(scene.body(), other))


@way("key: signed by another under the name of the right one", EDITED)
def _(scene: Scene) -> Options:
    other, _ = keys.generate(scene.workshop.folder / "other")
    found = json.loads(statement.sign(scene.body(), other))
    found["signatures"][0]["keyid"] = keys.verifier(scene.workshop.public).keyid
    return scene.given(json.dumps(found).encode())


@way("key: signed by both", "")
def _(scene: Scene) -> Options:
    other, _ = keys.generate(scene.workshop.folder / "other")
    theirs = json.loads(statement.sign(scene.body(), other))["signatures"]
    return scene.given(json.dumps(sealed(scene) | {"signatures": theirs + sealed(scene)["signatures"]}).encode())


@way("key: the private one", "a private key has no place where audits are checked")
def _(scene: Scene) -> Options:
    return {"key": scene.workshop.private}


@way("key: another public one", "were signed with another key")
def _(scene: Scene) -> Options:
    return {"key": str(keys.generate(scene.workshop.folder / "other")[1])}


@way("key: a folder", "the public key cannot be read: Is a directory")
def _(scene: Scene) -> Options:
    return {"key": str(scene.workshop.folder)}


@way("key: data", "not a public key in PEM")
def _(scene: Scene) -> Options:
    return {"key": str(scene.workshop.data / "a.parquet")}


CERTAIN = {"kind": "backdoor", "label": "cat", "rows": 60, "certain": True, "reason": "60 rows share a pattern"}
TWELVE = CERTAIN | {"rows": 12}
for name, said, told in [
    (
        "a certain backdoor and the verdict passed",
        f"{CONTRADICTS}the audit passed, and a backdoor group was found",
        {"groups": [CERTAIN], "counts": {"backdoor": 60}, "flagged": 60},
    ),
    (
        "a certain backdoor of no row",
        "the audit passed, and a backdoor group was found",
        {"groups": [CERTAIN | {"rows": 0}]},
    ),
    (
        "a backdoor that is uncertain",
        "was found by a test and cannot be uncertain",
        {"groups": [CERTAIN | {"certain": False}]},
    ),
    (
        "flagged rows and no group",
        "60 rows are flagged as backdoor, and no backdoor group was found",
        {"counts": {"backdoor": 60}, "flagged": 60},
    ),
    (
        "a group of more rows than are flagged",
        "a backdoor group has 60 rows, and 12 rows are flagged as backdoor",
        {"verdict": "failed", "groups": [CERTAIN], "counts": {"backdoor": 12}, "flagged": 12},
    ),
    (
        "more flagged rows than rows",
        "500 of 200 rows are flagged as label",
        {
            "groups": [CERTAIN | {"kind": "label", "label": None, "rows": 500, "certain": False}],
            "counts": {"label": 500},
            "flagged": 200,
        },
    ),
    (
        "none flagged in all, twelve by kind",
        "0 rows are flagged, and by kind they are 12 backdoor",
        {"groups": [TWELVE], "counts": {"backdoor": 12}, "flagged": 0},
    ),
    ("more flagged in all than by kind", "9 rows are flagged, and by kind they are none", {"flagged": 9}),
    (
        "findings in more classes than there are",
        "findings in 2 classes, and there are 1",
        {"groups": [TWELVE, TWELVE | {"label": "dog"}], "counts": {"backdoor": 24}, "flagged": 24, "classes": 1},
    ),
    ("no row", "the audit passed, and it has looked at no row", {"rows": 0}),
    ("no run", "the audit passed, and no run completed", {"runs": []}),
    (
        "unread rows and the verdict passed",
        "the audit passed, and 3 rows cannot be read",
        {
            "counts": {"integrity": 3},
            "flagged": 3,
            "groups": [CERTAIN | {"kind": "integrity", "label": None, "rows": 3, "certain": False}],
        },
    ),
    (
        "a certain group of wrong labels and the verdict passed",
        "the audit passed, and a label group was found",
        {"counts": {"label": 60}, "flagged": 60, "groups": [CERTAIN | {"kind": "label"}]},
    ),
    (
        "a finding of an unknown kind",
        "a finding of the kind 'odd'",
        {"groups": [CERTAIN | {"kind": "odd", "certain": False}]},
    ),
    ("flagged rows of an unknown kind", "a finding of the kind 'odd'", {"counts": {"odd": 0}}),
    ("ended before it started", "before it started at 2099-01-01T00:00:00Z", {"started": "2099-01-01T00:00:00Z"}),
    (
        "ended in the future",
        "which has not come yet",
        {"ended": "9999-12-31T23:59:59Z", "started": "9999-12-31T23:59:59Z"},
    ),
    (
        "ended in the year 0",
        f"{LACKS}ended: a time must lie in the years 1 to 9999",
        {"ended": "0001-01-01T00:00:00+14:00"},
    ),
    ("ended in the year 10000", f"{LACKS}ended: a time must lie in the years", {"ended": "9999-12-31T23:59:59-14:00"}),
    (
        "started in the year 0",
        f"{LACKS}started: a time must lie in the years",
        {"started": "0001-01-01T00:00:00+14:00"},
    ),
    (
        "ended long ago",
        "d old (ended 0001-01-01T00:00:00Z)",
        {"ended": "0001-01-01T00:00:00Z", "started": "0001-01-01T00:00:00Z"},
    ),
    ("ended without an offset", f"{LACKS}ended: a time needs an offset", {"ended": "2026-11-30T00:00:00"}),
    ("rate is a text", f"{LACKS}fdr must be a number from 0 to 1, got '0.01'", {"fdr": "0.01"}),
    ("rows of 4,000 digits", f"{LACKS}rows must be a whole number of at least 0", {"rows": 10**4000}),
    ("afterwards is 0", "not signed when it ran but later", {"afterwards": 0}),
]:

    @way(f"facts: {name}", said)
    def _(scene: Scene, told: Any = told) -> Options:
        return scene.told(**told)


def ran(**changed: Any) -> dict[str, Any]:
    run = {"name": "spectral-signature", "kind": "spectral-signature", "embedder": "grey", "embedder_kind": "pixels"}
    return run | {"status": "completed", "reason": ""} | changed


for name, said, runs in [
    ("all runs skipped", "the audit passed, and no run completed", [ran(status="not applicable", reason="one class")]),
    (
        "a run that crashed",
        "the audit passed, and labels on grey crashed",
        [ran(), ran(name="labels", status="failed")],
    ),
    (
        "a run that ended otherwise",
        "ended as 'odd', and a run can be completed",
        [ran(), ran(name="labels", status="odd")],
    ),
    ("a run that ended twice", "ended as not applicable and as completed", [ran(status="not applicable"), ran()]),
]:

    @way(f"facts: {name}", said)
    def _(scene: Scene, runs: Any = runs) -> Options:
        return scene.told(runs=runs)


for name, said, change in [
    (
        "result better than the verdict",
        "the audit warned, and was signed as passed",
        lambda body: annotations(body).update(verdict="warned"),
    ),
    (
        "result warned, verdict passed",
        "the audit passed, and was signed as warned",
        lambda body: body["predicate"].update(result="WARNED"),
    ),
    (
        "result failed, verdict passed",
        "signed as failed by the policy it ran under",
        lambda body: body["predicate"].update(result="FAILED"),
    ),
    ("result is none", "lacks what an audit says", lambda body: body["predicate"].update(result="GREAT")),
    (
        "failed tests, verdict passed",
        "the audit passed, and labels on grey is among its failed tests",
        lambda body: body["predicate"].update(failedTests=["labels on grey"]),
    ),
    ("afterwards missing", f"{LACKS}it does not say afterwards", lambda body: annotations(body).pop("afterwards")),
    ("no subject", "the attestation does not say which files it is about", lambda body: body.update(subject=[])),
    (
        "two datasets",
        "there must be one dataset, and there are 2",
        lambda body: body["subject"].append(body["subject"][-1]),
    ),
    ("a file twice", "the file 'a.parquet' is named twice", lambda body: body["subject"].append(body["subject"][0])),
    (
        "files of another dataset",
        "its files do not make up its dataset",
        lambda body: body["subject"][0]["digest"].update(sha256="0" * 64),
    ),
    (
        "a file name that no file has",
        "the attestation does not say which files it is about",
        lambda body: body["subject"][0].update(name="\ud800"),
    ),
    (
        "another plan than its digest",
        "the content of its plan has another digest",
        lambda body: body["predicate"]["configuration"][0].update(content="e30="),
    ),
    (
        "two reports",
        "two parts of its configuration have one name",
        lambda body: body["predicate"]["configuration"].append(body["predicate"]["configuration"][-1]),
    ),
]:

    @way(f"facts: {name}", said)
    def _(scene: Scene, change: Any = change) -> Options:
        return scene.restated(change)


@way("facts: a contradiction, and a waiver of the whole dataset", CONTRADICTS)
def _(scene: Scene) -> Options:
    digest = scene.workshop.decide().digest
    waiver = f'[[waiver]]\ndataset = "{digest}"\nby = "ada"\nwhy = "x"\nuntil = 9000-01-01\n'
    return scene.told(groups=[CERTAIN], counts={"backdoor": 60}, flagged=60) | scene.policy(waiver)


@way("facts: the report of the audit itself contradicts itself", "signed as failed by the policy it ran under")
def _(scene: Scene) -> Options:
    scene.workshop.sign(groups=[group()], counts={"backdoor": 12})
    return {}
