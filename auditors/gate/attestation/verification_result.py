"""A passing audit in in-toto's shortest form, for verifiers that know no more: a Simple Verification Result.

https://github.com/in-toto/attestation/blob/main/spec/predicates/svr.md, v0.1. It lies in a file of its own beside the
attestation, with the same subjects and the same signature. A gate never reads it, since it says less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from foretaste.gate.attestation import statement
from foretaste.gate.times import stamp
from foretaste.registry import release
from foretaste.types.findings import Verdict

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

FILE = "svr.json"
PREDICATE = "https://in-toto.io/attestation/svr/v0.1"
PREFIX = "FORETASTE_"


def sealed(body: Mapping[str, Any], key: CryptoSigner) -> bytes | None:
    """The result of an audit's `statement` as a signed envelope; None where it did not pass.

    A property is that the audit passed, and for each detector that a run of it completed and found nothing.
    """
    facts = statement.facts(body)
    if facts.result is not Verdict.PASSED:
        return None
    passed = body["predicate"]["passedTests"]
    kinds = {run.kind for run in facts.runs if f"{run.name} on {run.embedder}" in passed}
    [policy] = [one for one in body["predicate"]["configuration"] if one["name"] == "policy"]
    result = {
        "verifier": {"id": f"pkg:pypi/foretaste@{release()}", "policy": {"digest": policy["digest"]}},
        "timeCreated": stamp(facts.ended),
        "properties": [f"{PREFIX}AUDIT_PASSED", *sorted(PREFIX + re.sub(r"\W", "_", kind).upper() for kind in kinds)],
    }
    return statement.sign({**body, "predicateType": PREDICATE, "predicate": result}, key)
