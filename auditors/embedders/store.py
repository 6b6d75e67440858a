"""Where stored results are kept between audits, and how much of it."""

from __future__ import annotations

import os
import re
from contextlib import suppress

OURS = re.compile(r"[0-9a-f]{32}\.arrow(\.partial-.*)?")


def folder() -> str:
    """$FORETASTE_CACHE, or foretaste below the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.environ.get("FORETASTE_CACHE") or os.path.join(base, "foretaste")


def limit() -> int:
    """Bytes to keep: $FORETASTE_CACHE_GB gigabytes, 10 by default."""
    try:
        return int(float(os.environ.get("FORETASTE_CACHE_GB", "10")) * 1e9)
    except (ValueError, OverflowError):
        return 10_000_000_000


def touch(path: str) -> None:
    """Say that a stored result was of use today."""
    with suppress(OSError):
        os.utime(path)


def prune(place: str, keep: int) -> None:
    """Delete the results longest unused until at most `keep` bytes are left."""
    held = []
    with suppress(FileNotFoundError):
        for entry in os.scandir(place):
            # Whatever else lies there is not ours to delete.
            with suppress(FileNotFoundError):
                if not OURS.fullmatch(entry.name):
                    continue
                held.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
    total = sum(size for _, size, _ in held)
    for _, size, path in sorted(held):
        if total <= keep:
            return
        with suppress(FileNotFoundError):
            os.remove(path)
        total -= size
