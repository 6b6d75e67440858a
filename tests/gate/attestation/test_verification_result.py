"""A Simple Verification Result says what passed, of the same subjects, and nothing of what did not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from attested import group, run
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from foretaste.errors import Refused
from foretaste.gate.attestation import statement, verification_result


def test_a_passing_audit_has_one(workshop):
    attestation = Path(workshop.sign())
    sealed = json.loads(attestation.with_name(verification_result.FILE).read_bytes())
    public = SSlibKey.from_crypto(load_pem_public_key(Path(workshop.public).read_bytes()))
    assert list(Envelope.from_dict(sealed).verify([public], 1)) == [public.keyid]
    text = base64.b64decode(sealed["payload"]).decode()
    Statement.copy_from_pb(json_format.Parse(text, statement_pb2.Statement())).validate()
    body = json.loads(text)
    whole = statement.verified(attestation.read_bytes(), workshop.public)
    assert body["predicateType"] == "https://in-toto.io/attestation/svr/v0.1"
    assert body["subject"] == whole["subject"]
    assert body["predicate"]["properties"] == [
        "FORETASTE_AUDIT_PASSED",
        "FORETASTE_LABEL_ISSUE",
        "FORETASTE_SPECTRAL_SIGNATURE",
    ]
    assert body["predicate"]["verifier"]["id"].startswith("pkg:pypi/foretaste@")
    assert body["predicate"]["timeCreated"] == whole["predicate"]["configuration"][-1]["annotations"]["ended"]


@pytest.mark.parametrize(
    "changed",
    [
        {"verdict": "failed", "reason": "poison", "groups": [group()], "counts": {"backdoor": 12}, "flagged": 12},
        {"runs": [run("labels")]},
    ],
)
def test_any_other_has_none(changed, workshop):
    assert not Path(workshop.sign(**changed)).with_name(verification_result.FILE).exists()


def test_what_did_not_complete_is_no_property(workshop):
    attestation = Path(workshop.sign(runs=[run(), run("labels", "not applicable", "no labels")]))
    sealed = json.loads(attestation.with_name(verification_result.FILE).read_bytes())
    properties = json.loads(base64.b64decode(sealed["payload"]))["predicate"]["properties"]
    assert properties == ["FORETASTE_AUDIT_PASSED", "FORETASTE_SPECTRAL_SIGNATURE"]


def test_it_is_no_attestation_for_a_gate(workshop):
    result = Path(workshop.sign()).with_name(verification_result.FILE)
    with pytest.raises(Refused, match="is not the attestation of a test result"):
        statement.verified(result.read_bytes(), workshop.public)
    (reason,) = workshop.refused(attestation=str(result))
    assert "is not the attestation of a test result" in reason
