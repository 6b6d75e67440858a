"""Atomic writes: a file or folder is complete or absent, even if writing is interrupted or the disk is full.

What is being written lies beside its place under a hidden name, `.NAME.partial-PROCESS-RANDOM`. Only a process that is
killed leaves it there; the next one that writes to the same folder removes it after a day.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from foretaste.errors import PlanError

PARTIAL = re.compile(r"\..+\.partial-\d+(-[0-9a-f]{8})?")
STALE = 86_400  # seconds
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@contextmanager
def folder(path: str, *, what: str = "results", mode: int = 0o777) -> Iterator[str]:
    """A hidden folder beside `path` to write into; renamed to `path` when the block ends, removed when it fails.

    Raises PlanError, before anything is written, where `path` exists and is not empty or cannot be created; and at the
    end where the disk is full or somebody else wrote there.
    """
    path = os.path.realpath(path)
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise PlanError(f"{path}: the folder for {what} must be new or empty, it exists and is not")
    parent, partial = os.path.dirname(path), _beside(path)
    made = _missing(parent)
    try:
        path.encode()
    except UnicodeEncodeError:  # the libraries that write into it take no other names
        raise PlanError(f"{os.fsencode(path)!r}: the folder for {what} must have a name in UTF-8, it has not") from None
    try:
        os.makedirs(parent, exist_ok=True)
        os.mkdir(partial, mode)
    except OSError as error:
        _remove_empty(made)
        raise PlanError(f"{path}: the folder for {what} must be writable, got {error.strerror}") from error
    try:
        with _locked(partial):
            clear(parent)
            yield partial
            try:
                os.replace(partial, path)
            except OSError as error:
                raise PlanError(f"{path}: somebody else wrote there meanwhile: {error.strerror}") from error
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        _remove_empty(made)
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise PlanError(f"{path}: the folder for {what} cannot be written: {os.strerror(error.errno)}") from error
        raise


@contextmanager
def file(path: str) -> Iterator[str]:
    """A hidden file beside `path` to write; renamed to `path` when the block ends, removed when it fails."""
    if os.path.lexists(path) and not (os.path.isfile(path) or os.path.islink(path)):  # a device, a pipe, a folder
        raise OSError(errno.EINVAL, "it is there and not a regular file", path)
    partial = _beside(path)
    try:
        yield partial
        os.replace(partial, path)
        clear(os.path.dirname(path) or ".")
    finally:
        with suppress(FileNotFoundError):
            os.remove(partial)


def clear(parent: str) -> None:
    """Remove what killed processes left half-written in a folder, if it is older than a day and nobody's any more."""
    with suppress(OSError):
        for entry in list(os.scandir(parent)):
            with suppress(OSError):
                if PARTIAL.fullmatch(entry.name) and _touched(entry) < time.time() - STALE:
                    _remove_unlocked(entry)


def _touched(entry: os.DirEntry[str]) -> float:
    """When a file or folder, or anything directly in the folder, was last changed, in seconds since the epoch."""
    inner = list(os.scandir(entry.path)) if entry.is_dir(follow_symlinks=False) else []
    return max(one.stat(follow_symlinks=False).st_mtime for one in (entry, *inner))


def _remove_unlocked(entry: os.DirEntry[str]) -> None:
    if not entry.is_dir(follow_symlinks=False):
        os.remove(entry.path)
        return
    with _locked(entry.path):
        shutil.rmtree(entry.path)


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Hold the lock of a folder. Raises BlockingIOError where another process does.

    File systems without such locks hold nobody back.
    """
    try:
        import fcntl
    except ImportError:  # not POSIX
        yield
        return
    held = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass
        yield
    finally:
        os.close(held)


def _missing(path: str) -> list[str]:
    """The folders on the way to `path`, itself included, that are not there, the deepest first."""
    out = []
    while path and not os.path.lexists(path):
        out.append(path)
        path = os.path.dirname(path)
    return out


def _remove_empty(folders: list[str]) -> None:
    for path in folders:
        with suppress(OSError):
            os.rmdir(path)


def _beside(path: str) -> str:
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{name}.partial-{os.getpid()}-{secrets.token_hex(4)}")
