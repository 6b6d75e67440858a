"""Open files whose content is what was hashed, against changes between check and use (TOCTOU).

A file is read through the handle that was hashed, so that replacing it behind its path has no effect. If the file
itself was written to, it is hashed again before any byte is returned. One writer escapes this: a process that had
mapped the file into its memory before, and writes there, leaves no trace in the file's times. Only `verify`, which
always hashes, or a copy that nobody else can write to is proof against it: `copied` makes one in memory.
"""

from __future__ import annotations

import io
import os
import shutil
from typing import Any

from foretaste.dataset.binding.file_state import Bytes, settle, state
from foretaste.dataset.files import BLOCK, Found, opened, regular_handle, streamed
from foretaste.errors import Refused
from foretaste.types.digests import Digest


class VerifiedFile(io.RawIOBase):
    """A local file, hashed when it is opened; readable and seekable, for pyarrow and other readers of file objects.

    Forked processes can share it: positions are kept in the object, not in the file descriptor.
    Reading raises Refused once the content differs from what was hashed.
    """

    def __init__(self, found: Found, handle: int | None = None) -> None:
        """Hash a file; an open `handle` of it, if there is one, is taken over."""
        super().__init__()
        self.name = found.name
        self._handle = (
            regular_handle(found.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)) if handle is None else handle
        )
        self._place = 0
        try:
            settle(self._handle)
            self._seen = state(self._handle)
            self.digest, self.size = self._hash()
            changed = state(self._handle) != self._seen
        except BaseException:
            self.close()
            raise
        if changed:
            self.close()
            raise Refused(f"{self.name}: was written to while it was hashed")

    def check(self) -> None:
        """Raises Refused if the file was written to, and its content differs from what was hashed."""
        # Renamed, linked, touched or written to: only hashing can tell.
        if state(self._handle) != self._seen:
            self.verify()

    def verify(self) -> None:
        """Hash the file again. Raises Refused if the content differs from what was hashed."""
        settle(self._handle)
        before = state(self._handle)
        if self._hash() != (self.digest, self.size) or state(self._handle) != before:
            raise Refused(f"{self.name}: was changed after it was checked")
        self._seen = before

    def is_at(self, path: str) -> bool:
        """Whether a path refers to this very file."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._handle))
        except OSError:
            return False

    @property
    def path(self) -> str:
        """A path of the open file, for readers in this process that need one."""
        return f"/dev/fd/{self._handle}"

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

    def _hash(self) -> tuple[Digest, int]:
        return streamed(Bytes(self._handle))


def copied(found: Found) -> VerifiedFile:
    """A copy of a local file in memory that no other process can write to, hashed.

    On Linux it is sealed memory (memfd), elsewhere a temporary file without a name. Raises OSError where the file
    cannot be read or memory does not suffice.
    """
    handle = _private(found.name)
    try:
        with opened(found.path) as source, open(handle, "wb", closefd=False) as to:
            shutil.copyfileobj(source, to, BLOCK)
        _seal(handle)
    except BaseException:
        os.close(handle)
        raise
    return VerifiedFile(found, handle)


def _private(name: str) -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create(os.path.basename(name)[:64], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _seal(handle: int) -> None:
    if hasattr(os, "memfd_create"):
        import fcntl

        fcntl.fcntl(
            handle, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        )
