"""The log of attestations: an append-only hash chain with one line for each signed audit.

Every entry is signed and holds the sha256 of the line before it, so that altering, moving or deleting an entry between
others is detected. That entries are missing at the end shows beside an anchor (`anchors`): one lies beside the log, the
others outside of its folder. Whoever can replace the log and every anchor can roll it back.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretaste.errors import DataError, PlanError
from foretaste.gate.attestation import anchors, regular_file
from foretaste.gate.attestation.entry import Entry, Line, located
from foretaste.gate.attestation.keys import verifier
from foretaste.gate.times import stamp
from foretaste.types.digests import Digest

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

__all__ = ["START", "append", "check", "lines", "located", "path", "read", "signed"]

START = "0" * 64  # before the first line
logger = logging.getLogger("foretaste")


def path() -> str:
    """Path of the log: FORETASTE_LEDGER, else audits/ledger.jsonl."""
    return os.environ.get("FORETASTE_LEDGER") or os.path.join("audits", "ledger.jsonl")


def append(
    log: str, *, attestation: str, envelope: bytes, dataset: Digest, root: str, result: str, ended: datetime,
    key: CryptoSigner,
) -> Entry:  # fmt: skip
    """Add an attestation to the log, synced to disk before this returns, and bring the anchors up to it.

    Raises DataError where the log or an anchor is damaged, PlanError where one of them cannot be written.
    """
    folder = os.path.dirname(os.path.realpath(log))
    place = os.path.realpath(attestation)
    inside = Path(place).is_relative_to(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        with anchors.locked(log) as file:
            before = lines(log)
            if before and anchors.head(log) is None:  # a process was killed between its line and the head
                anchors.keep_head(log, before)
            entry = Entry(
                number=len(before) + 1,
                previous=before[-1].sha256 if before else START,
                logged=stamp(datetime.now(UTC)),
                dataset=dataset,
                root=root,
                result=result,
                ended=ended,
                attestation=os.path.relpath(place, folder) if inside else place,
                sha256=hashlib.sha256(envelope).hexdigest(),
                keyid=key.public_key.keyid,
            )
            line = Line.signed(entry, key)
            with _whole(file):
                _write(file, line.text + b"\n")
                os.fsync(file.fileno())
                _anchor(log, [*before, line], key.public_key)
    except OSError as error:
        raise PlanError(f"{log}: the log of attestations cannot be written: {error.strerror}") from error
    return entry


def check(log: str) -> None:
    """Raises DataError where the log or an anchor is damaged, PlanError where they cannot be written where they are."""
    lines(log)
    existing = Path(os.path.realpath(log))
    while not existing.exists():
        existing = existing.parent
    if not os.access(existing, os.W_OK):
        raise PlanError(
            f"{log}: the log of attestations must be writable, and it is not; FORETASTE_LEDGER names another"
        )
    place = anchors.named()
    if place is None:
        return
    anchors.read(place)
    inside = os.path.dirname(os.path.realpath(place))
    if Path(inside).is_relative_to(os.path.dirname(os.path.realpath(log))):
        raise PlanError(f"{place}: FORETASTE_ANCHOR must name a file outside of the folder of the log {log}")
    if not os.access(inside, os.W_OK):
        raise PlanError(f"{place}: FORETASTE_ANCHOR must name a file in a folder that can be written, and it does not")


def read(log: str, key: str | Path | None = None) -> tuple[Entry, ...]:
    """The entries of the log, in its order; none where there is no log.

    With the path of a public key, only the entries signed with it, each verified. Raises DataError where the log is
    damaged: an entry was altered, moved or deleted.
    """
    found = lines(log)
    return tuple(line.entry for line in (found if key is None else signed(log, found, verifier(key))))


def signed(log: str, found: Sequence[Line], key: SSlibKey) -> tuple[Line, ...]:
    """The lines that say they were signed with this key. Raises DataError where one was not."""
    own = [line for line in found if line.entry.keyid == key.keyid]
    for line in own:
        if not line.verified_by(key):
            raise DataError(f"{log}: entry {line.entry.number} was altered, its signature does not fit")
    return tuple(own)


def lines(log: str) -> tuple[Line, ...]:
    """The lines of the log, after checking the hash chain and its end against every anchor; none where there is no log.

    A log that is gone, with what lies beside it, may be begun anew: what anchors have seen of datasets still counts.
    Raises DataError where the log or an anchor is damaged.
    """
    # Read before the log: if an audit is logged meanwhile, the log has more than they have seen, never less.
    beside, others = anchors.head(log), anchors.of(log)
    try:
        text = regular_file.content(log)
    except FileNotFoundError:
        text = b""
    except OSError as error:
        raise DataError(f"{log}: the log of attestations cannot be read: {error.strerror}") from error
    if text and not text.endswith(b"\n"):
        raise DataError(f"{log}: the log's last line is not whole")
    found: list[Line] = []
    for number, content in enumerate(text.splitlines(), 1):
        try:
            line = Line.parse(content)
        except ValueError as error:
            raise DataError(f"{log}: entry {number} was altered, it cannot be read: {error}") from None
        if line.entry.number != number or line.entry.previous != (found[-1].sha256 if found else START):
            raise DataError(f"{log}: entry {number} does not follow the one before, an entry was altered or deleted")
        found.append(line)
    if beside is None and len(found) > 1:
        raise DataError(f"{log}: {log}.head is missing, which says how many entries there must be")
    for anchor in (beside, *others) if beside or found else ():
        if anchor is not None:
            anchor.check(found, log)
    return tuple(found)


def _anchor(log: str, found: Sequence[Line], key: SSlibKey) -> None:
    """Bring the head beside the log and all anchors up to its last entry."""
    anew = len(found) == 1
    anchors.keep_head(log, found)
    verified = [line for line in found if line.entry.keyid == key.keyid and line.verified_by(key)]
    failed = anchors.keep(log, found, verified, anew=anew)
    if failed:
        logger.warning("what this user has seen of the log of attestations cannot be kept: %s", failed)
    place = anchors.named()
    if place is not None:
        try:
            anchors.write(place, log, found, verified, anchors.read(place))
        except OSError as error:
            raise PlanError(
                f"{place}: the anchor of the log (FORETASTE_ANCHOR) cannot be written: {error.strerror}"
            ) from error


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
