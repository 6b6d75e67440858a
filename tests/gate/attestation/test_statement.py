"""The statement, its signature, and what tools written by others make of them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import stat
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from attested import NOW, PLAN, Workshop, group, report, run
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from foretaste.errors import DataError, PlanError, Refused
from foretaste.gate import policy
from foretaste.gate.attestation import envelope, keys, statement
from foretaste.gate.policy import Policy
from foretaste.types import digests
from foretaste.types.digests import Digest
from foretaste.types.findings import Verdict

DIGEST = "dirHash1:" + "a" * 64


def stated(workshop: Workshop, **changed: object) -> dict:
    document = report(str(workshop.data), **changed)
    return statement.statement(document, policy=policy.DEFAULT, started=NOW, ended=NOW + timedelta(minutes=2))


def test_what_is_signed_is_what_is_verified(workshop):
    body = stated(workshop)
    assert statement.verified(statement.sign(body, workshop.private), workshop.public) == body
    assert statement.sign(body, workshop.private) == statement.sign(body, workshop.private)


def test_the_facts_come_back(workshop):
    found = group(label=None)
    told = statement.facts(stated(workshop, verdict="failed", groups=[found], counts={"backdoor": 12}, rows=500))
    assert (told.verdict, told.result, told.rows, told.counts) == (
        Verdict.FAILED,
        Verdict.FAILED,
        500,
        {"backdoor": 12},
    )
    assert told.ended == NOW + timedelta(minutes=2)
    assert told.groups[0].label is None
    assert [(one.name, one.kind, one.embedder_kind) for one in told.runs] == [
        ("spectral-signature", "spectral-signature", "pixels"),
        ("labels", "label-issue", "pixels"),
    ]
    assert told.dataset == Digest.parse(report(str(workshop.data))["dataset"]["digest"])


@pytest.mark.parametrize(
    ("changed", "passed", "warned", "failed"),
    [
        ({}, ["spectral-signature on grey", "labels on grey"], [], []),
        ({"groups": [group()]}, ["labels on grey"], [], ["spectral-signature on grey"]),
        ({"groups": [group("label")]}, ["labels on grey"], ["spectral-signature on grey"], []),
        ({"runs": [run(), run("labels", "failed", "x")]}, ["spectral-signature on grey"], [], ["labels on grey"]),
        ({"runs": [run(), run("labels", "not applicable")]}, ["spectral-signature on grey"], [], []),
    ],
)
def test_the_tests_are_named(changed, passed, warned, failed, workshop):
    predicate = stated(workshop, **changed)["predicate"]
    assert [predicate[f"{name}Tests"] for name in ("passed", "warned", "failed")] == [passed, warned, failed]


def test_the_policy_can_make_a_result_worse_but_never_better(workshop):
    document = report(str(workshop.data), runs=[run("labels")])
    body = statement.statement(document, policy=policy.DEFAULT, started=NOW, ended=NOW)
    assert (body["predicate"]["result"], statement.facts(body).verdict) == ("FAILED", Verdict.PASSED)
    document = report(str(workshop.data), verdict="failed", reason="poison")
    body = statement.statement(document, policy=Policy(required=()), started=NOW, ended=NOW)
    assert body["predicate"]["result"] == "FAILED"


def test_a_descriptor_with_content_has_the_digest_of_its_content(workshop):
    import hashlib

    resources = {one["name"]: one for one in stated(workshop)["predicate"]["configuration"]}
    assert sorted(resources) == ["embedder grey", "plan", "policy", "report.json"]
    for name in ("embedder grey", "plan", "policy"):
        content = base64.b64decode(resources[name]["content"])
        assert resources[name]["digest"] == {"sha256": hashlib.sha256(content).hexdigest()}
    assert json.loads(base64.b64decode(resources["plan"]["content"])) == {
        name: PLAN[name] for name in ("embedders", "detectors", "decide")
    }


def test_no_path_of_this_machine_is_in_it(workshop):
    assert str(workshop.folder) not in json.dumps(stated(workshop))


def test_a_report_that_lacks_something_is_not_attested(workshop):
    document = report(str(workshop.data))
    del document["plan"]
    with pytest.raises(DataError, match="lacks what an attestation must say: KeyError\\('plan'\\)"):
        statement.statement(document, policy=policy.DEFAULT, started=NOW, ended=NOW)


# Others' tools


def test_securesystemslib_verifies_it_from_its_bytes(workshop):
    sealed = Path(workshop.sign()).read_bytes()
    public = SSlibKey.from_crypto(load_pem_public_key(Path(workshop.public).read_bytes()))
    assert list(Envelope.from_dict(json.loads(sealed)).verify([public], 1)) == [public.keyid]
    with pytest.raises(VerificationError):
        Envelope.from_dict(json.loads(sealed)).verify([CryptoSigner.generate_ed25519().public_key], 1)


def test_in_toto_parses_it_as_a_test_result(workshop):
    sealed = json.loads(Path(workshop.sign()).read_bytes())
    assert sealed["payloadType"] == "application/vnd.in-toto+json"
    text = base64.b64decode(sealed["payload"]).decode()
    parsed = json_format.Parse(text, statement_pb2.Statement())
    Statement.copy_from_pb(parsed).validate()
    assert [one.name for one in parsed.subject] == ["a.parquet", "b.parquet", "data/"]
    assert parsed.predicate_type == "https://in-toto.io/attestation/test-result/v0.1"
    result = json_format.ParseDict(json.loads(text)["predicate"], test_result_pb2.TestResult())
    assert result.result == "PASSED"
    assert list(result.passed_tests) == ["spectral-signature on grey", "labels on grey"]
    for one in result.configuration:
        ResourceDescriptor.copy_from_pb(one).validate()
        assert one.digest["sha256"]


def test_cryptography_verifies_the_signature_over_the_encoding_of_the_standard(workshop):
    sealed = json.loads(Path(workshop.sign()).read_bytes())
    kind, payload = sealed["payloadType"].encode(), base64.b64decode(sealed["payload"])
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    key = load_pem_public_key(Path(workshop.public).read_bytes())
    key.verify(base64.b64decode(sealed["signatures"][0]["sig"]), encoded)  # type: ignore[union-attr, call-arg]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
def test_openssl_verifies_it_too(workshop, tmp_path):
    sealed = json.loads(Path(workshop.sign()).read_bytes())
    kind, payload = sealed["payloadType"].encode(), base64.b64decode(sealed["payload"])
    (tmp_path / "said").write_bytes(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    (tmp_path / "sig").write_bytes(base64.b64decode(sealed["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", workshop.public, "-rawin", "-in", "said"]
    done = subprocess.run([*command, "-sigfile", "sig"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Signature Verified Successfully" in done.stdout) == (0, True), done.stderr


# Forgeries


def altered(envelope: bytes, **changed: object) -> bytes:
    return json.dumps(json.loads(envelope) | changed).encode()


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_of_the_payload_is_refused(workshop, data):
    sealed = json.loads(statement.sign(stated(workshop), workshop.private))
    payload = bytearray(base64.b64decode(sealed["payload"]))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(Refused, match="edited since it was signed"):
        statement.verified(
            altered(json.dumps(sealed).encode(), payload=base64.b64encode(payload).decode()), workshop.public
        )


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_of_the_file_is_refused_or_changes_nothing(workshop, data):
    """A flip in a key's id, which is a hint, or in white space changes nothing that is said."""
    envelope = statement.sign(stated(workshop), workshop.private)
    flipped = bytearray(envelope)
    flipped[data.draw(st.integers(0, len(flipped) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        said = statement.verified(bytes(flipped), workshop.public)
    except (Refused, DataError):
        return
    assert said == statement.verified(envelope, workshop.public)
    before, after = json.loads(envelope), json.loads(flipped)
    assert before["payload"] == after["payload"]


def test_another_spelling_of_the_same_payload_is_refused(workshop):
    envelope = statement.sign(stated(workshop, reason="x"), workshop.private)
    body = statement.verified(envelope, workshop.public)
    for extra in range(3):
        body["predicate"]["pad"] = "x" * extra
        sealed = json.loads(statement.sign(body, workshop.private))
        if sealed["payload"].endswith("="):
            last = sealed["payload"].rstrip("=")
            alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
            other = last[:-1] + alphabet[alphabet.index(last[-1]) + 1] + "=" * (len(sealed["payload"]) - len(last))
            assert base64.b64decode(other) == base64.b64decode(sealed["payload"])
            with pytest.raises(Refused):
                statement.verified(altered(json.dumps(sealed).encode(), payload=other), workshop.public)


def test_another_key(workshop, tmp_path):
    keys.generate(tmp_path / "other")
    envelope = statement.sign(stated(workshop), str(tmp_path / "other" / "key.pem"))
    with pytest.raises(Refused, match=r"was signed with another key \([0-9a-f]{12}\)"):
        statement.verified(envelope, workshop.public)
    theirs = json.loads(envelope)["signatures"]
    theirs[0]["keyid"] = keys.verifier(workshop.public).keyid
    with pytest.raises(Refused, match="edited"):
        statement.verified(altered(envelope, signatures=theirs), workshop.public)
    with pytest.raises(Refused, match="another key \\(nobody\\)"):
        statement.verified(altered(envelope, signatures=[]), workshop.public)


def test_the_key_may_be_called_something_else(workshop):
    sealed = json.loads(statement.sign(stated(workshop), workshop.private))
    sealed["signatures"][0]["keyid"] = "release key 3"
    assert statement.verified(json.dumps(sealed).encode(), workshop.public)


def test_something_else_that_the_same_key_signed(workshop):
    seal = envelope.seal(digests.canonical(stated(workshop)), "text/plain", workshop.private)
    with pytest.raises(Refused, match="must hold an in-toto statement, its payload is 'text/plain'"):
        statement.verified(json.dumps(seal).encode(), workshop.public)
    seal["payloadType"] = statement.PAYLOAD
    with pytest.raises(Refused, match="edited"):
        statement.verified(json.dumps(seal).encode(), workshop.public)
    plain = envelope.seal(b"hello", statement.PAYLOAD, workshop.private)
    with pytest.raises(Refused, match="not the attestation of a test result"):
        statement.verified(json.dumps(plain).encode(), workshop.public)
    other = {"_type": statement.STATEMENT, "predicateType": "https://slsa.dev/provenance/v1"}
    with pytest.raises(Refused, match="not the attestation of a test result"):
        statement.verified(statement.sign(other, workshop.private), workshop.public)
    empty = {"_type": statement.STATEMENT, "predicateType": statement.PREDICATE}
    for question in (statement.facts, statement.subjects):
        with pytest.raises(Refused, match="the attestation"):
            question(empty)


@pytest.mark.parametrize("path", ["rows", "counts", "groups", "fdr", "ended", "afterwards", "runs", "verdict"])
def test_a_statement_without_a_fact_or_with_nonsense_for_it_is_refused(path, workshop):
    for nonsense in (None, "x", -1.5, [1]):
        body = stated(workshop)
        told = body["predicate"]["configuration"][-1]["annotations"]
        told[path] = nonsense
        if path == "afterwards":
            assert statement.facts(body).afterwards
            continue
        with pytest.raises(Refused, match="lacks what an audit says"):
            statement.facts(body)
        del told[path]
        with pytest.raises(Refused):
            statement.facts(body)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"payload": 1, "payloadType": "", "signatures": []}',
             b'{"payload": "", "payloadType": "", "signatures": [{"sig": ""}]}'],
)  # fmt: skip
def test_what_is_no_envelope_cannot_be_read(text, workshop):
    with pytest.raises(DataError, match="attestation"):
        statement.verified(text, workshop.public)


