"""Which attestation speaks for these bytes, and whether the policy admits them on it.

What cannot be checked is refused.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foretaste.dataset.files import root_digest
from foretaste.errors import DataError, PlanError, Refused
from foretaste.gate import policy, policy_file
from foretaste.gate.attestation import keys, statement
from foretaste.gate.attestation import log as ledger
from foretaste.gate.attestation.verify import changes, differences
from foretaste.gate.policy import Facts, Policy
from foretaste.types.digests import Digest


@dataclass(frozen=True)
class GateDecision:
    """Whether these bytes may be read, and if not, why, a sentence for each reason."""

    allowed: bool
    reasons: tuple[str, ...]
    places: tuple[str, ...]
    digest: Digest  # of the dataset as it is now
    files: Mapping[str, Digest]  # as they are now, by name
    size: int  # bytes
    policy: Digest
    attestation: str | None  # the file that was judged
    facts: Facts | None  # what it says, where its signature holds
    notes: tuple[str, ...] = ()  # what refuses nothing and should be known


@dataclass(frozen=True)
class Asked:
    """Whose data, under which policy, by which attestation (None: the newest in the log) and key."""

    places: tuple[str, ...]
    policy: Policy
    attestation: str | None
    key: str | None
    now: datetime

    @classmethod
    def of(cls, places: Any, rules: Any, attestation: str | None, key: str | None, now: datetime | None) -> Asked:
        return cls(
            (places,) if isinstance(places, str) else tuple(places),
            policy_file.chosen(rules),
            attestation,
            key or keys.public(),
            now or datetime.now(UTC),
        )


def judged(asked: Asked, root: str, files: Mapping[str, Digest], size: int) -> GateDecision:
    """Whether the `files` below `root`, as they were hashed, are admitted.

    Raises PlanError where there is no key, DataError where the attestation that was asked for cannot be read.
    """
    digest = root_digest(files.items())
    reasons: list[str] = []
    notes: list[str] = []
    attestation, facts = asked.attestation, None
    try:
        entries = _logged(asked)
        same = sorted((one for one in entries if one.dataset == digest), key=lambda one: one.ended)
        newest = same[-1] if same else None
        if attestation is None and newest is not None:
            attestation = ledger.located(ledger.path(), newest)
        if attestation is None:
            nothing, attestation = _nothing(asked, root, files, entries)
            reasons += nothing
        else:
            facts, reasons = _one(asked, attestation, files, None if asked.attestation else newest)
            if asked.attestation and newest is not None and facts is not None and newest.ended > facts.ended:
                later = ledger.located(ledger.path(), newest)
                _, worse = _one(asked, later, files, newest)
                reasons += [f"a newer audit of these bytes ({later}) is refused: {one}" for one in worse]
            failed = [one for one in same if one.result == "FAILED" and (facts is None or one.ended < facts.ended)]
            if failed:
                notes.append(
                    f"{len(failed)} earlier audit{'s' * (len(failed) > 1)} of these same bytes failed, the last on "
                    f"{failed[-1].ended:%Y-%m-%d}: {ledger.located(ledger.path(), failed[-1])}"
                )
    except Refused as refused:
        reasons += refused.reasons
    unique = tuple(dict.fromkeys(reasons))
    return GateDecision(
        not unique, unique, asked.places, digest, files, size, asked.policy.digest, attestation, facts, tuple(notes)
    )


def _logged(asked: Asked) -> tuple[ledger.Entry, ...]:
    """The log's entries by the owner of the key. A log that is not whole refuses everything it might speak of."""
    if not os.path.lexists(ledger.path()):
        return ()
    try:
        return ledger.read(ledger.path(), _key(asked))
    except DataError as error:
        raise Refused(str(error)) from None


def _one(
    asked: Asked, path: str, files: Mapping[str, Digest], entry: ledger.Entry | None
) -> tuple[Facts | None, list[str]]:
    """What one attestation says, and why it does not let these files through."""
    try:
        envelope = Path(path).read_bytes()
    except OSError as error:
        if entry is None:
            raise DataError(f"{path}: the attestation cannot be read: {error.strerror}") from None
        return None, [f"{path}: the attestation that the log names cannot be read: {error.strerror}; {_command(asked)}"]
    if entry is not None and hashlib.sha256(envelope).hexdigest() != entry.sha256:
        return None, [f"{path}: is not the attestation that the log names, it was changed since; {_command(asked)}"]
    try:
        body = statement.verified(envelope, _key(asked), where=path)
        changed = differences(body, files)
        facts = statement.facts(body)
    except Refused as refused:
        return None, list(refused.reasons)
    # What is not what was audited needs no other reason.
    return facts, list(changed) or list(policy.decide(asked.policy, facts, asked.now))


def _nothing(
    asked: Asked, root: str, files: Mapping[str, Digest], entries: Sequence[ledger.Entry]
) -> tuple[tuple[str, ...], str | None]:
    """Why there is no attestation for these bytes: they changed since their audit, which is named, or had none."""
    here = os.path.realpath(root) if "://" not in root else root
    for entry in sorted(entries, key=lambda one: one.ended, reverse=True):
        if entry.root != here:
            continue
        with suppress(OSError, DataError, Refused):
            path = ledger.located(ledger.path(), entry)
            body = statement.verified(Path(path).read_bytes(), _key(asked), where=path)
            signed = statement.subjects(body)[1]
            if set(signed) & set(files):
                since = f"since it was audited at {statement.stamp(entry.ended)} the dataset changed; {_command(asked)}"
                return (*changes(signed, files), since), path
    log, digest = ledger.path(), root_digest(files.items())
    strangers = sorted({one.keyid[:8] for one in ledger.read(log) if one.dataset == digest})
    if strangers:
        whose = f"signed with another key ({', '.join(strangers)}), not with that of {asked.key}"
        return (f"the audits of these bytes in {log} were {whose}; {_command(asked)}",), None
    return (f"there is no signed audit of these bytes in {log}; {_command(asked)}",), None


def _command(asked: Asked) -> str:
    make = "foretaste keygen && " if keys.private() is None and asked.key is None else ""
    return f"run: {make}foretaste audit {shlex.join(asked.places)}"


def _key(asked: Asked) -> str:
    if asked.key is None:
        raise PlanError("a gate needs a public key to check with, give --key FILE or FORETASTE_PUBLIC_KEY")
    return asked.key
