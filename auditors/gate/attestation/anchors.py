"""Anchors: what was last seen of a log, kept outside of its folder.

A log that was rolled back is whole in itself. It shows only beside something that has seen more of it: how many entries
there were, the hash of the last, and the newest audit of each dataset. Two places remember that: a file of each user
for each log, written whenever an audit is logged or a gate reads the log, and the file that FORETASTE_ANCHOR names, on
another disk or in version control, written when an audit is logged. An anchor only ever adds reasons to refuse.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from foretaste import atomic
from foretaste.errors import DataError
from foretaste.gate.attestation import regular_file, strict_json
from foretaste.gate.attestation.entry import Line
from foretaste.types.digests import canonical


@dataclass(frozen=True)
class Anchor:
    """What was last seen of a log.

    place    where this is stored
    log      path of the log
    entries  how many entries it had
    last     sha256 of the last of them
    newest   the newest entry of each dataset and key
    """

    place: str
    log: str
    entries: int
    last: str
    newest: tuple[Line, ...] = ()

    def check(self, lines: Sequence[Line], log: str) -> None:
        """Raises DataError where the log lacks what was seen of it."""
        if len(lines) < self.entries:
            raise DataError(
                f"{log}: has {len(lines)} entries and must have {self.entries}, the last ones were deleted since "
                f"{self.place} was written"
            )
        if lines[self.entries - 1].sha256 != self.last:
            anew = "" if self.place == _beside(log) else "; where the log was begun anew on purpose, remove that file"
            raise DataError(
                f"{log}: entry {self.entries} was altered since it was written, it is not the one that {self.place} "
                f"has seen{anew}"
            )


def folder() -> str | None:
    """The folder of this user's anchors, in FORETASTE_STATE, XDG_STATE_HOME or ~/.local/state; None without a home."""
    given = os.environ.get("FORETASTE_STATE")
    if given:
        return os.path.join(given, "logs")
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser(os.path.join("~", ".local", "state"))
    return os.path.join(state, "foretaste", "logs") if os.path.isabs(state) else None


def named() -> str | None:
    """The path in FORETASTE_ANCHOR; None where there is none."""
    return os.environ.get("FORETASTE_ANCHOR") or None


def own(log: str) -> str | None:
    """Path of this user's anchor of a log."""
    inside = folder()
    name = hashlib.sha256(os.fsencode(os.path.realpath(log))).hexdigest()[:32]
    return None if inside is None else os.path.join(inside, f"{name}.json")


def of(log: str) -> tuple[Anchor, ...]:
    """The anchors of a log that are there. Raises DataError where one cannot be read."""
    found = (_mine(own(log)), None if named() is None else read(str(named())))
    return tuple(anchor for anchor in found if anchor is not None)


def everywhere() -> tuple[Anchor, ...]:
    """The named anchor, and those of this user of all logs. Raises DataError where one cannot be read."""
    inside = folder() or ""
    names: list[str] = []
    with suppress(OSError):
        names = sorted(name for name in os.listdir(inside) if name.endswith(".json"))
    found = [_mine(os.path.join(inside, name)) for name in names]
    found.append(None if named() is None else read(str(named())))
    return tuple(anchor for anchor in found if anchor is not None)


def read(place: str) -> Anchor | None:
    """The anchor in a file; None where there is no such file. Raises DataError where it cannot be read."""
    try:
        return parse(regular_file.content(place), place)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{place}: what was seen of the log cannot be read: {error.strerror}") from None


def _mine(place: str | None) -> Anchor | None:
    """The same, but None also where the user's home is none or is closed to this process."""
    if place is None or not os.access(place, os.R_OK):
        return None
    return read(place)


def parse(text: bytes | str, place: str) -> Anchor:
    """An anchor from its JSON. Raises DataError where it is none."""
    try:
        found: Any = strict_json.loads(text)
        entries, last = _head(found)
        log, newest = found.get("log"), found.get("newest")
        if not isinstance(log, str) or not isinstance(newest, list):
            raise ValueError("it does not say which log it is of, and what it has seen")
        lines = tuple(Line.parse(canonical(line)) for line in newest)
    except ValueError as error:
        raise DataError(f"{place}: what was seen of the log cannot be read: {error}") from None
    return Anchor(place, log, entries, last, lines)


def head(log: str) -> Anchor | None:
    """The anchor beside the log, which shows that a log was cut off by accident. Raises DataError where it is none."""
    place = _beside(log)
    try:
        return Anchor(place, log, *_head(strict_json.loads(regular_file.content(place))))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{place}: cannot be read: {error}") from None


def written(anchor: Anchor) -> bytes:
    """The JSON of an anchor."""
    newest = [strict_json.loads(line.text) for line in anchor.newest]
    told = {"entries": anchor.entries, "last": anchor.last, "log": anchor.log, "newest": newest}
    return canonical(told) + b"\n"


def keep_head(log: str, lines: Sequence[Line]) -> None:
    """Write the anchor beside the log."""
    with atomic.file(_beside(log)) as partial, open(partial, "wb") as file:
        file.write(canonical({"entries": len(lines), "last": lines[-1].sha256}) + b"\n")


def keep(log: str, lines: Sequence[Line], verified: Iterable[Line], *, anew: bool = False) -> str:
    """Bring this user's anchor of a log up to what the log says; returns why it could not be done, else "".

    verified  those lines whose signatures are valid
    anew      whether the log has just been begun anew, so that its earlier length counts no more
    """
    place = own(log)
    if place is None:
        return "there is no home folder"
    try:
        os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
        with locked(f"{place}.lock"):
            before = read(place)
            if before is not None and before.entries > len(lines) and not anew:
                return ""  # another process has read or written more meanwhile
            write(place, log, lines, verified, before)
    except (OSError, ImportError) as error:  # there is no fcntl on Windows
        return f"{place}: {getattr(error, 'strerror', None) or error}"
    return ""


def write(place: str, log: str, lines: Sequence[Line], verified: Iterable[Line], before: Anchor | None) -> None:
    """Write an anchor of a log; the newest audits that it has seen `before` stay. Raises OSError."""
    newest: dict[tuple[str, str], Line] = {}
    for line in (*(before.newest if before else ()), *verified):
        entry = line.entry
        known = newest.get((str(entry.dataset), entry.keyid))
        if known is None or entry.ended >= known.entry.ended:
            newest[str(entry.dataset), entry.keyid] = line
    anchor = Anchor(place, os.path.realpath(log), len(lines), lines[-1].sha256, tuple(newest.values()))
    if anchor == before:
        return
    with atomic.file(place) as partial, open(partial, "wb") as file:
        file.write(written(anchor))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: str) -> Iterator[Any]:
    """The file, open for appending and locked against other processes that lock it."""
    import fcntl

    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _beside(log: str) -> str:
    return f"{log}.head"


def _head(found: Any) -> tuple[int, str]:
    if not isinstance(found, dict):
        raise ValueError("it is no object")
    entries, last = found.get("entries"), found.get("last")
    if not isinstance(entries, int) or isinstance(entries, bool) or entries < 1:
        raise ValueError(f"the number of entries must be whole and at least 1, got {entries!r}")
    if not isinstance(last, str):
        raise ValueError(f"the hash of the last entry must be a text, got {last!r}")
    return entries, last