# Keys


def test_a_key_pair_on_disk(tmp_path):
    private, public = keys.generate(tmp_path / "deep" / "keys")
    assert (private.name, public.name) == ("key.pem", "key.pub")
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert keys.signer(private).public_key.keyid == keys.verifier(public).keyid
    before = private.read_bytes()
    with pytest.raises(PlanError, match="a key is never replaced"):
        keys.generate(tmp_path / "deep" / "keys")
    private.unlink()
    with pytest.raises(PlanError, match="never replaced"):
        keys.generate(tmp_path / "deep" / "keys")
    assert before.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert not private.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o700 | 0o010])
def test_a_private_key_that_others_can_read_is_refused(mode, tmp_path):
    private, _ = keys.generate(tmp_path)
    os.chmod(private, mode)
    with pytest.raises(PlanError, match="others can read this private key; run chmod 600"):
        keys.signer(private)


def test_keys_that_are_none(tmp_path):
    private, public = keys.generate(tmp_path)
    with pytest.raises(PlanError, match="a private key has no place where audits are checked"):
        keys.verifier(private)
    public.chmod(0o600)
    with pytest.raises(PlanError, match="not a private key in PEM"):
        keys.signer(public)
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        keys.verifier(tmp_path / "nothing")
    with pytest.raises(PlanError, match="cannot be read: No such file"):
        keys.signer(tmp_path / "nothing")
    public.write_text("hello")
    with pytest.raises(PlanError, match="not a public key in PEM"):
        keys.verifier(public)


def test_which_key_is_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert (keys.private(), keys.public()) == (None, None)
    keys.generate(keys.folder())
    assert keys.private() == str(tmp_path / "foretaste" / "key.pem")
    monkeypatch.setenv("FORETASTE_KEY", "")
    monkeypatch.setenv("FORETASTE_PUBLIC_KEY", "else.pub")
    assert (keys.private(), keys.public()) == (None, "else.pub")


def test_facts_of_another_policy(workshop):
    """The gate reads the verdict beside the result, so neither alone opens it."""
    told = statement.facts(stated(workshop))
    assert policy.decide(policy.DEFAULT, told, NOW) == ()
    assert policy.decide(policy.DEFAULT, replace(told, result=Verdict.FAILED), NOW)
    assert policy.decide(policy.DEFAULT, replace(told, verdict=Verdict.FAILED), NOW)
