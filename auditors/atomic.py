"""Atomic writes: a file or folder is complete or absent, even if writing is interrupted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from foretaste.errors import PlanError


@contextmanager
def folder(path: str, *, what: str = "results", mode: int = 0o777) -> Iterator[str]:
    """A hidden folder beside `path` to write into; renamed to `path` when the block ends, removed when it fails.

    Raises PlanError, before anything is written, where `path` exists and is not empty or cannot be created.
    """
    path = os.path.realpath(path)
    if os.path.lexists(path) and (not os.path.isdir(path) or os.listdir(path)):
        raise PlanError(f"{path}: the folder for {what} must be new or empty, it exists and is not")
    partial = _beside(path)
    try:
        path.encode()
    except UnicodeEncodeError:  # the libraries that write into it take no other names
        raise PlanError(f"{os.fsencode(path)!r}: the folder for {what} must have a name in UTF-8, it has not") from None
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        os.mkdir(partial, mode)
    except OSError as error:
        raise PlanError(f"{path}: the folder for {what} must be writable, got {error.strerror}") from error
    try:
        yield partial
        try:
            os.replace(partial, path)
        except OSError as error:
            raise PlanError(f"{path}: somebody else wrote there meanwhile: {error.strerror}") from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


@contextmanager
def file(path: str) -> Iterator[str]:
    """A hidden file beside `path` to write; renamed to `path` when the block ends, removed when it fails."""
    partial = _beside(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        with suppress(FileNotFoundError):
            os.remove(partial)


def _beside(path: str) -> str:
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{name}.partial-{os.getpid()}")
