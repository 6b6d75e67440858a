"""Whether a file is still the one that was digested, and unchanged: what is said of it must be said of what was read.

Every write to a file, and every rename of it, changes its inode, size or times. A change of times alone is settled by
digesting the file again. Behind a URL only the size is compared.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from foretaste.dataset.files import Found, opened, sha256, streamed
from foretaste.errors import DataError
from foretaste.types.dataset import File

TICK = 50_000_000  # nanoseconds, several times the coarsest timestamp resolution of a local file system


class Bytes:
    """Reads an open file from its start without moving its own position."""

    def __init__(self, handle: int) -> None:
        self.handle, self.place = handle, 0

    def readinto(self, block: Any) -> int:
        """Fill `block` with the next bytes; returns how many there were."""
        count = os.preadv(self.handle, [block], self.place)
        self.place += count
        return count


def state(handle: int) -> tuple[int, ...]:
    """Inode, size in bytes, and the nanoseconds when content and anything else of an open file changed last."""
    stat = os.fstat(handle)
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def settle(handle: int) -> None:
    """Wait until timestamps differ: a second write within one tick of the file system's clock leaves no trace."""
    if abs(time.time_ns() - os.fstat(handle).st_ctime_ns) < TICK:
        time.sleep(TICK / 1e9)


def digested(found: Found) -> File:
    """A file with its digest, its size and its state; its rows are not counted.

    Raises DataError where it is written to meanwhile, OSError where it cannot be read.
    """
    if "://" in found.path:
        digest, size = sha256(found.path)
        return File(found.name, found.path, 0, size, digest)
    with opened(found.path) as file:
        settle(file.fileno())
        before = state(file.fileno())
        digest, size = streamed(file)
        if state(file.fileno()) != before:
            raise _changed(found.name)
    return File(found.name, found.path, 0, size, digest, before)


@contextmanager
def reading(file: File) -> Iterator[Any]:
    """The file to read, for pyarrow.

    Raises DataError where it is not what was digested when it is opened, or was changed at the end of the block;
    OSError where it cannot be opened.
    """
    if "://" in file.path:
        with fsspec.open(file.path, "rb") as source:
            if source.seek(0, os.SEEK_END) != file.size:
                raise _changed(file.name)
            yield source
        return
    import pyarrow as pa

    with pa.OSFile(file.path) as source:
        before = _checked(source.fileno(), file)
        try:
            yield source
        except Exception as error:
            if state(source.fileno()) != before:
                raise _changed(file.name) from error
            raise
        if state(source.fileno()) != before:
            raise _changed(file.name)


def require_unchanged(files: Iterable[File]) -> None:
    """Raises DataError where a local file is no longer what was digested."""
    for file in files:
        if "://" in file.path:
            continue
        try:
            with opened(file.path) as now:
                _checked(now.fileno(), file)
        except OSError as error:
            raise DataError(f"{file.name}: is gone since it was audited: {error.strerror}") from error


def _checked(handle: int, file: File) -> tuple[int, ...]:
    """The state of an open file, after digesting it again if that is not the one that was digested."""
    now = state(handle)
    if now == file.state:
        return now
    settle(handle)
    now = state(handle)
    if now[1] != file.size or streamed(Bytes(handle)) != (file.digest, file.size) or state(handle) != now:
        raise _changed(file.name)
    return now


def _changed(name: str) -> DataError:
    return DataError(f"{name}: was changed while it was audited, so nothing can be said of it: audit it again")
