"""Verifies an attestation against the data: which files are unchanged, and how the others differ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foretaste.dataset.files import root_digest, sha256
from foretaste.errors import DataError, PlanError, Refused
from foretaste.gate import read_data
from foretaste.gate.attestation import keys, regular_file, statement
from foretaste.gate.facts import Facts, contradictions
from foretaste.gate.read_data import named_differences
from foretaste.types.digests import Digest


def verify(attestation: str, places: str | Sequence[str], *, key: str | None = None) -> Facts:
    """Verify the signature of an attestation, and that it is about exactly this data; returns what it states.

    attestation  its path
    places       the data: files, folders, globs or fsspec URLs
    key          path of the public key; by default FORETASTE_PUBLIC_KEY, else key.pub in ~/.config/foretaste

    No policy is applied: whether the result is acceptable is decided by `require`.

    Raises Refused, with the reasons, where another key signed it, where it was edited since, or where the data differs
    from what was audited; PlanError or DataError where attestation, key or data cannot be read.
    """
    key = key or keys.public()
    if key is None:
        raise PlanError("verify needs a public key, give key=FILE or FORETASTE_PUBLIC_KEY")
    body, _, different = _beside_data(attestation, [places] if isinstance(places, str) else places, key)
    if different:
        raise Refused(*different)
    return statement.facts(body)


def compared(attestation: str, places: Sequence[str], key: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What in an attestation agrees with the data, and what differs, a sentence each; no policy is applied.

    Raises Refused where the signature is invalid, DataError or PlanError where something cannot be read.
    """
    body, files, different = _beside_data(attestation, places, key)
    root, signed = statement.subjects(body)
    same = [f"{name}: {digest}" for name, digest in sorted(files.items()) if signed.get(name) == digest]
    agreed = [f"{attestation}: signed with {key}", *same]
    if not different:
        agreed.append(f"the dataset: {root}")
        agreed.append(f"the audit says {statement.facts(body).result}")
    return tuple(agreed), different


def _beside_data(
    attestation: str, places: Sequence[str], key: str
) -> tuple[Mapping[str, Any], Mapping[str, Digest], tuple[str, ...]]:
    """The verified statement, the digests of the files as they are now, and how these differ from the statement."""
    try:
        envelope = regular_file.content(attestation)
    except OSError as error:
        raise DataError(f"{attestation}: the attestation cannot be read: {error.strerror}") from None
    body = statement.verified(envelope, key, where=attestation)
    data = read_data.from_paths(places)
    facts = statement.facts(body)
    different = differences(body, data.files) or named_differences(data, facts.named)
    return body, data.files, (*different, *_beside(attestation, body), *contradictions(facts))


def _beside(attestation: str, body: Mapping[str, Any]) -> list[str]:
    """Files of the audit, in the folder of the attestation, that were changed since it was signed."""
    out = []
    for entry in statement.resources(body):
        path = Path(attestation).parent / os.path.basename(entry["name"])
        if "content" not in entry and path.is_file() and sha256(str(path))[0].value != entry["digest"]["sha256"]:
            out.append(f"{path}: was changed since the audit was signed")
    return out


def differences(body: Mapping[str, Any], files: Mapping[str, Digest]) -> tuple[str, ...]:
    """How the files differ from the subjects of a statement, a sentence for each file; empty where they do not.

    Raises Refused where the statement contradicts itself.
    """
    root, signed = statement.subjects(body)
    if root_digest(signed.items()) != root:
        raise Refused("the attestation contradicts itself, its files do not make up its dataset")
    return changes(signed, files)


def changes(signed: Mapping[str, Digest], files: Mapping[str, Digest]) -> tuple[str, ...]:
    """How files, by name, differ from those that were `signed`: changed, added, removed, renamed or swapped."""
    names = {digest: name for name, digest in signed.items()}
    out: list[str] = []
    swapped: set[str] = set()
    for name in sorted({*signed, *files}):
        if name in swapped or signed.get(name) == files.get(name):
            continue
        now, was = files.get(name), signed.get(name)
        other = names.get(now) if now is not None else None
        if was is None:
            out.append(f"{name}: was added since the audit" + (f", with the bytes of {other}" if other else ""))
        elif now is None:
            out.append(f"{name}: was removed since the audit")
        elif other is not None and files.get(other) == was:
            swapped.add(other)
            out.append(f"{name} and {other}: have swapped their names since the audit")
        else:
            out.append(f"{name}: its bytes changed since the audit" + (f", they are those of {other}" if other else ""))
    return tuple(out)
