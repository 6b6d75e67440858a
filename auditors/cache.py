"""The folder of the cache: which one can be used, its key, and which entries go when it is full.

Where the folder cannot be used (no home, a full or read-only disk, a file in its place, somebody else's folder) a
temporary one is, with a note: an audit needs one, but none of an earlier audit.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO

from foretaste import sealed, user_folders
from foretaste.errors import PlanError

logger = logging.getLogger("foretaste")

ENTRY = re.compile(r"[0-9a-f]{32}\.(arrow|sealed)(\.partial-.*)?")  # .arrow: of earlier releases
LOCK = "lock"
STALE = 86_400  # seconds after which a half-written entry is nobody's any more
LEAST = 1 << 26  # bytes that must be free


@dataclass(frozen=True)
class Store:
    """A folder of sealed entries and the key that seals them. It travels with the work to other processes."""

    folder: str
    key: bytes = field(repr=False)

    @classmethod
    def at(cls, folder: str) -> Store:
        """A new or existing folder, with the user's key."""
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return cls(folder, key())


@contextmanager
def opened() -> Iterator[Store]:
    """The cache; pruned at the end, unless another process uses it. Else a temporary folder, deleted at the end.

    Raises PlanError where not even that can be made.
    """
    place = folder()
    fault = _fault(place)
    if fault:
        logger.warning(
            "the cache %s is not used, %s; embeddings are kept until the audit ends only. FORETASTE_CACHE names "
            "another folder.", place, fault,
        )  # fmt: skip
        with _temporary() as temporary:
            yield Store(temporary, secrets.token_bytes(sealed.KEY))
        return
    with _shared(place) as lock:
        try:
            yield Store(place, key())
        finally:
            if _alone(lock):
                prune(place, limit())


def folder() -> str:
    """The cache folder: $FORETASTE_CACHE, or foretaste below the user's cache folder."""
    return os.path.abspath(os.environ.get("FORETASTE_CACHE") or user_folders.cache())  # workers may be elsewhere


def limit() -> int:
    """Largest size of the cache in bytes: $FORETASTE_CACHE_GB gigabytes, 10 by default."""
    try:
        return int(float(os.environ.get("FORETASTE_CACHE_GB", "10")) * 1e9)
    except (ValueError, OverflowError):
        return 10_000_000_000


def key() -> bytes:
    """The key of the user's entries, made on first use: cache.key in the config folder, for its owner only.

    Where it cannot be kept, or is no such file, a new one that is forgotten: then no entry is of use to a later audit.
    """
    path = user_folders.config() / "cache.key"
    try:
        if not os.path.lexists(path):
            _create(str(path))
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)), "rb") as f:
            state, found = os.fstat(f.fileno()), f.read(sealed.KEY + 1)
        fault = _not_private(state) or ("" if len(found) == sealed.KEY else "it is no key")
        if not fault:
            return found
    except OSError as error:
        fault = f"it cannot be kept there: {error.strerror}"
    logger.warning("the key of the cache %s is not used, %s; no embedding will be reused.", path, fault)
    return secrets.token_bytes(sealed.KEY)


def touch(path: str) -> None:
    """Mark an entry as used now."""
    with suppress(OSError):
        os.utime(path, follow_symlinks=False)


def prune(place: str, keep: int) -> None:
    """Delete the least recently used entries until at most `keep` bytes are left, and stale half-written ones.

    Files of others are never deleted.
    """
    held = []
    with suppress(OSError):
        for entry in list(os.scandir(place)):
            with suppress(OSError):
                state, named = entry.stat(follow_symlinks=False), ENTRY.fullmatch(entry.name)
                if named is None or stat.S_ISDIR(state.st_mode):
                    continue
                if not named[2]:
                    held.append((state.st_mtime, state.st_size, entry.path))
                elif state.st_mtime < time.time() - STALE:
                    os.remove(entry.path)
    total = sum(size for _, size, _ in held)
    for _, size, path in sorted(held):
        if total <= keep:
            return
        with suppress(OSError):
            os.remove(path)
            total -= size


def _fault(place: str) -> str:
    """Why a folder cannot be the cache; "" where it can."""
    try:
        os.makedirs(place, mode=0o700, exist_ok=True)
        fault = _not_private(os.stat(place), sealed.WRITABLE_BY_OTHERS)
        if not fault:
            with tempfile.TemporaryFile(dir=place) as probe:
                probe.write(b"\0")
            fault = "" if shutil.disk_usage(place).free >= LEAST else "its disk is full"
    except OSError as error:
        return f"it cannot be written: {error.strerror}"
    return fault


def _not_private(state: os.stat_result, forbidden: int = stat.S_IRWXG | stat.S_IRWXO) -> str:
    """Why a file or folder is not the user's alone; "" where it is."""
    if os.name != "posix":
        return ""
    if state.st_uid != os.geteuid():
        return "it belongs to somebody else"
    if state.st_mode & forbidden:
        return "others have access to it (chmod go-rwx)"
    return ""


@contextmanager
def _temporary() -> Iterator[str]:
    try:
        temporary = tempfile.TemporaryDirectory(prefix="foretaste-", ignore_cleanup_errors=True)
    except OSError as error:
        raise PlanError(
            f"an audit needs a folder for embeddings, and none can be made: {error.strerror}; name one as "
            "FORETASTE_CACHE or TMPDIR"
        ) from error
    with temporary as path:
        yield path


@contextmanager
def _shared(place: str) -> Iterator[BinaryIO | None]:
    """The lock of the cache, held together with others; None where there are no such locks."""
    try:
        import fcntl

        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        lock = os.fdopen(os.open(os.path.join(place, LOCK), flags, 0o600), "rb")
    except (ImportError, OSError):
        yield None
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield lock


def _alone(lock: BinaryIO | None) -> bool:
    """Whether nobody else uses the cache, as far as its file system can say."""
    if lock is None:
        return True
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _create(path: str) -> None:
    """Write a new key, whole, unless somebody else was quicker."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    partial = f"{path}.{secrets.token_hex(4)}"
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(sealed.KEY))
        with suppress(FileExistsError):
            os.link(partial, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(partial)
