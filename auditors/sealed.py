"""Sealed files: pieces of bytes that only who holds a key can write, each verified before it is used.

A piece is its length, an HMAC-SHA256 of the file's name, the piece's number, whether it is the last, and its bytes.
An altered, swapped, moved, shortened or foreign file is therefore noticed, and nothing of it is ever parsed. The last
piece is empty. A file of another user, one that others can write, or anything but a regular file is not read at all.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

KEY = MAC = 32  # bytes
LENGTH = 8  # bytes
HEAD = LENGTH + MAC
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH


class Broken(Exception):
    """A file is not as it was sealed; the message says how."""


class Writer:
    """Writes a new sealed file, readable by its owner only. `name` is the name that it will be read by."""

    def __init__(self, path: str, name: str, key: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        self._file: BinaryIO = os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0)
        self._name, self._key, self._pieces = name, key, 0

    def write(self, piece: bytes | memoryview) -> None:
        """Append a piece. Raises OSError where it cannot be written whole."""
        self._append(piece, last=False)

    def finish(self) -> None:
        """Append the last piece and close the file."""
        self._append(b"", last=True)
        self.close()

    def close(self) -> None:
        self._file.close()

    def _append(self, piece: bytes | memoryview, *, last: bool) -> None:
        head = len(piece).to_bytes(LENGTH, "little") + _mac(self._key, self._name, self._pieces, last, piece)
        self._pieces += 1
        for part in (head, piece):
            left = memoryview(part)
            while left:
                left = left[self._file.write(left) :]


def pieces(path: str, key: bytes) -> Iterator[bytes]:
    """The pieces of a sealed file but the last, each verified. Raises Broken, also at the end where it was shortened.

    Raises FileNotFoundError where there is none.
    """
    with _opened(path) as file:
        left, number, name = os.fstat(file.fileno()).st_size, 0, os.path.basename(path)
        while True:
            head = file.read(HEAD)
            length = int.from_bytes(head[:LENGTH], "little")
            left -= HEAD
            if len(head) < HEAD or length > left:
                raise Broken("it was shortened")
            piece = file.read(length)
            left -= length
            # Where the file ends is the last piece.
            if not hmac.compare_digest(head[LENGTH:], _mac(key, name, number, left == 0, piece)):
                raise Broken("it was altered, or sealed with another key")
            if left == 0:
                if piece:
                    raise Broken("it was shortened")
                return
            yield piece
            number += 1


def _opened(path: str) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Broken(f"it cannot be read: {error.strerror}") from error
    state = os.fstat(file.fileno())
    fault = ""
    if not stat.S_ISREG(state.st_mode):
        fault = "it is no file"
    elif os.name == "posix" and state.st_uid != os.geteuid():
        fault = "it belongs to somebody else"
    elif os.name == "posix" and state.st_mode & WRITABLE_BY_OTHERS:
        fault = "others can write it"
    if fault:
        file.close()
        raise Broken(fault)
    return file


def _mac(key: bytes, name: str, number: int, last: bool, piece: bytes | memoryview) -> bytes:
    mac = hmac.new(key, f"{name}\n{number}\n{int(last)}\n".encode(), "sha256")
    mac.update(piece)
    return mac.digest()
