"""Open files whose content is guaranteed to be what was hashed, against changes between check and use (TOCTOU).

A file is read through the handle that was hashed, so that replacing it behind its path has no effect. If the file
itself was written to, it is hashed again before any byte is returned.
"""

from __future__ import annotations

import io
import os
import time
from typing import Any

from foretaste.dataset.files import Found, streamed
from foretaste.errors import Refused
from foretaste.types.digests import Digest

TICK = 50_000_000  # nanoseconds, several times the coarsest timestamp resolution of a local file system


class VerifiedFile(io.RawIOBase):
    """A local file, hashed when it is opened; readable and seekable, for pyarrow and other readers of file objects.

    Forked processes can share it: positions are kept in the object, not in the file descriptor.
    Reading raises Refused once the content differs from what was hashed.
    """

    def __init__(self, found: Found) -> None:
        super().__init__()
        self.name = found.name
        self._handle = os.open(found.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._place = 0
        self._seen: tuple[int, ...] = ()
        try:
            self._settle()
            self._seen = self._state()
            self.digest, self.size = self._hash()
            changed = self._state() != self._seen
        except BaseException:
            self.close()
            raise
        if changed:
            self.close()
            raise Refused(f"{self.name}: was written to while it was hashed")

    def check(self) -> None:
        """Raises Refused if the content differs from what was hashed."""
        if self._state() == self._seen:
            return
        # Renamed, linked, touched or written to: only hashing can tell.
        self._settle()
        state = self._state()
        if self._hash() != (self.digest, self.size) or self._state() != state:
            raise Refused(f"{self.name}: was changed after it was checked")
        self._seen = state

    def is_at(self, path: str) -> bool:
        """Whether a path refers to this very file."""
        try:
            stat = os.stat(path)
        except OSError:
            return False
        return (stat.st_dev, stat.st_ino) == self._seen[:2]

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._handle, [buffer], self._place)
        self._place += count
        self.check()
        return count

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError(f"{self.name}: no place before the first byte, got {start + offset}")
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()

    def _settle(self) -> None:
        """Wait until timestamps differ: a second write within one tick of the file system's clock leaves no trace."""
        if abs(time.time_ns() - os.fstat(self._handle).st_ctime_ns) < TICK:
            time.sleep(TICK / 1e9)

    def _hash(self) -> tuple[Digest, int]:
        return streamed(_Reader(self._handle))

    def _state(self) -> tuple[int, ...]:
        stat = os.fstat(self._handle)
        return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


class _Reader:
    """Reads a file descriptor from the start without moving its own position."""

    def __init__(self, handle: int) -> None:
        self.handle, self.place = handle, 0

    def readinto(self, block: Any) -> int:
        count = os.preadv(self.handle, [block], self.place)
        self.place += count
        return count
