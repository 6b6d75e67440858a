"""The folders of a user's own files, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
from pathlib import Path

NOWHERE = "/nonexistent"  # the home of users without one, as Debian names it


def cache() -> Path:
    """$XDG_CACHE_HOME/foretaste, by default ~/.cache/foretaste."""
    return _folder("XDG_CACHE_HOME", ".cache")


def config() -> Path:
    """$XDG_CONFIG_HOME/foretaste, by default ~/.config/foretaste."""
    return _folder("XDG_CONFIG_HOME", ".config")


def state() -> Path:
    """$XDG_STATE_HOME/foretaste, by default ~/.local/state/foretaste."""
    return _folder("XDG_STATE_HOME", ".local/state")


def home() -> Path:
    """The home folder; NOWHERE for a user who has none."""
    found = os.path.expanduser("~")
    return Path(NOWHERE if found == "~" else found)


def _folder(variable: str, below: str) -> Path:
    base = os.environ.get(variable)
    return (Path(base) if base else home() / below) / "foretaste"
