"""Reads files that others may have put there: a FIFO or a device in place of one must not make a gate wait forever."""

from __future__ import annotations

import errno
import os
import stat

OPTIONS = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))  # those that the system has


def content(path: str) -> bytes:
    """The bytes of a regular file. Raises OSError where it is none, or cannot be read."""
    handle = os.open(path, os.O_RDONLY | OPTIONS)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", path)
        return file.read()
