"""Signing an audit: the data is hashed once more, the statement goes into the audit's folder, a line into the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretaste.dataset.files import Found, each, sha256
from foretaste.errors import DataError
from foretaste.gate import policy, policy_file
from foretaste.gate.attestation import keys, statement
from foretaste.gate.attestation import log as attestation_log
from foretaste.gate.attestation.envelope import FILE, unchecked
from foretaste.gate.policy import Policy
from foretaste.types.digests import Digest

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


@dataclass(frozen=True)
class Signing:
    """What an audit is signed with, and the policy that its result is decided by."""

    key: CryptoSigner
    policy: Policy
    began: datetime


def prepare(key: str, chosen: Policy | str | None = None) -> Signing:
    """Everything that signing can fail for, before an audit spends an hour: key, policy and log.

    Raises PlanError where key or policy cannot be used, DataError where the log is not whole.
    """
    signing = Signing(keys.signer(key), policy_file.chosen(chosen), datetime.now(UTC))
    attestation_log.read(attestation_log.path())
    return signing


def write(
    folder: str,
    document: Mapping[str, Any],
    signing: Signing,
    *,
    ended: datetime | None = None,
    embedders: Mapping[str, str] | None = None,
    afterwards: bool = False,
) -> bytes:
    """Sign the audit in `folder`, which `document` (its report.json) reports, and return the envelope that was written.

    Every file of the folder is named by its digest. Raises DataError where the data are not those that were audited.
    """
    data = document["dataset"]
    found = [Found(one["name"], f"{data['root'].rstrip('/')}/{one['name']}") for one in data["files"]]
    for one, (now, _) in zip(data["files"], each(found, lambda file: sha256(file.path)), strict=True):
        if str(now) != one["digest"]:
            raise DataError(f"{one['name']}: changed since it was audited, so the audit says nothing of it")
    evidence = {
        name: sha256(os.path.join(folder, name))[0]
        for name in sorted(os.listdir(folder))
        if name != FILE and os.path.isfile(os.path.join(folder, name))
    }
    body = statement.statement(
        document,
        policy=signing.policy,
        started=signing.began,
        ended=ended or datetime.now(UTC),
        embedders=embedders,
        evidence=evidence,
        afterwards=afterwards,
    )
    envelope = statement.sign(body, signing.key)
    with open(os.path.join(folder, FILE), "wb") as file:
        file.write(envelope)
    return envelope


def refusals(folder: str, signing_policy: Policy | str | None = None) -> tuple[str, ...]:
    """Why the policy that a signed audit ran under refuses it, though its verdict lets it through."""
    path = os.path.join(folder, FILE)
    facts = statement.facts(unchecked(Path(path).read_bytes(), where=path))
    return policy.decide(policy_file.chosen(signing_policy), facts, facts.ended)


def log(folder: str, document: Mapping[str, Any], signing: Signing) -> attestation_log.Entry:
    """Append the signed audit in `folder` to the log of attestations. Raises DataError or PlanError as `append`."""
    path = os.path.join(folder, FILE)
    envelope = Path(path).read_bytes()
    facts = statement.facts(unchecked(envelope, where=path))
    root = document["dataset"]["root"]
    return attestation_log.append(
        attestation_log.path(),
        attestation=path,
        envelope=envelope,
        dataset=Digest.parse(document["dataset"]["digest"]),
        root=os.path.realpath(root) if "://" not in root else root,
        result=str(facts.result).upper(),
        ended=facts.ended,
        key=signing.key,
    )
