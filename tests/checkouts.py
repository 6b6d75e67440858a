"""A copy of this tree as git knows it, so that what lies about in a working folder is not there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from places import ROOT


def git(checkout: Path, *arguments: str) -> str:
    who = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
    return subprocess.run(["git", *who, *arguments], cwd=checkout, capture_output=True, text=True, check=True).stdout


def copied(place: Path) -> Path:
    """What git would commit of this tree, in `place`. Skips where this tree is no repository."""
    try:
        known = git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this tree is no git repository")
    for name in filter(None, known):
        if (ROOT / name).is_file() and not name.endswith(".webp"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes((ROOT / name).read_bytes())
    return place
