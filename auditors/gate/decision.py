"""Which attestation applies to the hashed files, and whether the policy admits them on it.

What cannot be verified is refused.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from foretaste.dataset.files import root_digest
from foretaste.errors import DataError, PlanError, Refused
from foretaste.gate import policy, policy_file
from foretaste.gate.attestation import keys, log, regular_file, seen, statement
from foretaste.gate.attestation.anchors import Anchor
from foretaste.gate.attestation.verify import changes, differences
from foretaste.gate.columns import Reading
from foretaste.gate.facts import Facts
from foretaste.gate.policy import Policy
from foretaste.gate.read_data import ReadData, named_differences, strays
from foretaste.gate.times import stamp
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
    """A request to the gate; without an `attestation` the newest in the log is used.

    anchors  what else has seen the log, besides this user and FORETASTE_ANCHOR
    """

    places: tuple[str, ...]
    policy: Policy
    attestation: str | None
    key: str | None
    now: datetime
    anchors: tuple[Anchor, ...] = ()

    @classmethod
    def of(
        cls,
        places: Any,
        rules: Any,
        attestation: str | None,
        key: str | None,
        reads: Reading | None = None,
        *,
        now: datetime | None = None,
        anchors: Sequence[Anchor] = (),
    ) -> GateRequest:
        policy = policy_file.chosen(rules)
        if None not in (reads, policy.reads) and reads != policy.reads:
            raise PlanError("the policy's [reads] and the call name different columns, one of them must be left out")
        return cls(
            (places,) if isinstance(places, str) else tuple(places),
            policy if reads is None else replace(policy, reads=reads),
            attestation,
            key or keys.public(),
            now or datetime.now(UTC),
            tuple(anchors),
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
        keyless = request.key is None and not os.path.lexists(log.path())
        known = seen.NONE if keyless else seen.audits(log.path(), _key(request), digest, request.anchors)
        notes += known.notes
        logged = known.logged[-1] if known.logged else None
        if attestation is None and logged is not None:
            attestation = logged.place
        if attestation is None:
            missing, attestation = _why_none(request, data.root, files)
            reasons += missing
        else:
            envelope, reasons = _read(request, attestation, None if request.attestation else logged)
            if envelope is not None:
                facts, reasons = _checked(request, attestation, data, envelope)
            if envelope is not None and facts is not None:
                reasons += _later(request, known, data, envelope, facts)
            notes += _failed(known, facts)
    except Refused as refused:
        reasons += refused.reasons
    unique = tuple(dict.fromkeys(reasons))
    allowed, rules = not unique, request.policy.digest
    return GateDecision(
        allowed, unique, request.places, digest, files, data.size, rules, attestation, facts, tuple(notes)
    )


def _later(request: GateRequest, known: seen.Audits, data: ReadData, envelope: bytes, facts: Facts) -> list[str]:
    """Why a newer audit of these bytes than the one that is checked refuses them."""
    newest = known.after(hashlib.sha256(envelope).hexdigest(), facts.ended)
    if newest is None:
        return []
    later, reasons = _read(request, newest.place, newest)
    if later is not None:
        _, reasons = _checked(request, newest.place, data, later)
    return [f"a newer audit of these bytes ({newest.place}) is refused: {reason}" for reason in reasons]


def _failed(known: seen.Audits, facts: Facts | None) -> list[str]:
    failed = [one for one in known.logged if one.entry.result == "FAILED"]
    failed = [one for one in failed if facts is None or one.entry.ended < facts.ended]
    if not failed:
        return []
    last = failed[-1]
    return [
        f"{len(failed)} earlier audit{'s' * (len(failed) > 1)} of these same bytes failed, the last on "
        f"{last.entry.ended:%Y-%m-%d}: {last.place}"
    ]


def _read(request: GateRequest, path: str, known: seen.Audit | None) -> tuple[bytes | None, list[str]]:
    """The envelope of one attestation, or why there is none; `known` is what the log says of it."""
    try:
        envelope = regular_file.content(path)
    except OSError as error:
        if known is None:
            raise DataError(f"{path}: the attestation cannot be read: {error.strerror}") from None
        return None, [f"{path}: the attestation that the log names cannot be read: {error.strerror}; {_hint(request)}"]
    if known is not None and hashlib.sha256(envelope).hexdigest() != known.entry.sha256:
        return None, [f"{path}: is not the attestation that the log names, it was changed since; {_hint(request)}"]
    return envelope, []


def _checked(request: GateRequest, path: str, data: ReadData, envelope: bytes) -> tuple[Facts | None, list[str]]:
    """The facts of one attestation, and why it does not admit these files."""
    try:
        body = statement.verified(envelope, _key(request), where=path)
        facts = statement.facts(body)
        changed = differences(body, data.files) or named_differences(data, facts.named)
    except Refused as refused:
        return None, list(refused.reasons)
    # If the files are not those that were audited, the policy does not matter.
    return facts, list(changed) or [*strays(data, facts.named), *policy.decide(request.policy, facts, request.now)]


def _why_none(request: GateRequest, root: str, files: Mapping[str, Digest]) -> tuple[tuple[str, ...], str | None]:
    """Why no attestation applies: the files changed since their audit, whose attestation is returned, or had none."""
    here = os.path.realpath(root) if "://" not in root else root
    entries = log.read(log.path(), request.key) if request.key else ()
    for entry in sorted(entries, key=lambda entry: entry.ended, reverse=True):
        if entry.root != here:
            continue
        with suppress(OSError, DataError, Refused):
            path = log.located(log.path(), entry)
            body = statement.verified(regular_file.content(path), _key(request), where=path)
            signed = statement.subjects(body)[1]
            if set(signed) & set(files):
                since = f"since it was audited at {stamp(entry.ended)} the dataset changed; {_hint(request)}"
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
