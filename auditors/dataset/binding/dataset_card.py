"""The card of a dataset, README.md, whose YAML tells `datasets.load_dataset` which files are the data."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

import fsspec

from foretaste.dataset.files import listing
from foretaste.errors import DataError

NAMES = ("README.md", ".huggingface.yaml")  # the second is YAML alone
INFOS = "dataset_infos.json"  # what a card says today
IGNORED = (NAMES[0], INFOS, "config.json", "dataset_info.json", "dataset_dict.json")  # never data
FRONT_MATTER = re.compile(r"\A\s*---[\r\n]+(.*?)[\r\n]+---[ \t]*(?:[\r\n]|\Z)", re.DOTALL)
SIZE = 1 << 20  # bytes of a card that are read at most
DEEP = 100  # lists in one another that are followed at most
KEYS = ("data_files", "data_dir")


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
    said = None if len(text) > SIZE else _named(text)
    if said is None:
        return "which files datasets would read by this YAML cannot be said: remove it"
    patterns, folders = sorted(said["data_files"]), sorted({"", *said["data_dir"]})
    if away := [named for named in (*patterns, *folders) if _leads_out(named)]:
        return _sentence(away[0])
    if not patterns:
        return None
    there = {other.removeprefix(f"{folder}/") for other in listing(folder)[1]}
    there -= {other.removeprefix(f"{folder}/") for other in data}
    taken = {name for base in folders for pattern in patterns for name in _matching(os.path.join(base, pattern), there)}
    return _sentence(min(taken)) if taken else None


def passes_over(name: str) -> bool:
    """Whether `datasets` passes over a file for its name, or for that of a folder that it lies in."""
    return any(part.startswith((".", "__")) for part in name.split("/"))


def _sentence(named: str) -> str:
    return f"datasets would read {named!r} by this YAML, which was not audited: remove it from there"


@dataclass
class _Level:
    """A mapping or a sequence of YAML that is being read."""

    mapping: bool
    named: str | None  # the key of KEYS that it lies below
    key: str | None = None  # the same of the value that comes next
    at_key: bool = True


def _named(text: str) -> dict[str, set[str]] | None:
    """Every string below a key of this name, however deep, by key; None where YAML cannot be read, or hides strings.

    Event by event, because a few lines of YAML can repeat one list a billion times, or nest a million.
    """
    import yaml

    found: dict[str, set[str]] = {key: set() for key in KEYS}
    levels = [_Level(mapping=False, named=None)]
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.CollectionEndEvent):
                levels.pop()
            elif isinstance(event, yaml.NodeEvent):
                level = levels[-1]
                is_key, named = level.mapping and level.at_key, level.key if level.mapping else level.named
                level.at_key = not level.at_key
                scalar = isinstance(event, yaml.ScalarEvent)
                if is_key and scalar:
                    level.key = event.value if event.value in KEYS else level.named
                elif is_key or len(levels) > DEEP or (named and isinstance(event, yaml.AliasEvent)):
                    return None
                elif named and scalar:
                    found[named].add(event.value)
                elif not scalar and not isinstance(event, yaml.AliasEvent):
                    levels.append(_Level(isinstance(event, yaml.MappingStartEvent), named))
    except yaml.YAMLError:
        return None
    return found


def _leads_out(pattern: str) -> bool:
    return pattern.startswith(("/", "~")) or "::" in pattern or "://" in pattern or ".." in pattern.split("/")


def _matching(pattern: str, names: Iterable[str]) -> set[str]:
    """The names that a pattern may match; all of them where it is not understood."""
    from fsspec.utils import glob_translate

    if re.search(r"[*?[]", pattern) and not passes_over(pattern):
        names = [name for name in names if not passes_over(name) and os.path.basename(name) not in IGNORED]
    try:
        matcher = re.compile(glob_translate(os.path.normpath(pattern)))
    except (ValueError, re.error):
        return set(names)
    return {name for name in names if matcher.match(name)}
