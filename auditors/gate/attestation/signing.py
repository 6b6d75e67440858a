"""Signing an audit: hash the data again, write the attestation into the audit's folder, append an entry to the log."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretaste import atomic
from foretaste.dataset.files import Found, each, sha256
from foretaste.errors import DataError
from foretaste.gate import policy, policy_file
from foretaste.gate.attestation import keys, statement, verification_result
from foretaste.gate.attestation import log as attestation_log
from foretaste.gate.attestation.entry import Entry
from foretaste.gate.attestation.envelope import FILE, unchecked
from foretaste.gate.policy import Policy
from foretaste.types.digests import Digest

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner


@dataclass(frozen=True)
class Signing:
    """The key that an audit is signed with, and the policy that determines its result."""

    key: CryptoSigner
    policy: Policy
    began: datetime


def prepare(key: str, chosen: Policy | str | None = None) -> Signing:
    """Check key, policy and log before an audit runs, so that signing does not fail after it.

    Raises PlanError where key, policy or anchor cannot be used, DataError where the log is damaged.
    """
    signing = Signing(keys.signer(key), policy_file.chosen(chosen), datetime.now(UTC))
    attestation_log.check(attestation_log.path())
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
    """Sign the audit in `folder` with the report.json `document`; returns the written envelope.

    The statement names every file of the folder by its digest. Raises DataError where the data changed since the audit.
    """
    data = document["dataset"]
    audited = [Found(file["name"], f"{data['root'].rstrip('/')}/{file['name']}") for file in data["files"]]
    for file, (now, _) in zip(data["files"], each(audited, lambda found: sha256(found.path)), strict=True):
        if str(now) != file["digest"]:
            raise DataError(f"{file['name']}: changed since it was audited, so the audit says nothing of it")
    evidence = {
        name: sha256(os.path.join(folder, name))[0]
        for name in sorted(os.listdir(folder))
        if not (name in (FILE, verification_result.FILE) or atomic.PARTIAL.fullmatch(name))
        and os.path.isfile(os.path.join(folder, name))
    }
    ended = ended or datetime.now(UTC)
    body = statement.statement(
        document,
        policy=signing.policy,
        started=min(signing.began, ended),  # of an audit that is signed afterwards only its end is known
        ended=ended,
        embedders=embedders,
        evidence=evidence,
        afterwards=afterwards,
    )
    envelope = statement.sign(body, signing.key)
    result = verification_result.sealed(body, signing.key)
    for name, content in ((FILE, envelope), (verification_result.FILE, result)):
        if content is not None:
            with atomic.file(os.path.join(folder, name)) as partial, open(partial, "wb") as out:
                out.write(content)
    return envelope


def refusals(folder: str, signing_policy: Policy | str | None = None) -> tuple[str, ...]:
    """Why the policy that an audit was signed with refuses it."""
    path = os.path.join(folder, FILE)
    facts = statement.facts(unchecked(Path(path).read_bytes(), where=path))
    return policy.decide_at_signing(policy_file.chosen(signing_policy), facts)


def log(folder: str, document: Mapping[str, Any], signing: Signing) -> Entry:
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
