"""Which attestation applies to the hashed files, and whether the policy admits them on it.

What cannot be verified is refused.
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
from foretaste.gate.attestation import keys, log, statement
from foretaste.gate.attestation.verify import changes, differences
from foretaste.gate.policy import Facts, Policy
from foretaste.gate.read_data import ReadData, named_differences, strays
from foretaste.types.digests import Digest


@dataclass(frozen=True)
class GateDecision:
    """Whether the data may be read; `reasons` has a sentence for each reason to refuse."""

    allowed: bool
    reasons: tuple[str, ...]
    places: tuple[str, ...]
    digest: Digest  # of the dataset as it is now
    files: Mapping[str, Digest]  # as they are now, by name
    size: int  # bytes
    policy: Digest
    attestation: str | None  # the file that was checked
    facts: Facts | None  # its content, if its signature is valid
    notes: tuple[str, ...] = ()  # worth knowing, but no reason to refuse


@dataclass(frozen=True)
class GateRequest:
    """A request to the gate; without an `attestation` the newest in the log is used."""

    places: tuple[str, ...]
    policy: Policy
    attestation: str | None
    key: str | None
    now: datetime

    @classmethod
    def of(cls, places: Any, rules: Any, attestation: str | None, key: str | None, now: datetime | None) -> GateRequest:
        return cls(
            (places,) if isinstance(places, str) else tuple(places),
            policy_file.chosen(rules),
            attestation,
            key or keys.public(),
            now or datetime.now(UTC),
        )


def judged(request: GateRequest, data: ReadData) -> GateDecision:
    """Whether data is admitted as it was read.

    Raises PlanError where there is no key, DataError where the requested attestation cannot be read.
    """
    files, digest = data.files, root_digest(data.files.items())
    reasons: list[str] = []
    notes: list[str] = []
    attestation, facts = request.attestation, None
    try:
        entries = _entries(request)
        same = sorted((entry for entry in entries if entry.dataset == digest), key=lambda entry: entry.ended)
        newest = same[-1] if same else None
        if attestation is None and newest is not None:
            attestation = log.located(log.path(), newest)
        if attestation is None:
            missing, attestation = _why_none(request, data.root, files, entries)
            reasons += missing
        else:
            facts, reasons = _checked(request, attestation, data, None if request.attestation else newest)
            if request.attestation and newest is not None and facts is not None and newest.ended > facts.ended:
                later = log.located(log.path(), newest)
                _, refused_later = _checked(request, later, data, newest)
                reasons += [f"a newer audit of these bytes ({later}) is refused: {reason}" for reason in refused_later]
            failed = [entry for entry in same if entry.result == "FAILED"]
            failed = [entry for entry in failed if facts is None or entry.ended < facts.ended]
            if failed:
                notes.append(
                    f"{len(failed)} earlier audit{'s' * (len(failed) > 1)} of these same bytes failed, the last on "
                    f"{failed[-1].ended:%Y-%m-%d}: {log.located(log.path(), failed[-1])}"
                )
    except Refused as refused:
        reasons += refused.reasons
    unique = tuple(dict.fromkeys(reasons))
    allowed, rules = not unique, request.policy.digest
    return GateDecision(
        allowed, unique, request.places, digest, files, data.size, rules, attestation, facts, tuple(notes)
    )


def _entries(request: GateRequest) -> tuple[log.Entry, ...]:
    """The log's entries signed with the key. Raises Refused where the log is damaged, since entries may be missing."""
    if not os.path.lexists(log.path()):
        return ()
    try:
        return log.read(log.path(), _key(request))
    except DataError as error:
        raise Refused(str(error)) from None


def _checked(
    request: GateRequest, path: str, data: ReadData, entry: log.Entry | None
) -> tuple[Facts | None, list[str]]:
    """The facts of one attestation, and why it does not admit these files."""
    try:
        envelope = Path(path).read_bytes()
    except OSError as error:
        if entry is None:
            raise DataError(f"{path}: the attestation cannot be read: {error.strerror}") from None
        return None, [f"{path}: the attestation that the log names cannot be read: {error.strerror}; {_hint(request)}"]
    if entry is not None and hashlib.sha256(envelope).hexdigest() != entry.sha256:
        return None, [f"{path}: is not the attestation that the log names, it was changed since; {_hint(request)}"]
    try:
        body = statement.verified(envelope, _key(request), where=path)
        facts = statement.facts(body)
        changed = differences(body, data.files) or named_differences(data, facts.named)
    except Refused as refused:
        return None, list(refused.reasons)
    # If the files are not those that were audited, the policy does not matter.
    return facts, list(changed) or [*strays(data, facts.named), *policy.decide(request.policy, facts, request.now)]


def _why_none(
    request: GateRequest, root: str, files: Mapping[str, Digest], entries: Sequence[log.Entry]
) -> tuple[tuple[str, ...], str | None]:
    """Why no attestation applies: the files changed since their audit, whose attestation is returned, or had none."""
    here = os.path.realpath(root) if "://" not in root else root
    for entry in sorted(entries, key=lambda entry: entry.ended, reverse=True):
        if entry.root != here:
            continue
        with suppress(OSError, DataError, Refused):
            path = log.located(log.path(), entry)
            body = statement.verified(Path(path).read_bytes(), _key(request), where=path)
            signed = statement.subjects(body)[1]
            if set(signed) & set(files):
                since = f"since it was audited at {statement.stamp(entry.ended)} the dataset changed; {_hint(request)}"
                return (*changes(signed, files), since), path
    place, digest = log.path(), root_digest(files.items())
    other_keys = sorted({entry.keyid[:8] for entry in log.read(place) if entry.dataset == digest})
    if other_keys:
        whose = f"signed with another key ({', '.join(other_keys)}), not with that of {request.key}"
        return (f"the audits of these bytes in {place} were {whose}; {_hint(request)}",), None
    return (f"there is no signed audit of these bytes in {place}; {_hint(request)}",), None


def _hint(request: GateRequest) -> str:
    make = "foretaste keygen && " if keys.private() is None and request.key is None else ""
    return f"run: {make}foretaste audit {shlex.join(request.places)}"


def _key(request: GateRequest) -> str:
    if request.key is None:
        raise PlanError("a gate needs a public key to check with, give --key FILE or FORETASTE_PUBLIC_KEY")
    return request.key
