"""The log of attestations: an append-only hash chain with one line for each signed audit.

Every entry is signed and holds the sha256 of the line before it, so that altering, moving or deleting an entry between
others is detected. A file beside the log holds the number of entries and the hash of the last, so that truncation is
detected as well. Whoever can replace both files can still roll the log back: give training jobs read access only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretaste import atomic
from foretaste.errors import DataError, PlanError, Refused
from foretaste.gate.attestation.envelope import opened, seal
from foretaste.gate.attestation.keys import verifier
from foretaste.gate.attestation.statement import moment, stamp
from foretaste.types.digests import Digest, canonical

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

PAYLOAD = "application/vnd.foretaste.ledger+json"
START = "0" * 64  # before the first line


@dataclass(frozen=True)
class Entry:
    """One signed audit. `attestation` is a path, relative to the log's folder if it lies below."""

    number: int
    previous: str  # sha256 of the line before
    logged: str
    dataset: Digest
    root: str  # where the dataset was
    result: str
    ended: datetime
    attestation: str
    sha256: str  # of the attestation's file
    keyid: str


def path() -> str:
    """Path of the log: FORETASTE_LEDGER, else audits/ledger.jsonl."""
    return os.environ.get("FORETASTE_LEDGER") or os.path.join("audits", "ledger.jsonl")


def append(
    log: str, *, attestation: str, envelope: bytes, dataset: Digest, root: str, result: str, ended: datetime,
    key: CryptoSigner,
) -> Entry:  # fmt: skip
    """Add an attestation to the log, synced to disk before this returns.

    Raises DataError where the log is damaged, PlanError where it cannot be written.
    """
    folder = os.path.dirname(os.path.realpath(log))
    place = os.path.realpath(attestation)
    inside = Path(place).is_relative_to(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        with _alone(log) as file:
            lines = _lines(log)
            previous = _hash(lines[-1]) if lines else START
            entry = Entry(
                number=len(lines) + 1,
                previous=previous,
                logged=stamp(datetime.now(UTC)),
                dataset=dataset,
                root=root,
                result=result,
                ended=ended,
                attestation=os.path.relpath(place, folder) if inside else place,
                sha256=hashlib.sha256(envelope).hexdigest(),
                keyid=key.public_key.keyid,
            )
            plain = asdict(entry) | {"dataset": str(dataset), "ended": stamp(ended)}
            signatures = seal(canonical(plain), PAYLOAD, key)["signatures"]
            line = canonical({"entry": plain, "signatures": signatures})
            with _whole(file):
                _write(file, line + b"\n")
                os.fsync(file.fileno())
                _remember(log, entry.number, line)
    except OSError as error:
        raise PlanError(f"{log}: the log of attestations cannot be written: {error.strerror}") from error
    return entry


def read(log: str, key: str | Path | None = None) -> tuple[Entry, ...]:
    """The entries of the log, in its order; none where there is no log.

    With the path of a public key, only the entries signed with it, each verified. Raises DataError where the log is
    damaged: an entry was altered, moved or deleted.
    """
    lines = _lines(log)
    owner = None if key is None else verifier(key).keyid
    found = []
    for number, line in enumerate(lines, 1):
        plain, signatures = _parsed(line, log, number)
        entry = Entry(**plain | {"dataset": Digest.parse(plain["dataset"]), "ended": moment(plain["ended"])})
        if key is not None:
            if entry.keyid != owner:
                continue
            sealed = {
                "payload": base64.b64encode(canonical(plain)).decode(),
                "payloadType": PAYLOAD,
                "signatures": signatures,
            }
            try:
                opened(sealed, key, where=f"{log}, entry {number}")
            except Refused:
                raise DataError(f"{log}: entry {number} was altered, its signature does not fit") from None
        found.append(entry)
    return tuple(found)


def located(log: str, entry: Entry) -> str:
    """Path of the attestation of an entry."""
    return os.path.join(os.path.dirname(os.path.realpath(log)), entry.attestation)


def _lines(log: str) -> list[bytes]:
    """The lines of the log, after checking the hash chain and its end."""
    try:
        text = Path(log).read_bytes()
    except FileNotFoundError:
        text = b""
    except OSError as error:
        raise DataError(f"{log}: the log of attestations cannot be read: {error.strerror}") from error
    if text and not text.endswith(b"\n"):
        raise DataError(f"{log}: the log's last line is not whole")
    lines = text.splitlines()
    previous = START
    for number, line in enumerate(lines, 1):
        plain, _ = _parsed(line, log, number)
        if plain["number"] != number or plain["previous"] != previous:
            raise DataError(f"{log}: entry {number} does not follow the one before, an entry was altered or deleted")
        previous = _hash(line)
    head = _head(log)
    if head is None and len(lines) > 1:
        raise DataError(f"{log}: {log}.head is missing, which says how many entries there must be")
    if head is not None:
        count, last = head
        if len(lines) < count:
            raise DataError(f"{log}: has {len(lines)} entries and must have {count}, the last ones were deleted")
        if count and _hash(lines[count - 1]) != last:
            raise DataError(f"{log}: entry {count} was altered since it was written")
    return lines


def _parsed(line: bytes, log: str, number: int) -> tuple[dict[str, Any], list[dict[str, str]]]:
    try:
        found = json.loads(line)
        plain, signatures = found["entry"], found["signatures"]
        if set(plain) != set(Entry.__dataclass_fields__) or canonical(found) != line:
            raise ValueError("its fields are not those of an entry")
        moment(plain["ended"])
        Digest.parse(plain["dataset"])
        if not all(isinstance(one[name], str) for one in signatures for name in ("keyid", "sig")):
            raise ValueError("its signature is no text")
        return plain, signatures
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{log}: entry {number} was altered, it cannot be read: {error}") from None


def _head(log: str) -> tuple[int, str] | None:
    try:
        found = json.loads(Path(f"{log}.head").read_bytes())
        return int(found["entries"]), str(found["last"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{log}.head: cannot be read: {error}") from None


def _remember(log: str, entries: int, line: bytes) -> None:
    with atomic.file(f"{log}.head") as partial, open(partial, "wb") as file:
        file.write(canonical({"entries": entries, "last": _hash(line)}) + b"\n")


def _write(file: Any, text: bytes) -> None:
    left = memoryview(text)
    while left:  # a disk that is almost full takes a part
        left = left[file.write(left) :]


@contextmanager
def _whole(file: Any) -> Iterator[None]:
    """What is appended in this block, or nothing of it where the disk is full."""
    size = os.fstat(file.fileno()).st_size
    try:
        yield
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


@contextmanager
def _alone(log: str) -> Iterator[Any]:
    """The log, open for appending and locked against other processes that append."""
    import fcntl

    with open(log, "ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()
