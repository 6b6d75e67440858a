"""The card of a dataset, README.md, whose YAML tells `datasets.load_dataset` which files are the data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import fsspec

from foretaste.dataset.files import listing
from foretaste.errors import DataError

NAMES = ("README.md", ".huggingface.yaml")  # the second is YAML alone
FRONT_MATTER = re.compile(r"\A\s*---[\r\n]+(.*?)[\r\n]+---[ \t]*(?:[\r\n]|\Z)", re.DOTALL)
SIZE = 1 << 22  # bytes of a card that are read at most


def misleads(path: str, data: Iterable[str]) -> str | None:
    """Why the card at `path` leads `datasets` to other files than the `data`, by their paths; None where it does not.

    Raises DataError where the card cannot be read.
    """
    folder, _, name = path.rpartition("/")
    try:
        with fsspec.open(path, "rb") as file:
            text = file.read(SIZE + 1).decode("utf-8-sig", errors="replace")
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if name == NAMES[0]:
        front = FRONT_MATTER.match(text)
        if front is None and len(text) <= SIZE:
            return None
        text = text if front is None else front[1]
    said = _parsed(text)
    if said is None:
        return "which files datasets would read by this YAML cannot be said: remove it"
    folders, patterns = sorted({"", *_below(said, "data_dir")}), sorted(set(_below(said, "data_files")))
    if away := [named for named in (*patterns, *folders) if _leads_out(named)]:
        return _sentence(away[0])
    if not patterns:
        return None
    there = {other.removeprefix(f"{folder}/") for other in listing(folder)[1]}
    there -= {other.removeprefix(f"{folder}/") for other in data}
    taken = {name for base in folders for pattern in patterns for name in _matching(os.path.join(base, pattern), there)}
    return _sentence(min(taken)) if taken else None


def _sentence(named: str) -> str:
    return f"datasets would read {named!r} by this YAML, which was not audited: remove it from there"


def _parsed(text: str) -> list[Any] | None:
    import yaml

    try:
        if len(text) > SIZE:
            raise ValueError(f"it is longer than {SIZE} bytes")
        return [yaml.safe_load(text)]
    except (yaml.YAMLError, ValueError, RecursionError):
        return None


def _below(said: Any, key: str) -> Iterator[str]:
    """Every string below a key of this name, however deep."""
    waiting: list[tuple[Any, bool]] = [(said, False)]
    seen: set[tuple[int, bool]] = set()  # a few lines of YAML can repeat one list a billion times
    while waiting:
        value, below = waiting.pop()
        if isinstance(value, str):
            if below:
                yield value
            continue
        if (id(value), below) in seen:
            continue
        seen.add((id(value), below))
        if isinstance(value, Mapping):
            waiting += [(inner, below or name == key) for name, inner in value.items()]
        elif isinstance(value, Sequence):
            waiting += [(inner, below) for inner in value]


def _leads_out(pattern: str) -> bool:
    return pattern.startswith(("/", "~")) or "::" in pattern or "://" in pattern or ".." in pattern.split("/")


def _matching(pattern: str, names: Iterable[str]) -> set[str]:
    """The names that a pattern may match; all of them where it is not understood."""
    from fsspec.utils import glob_translate

    try:
        matcher = re.compile(glob_translate(os.path.normpath(pattern)))
    except (ValueError, re.error):
        return set(names)
    return {name for name in names if matcher.match(name)}
