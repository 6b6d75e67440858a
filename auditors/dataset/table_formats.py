"""Folders of Delta, Iceberg and Hudi tables, which keep files whose rows were deleted or replaced.

Only a table's log says which of its files are live. Needs the standard library alone, as the gate does.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from foretaste.errors import DataError

COMMIT = re.compile(r"\d{20}\.json")
WRITERS = {
    "Delta": "polars.scan_delta({root!r}).sink_parquet(...)",
    "Iceberg": "polars.scan_iceberg(...).sink_parquet(...)",
    "Hudi": "Spark",
}


def require_live(fs: Any, folders: Iterable[str], below: Iterable[str], files: Sequence[str]) -> None:
    """Raise DataError where a folder belongs to a table and not all of `files` are known to be live in it.

    folders  where files were looked for
    below    every path in them, those of logs among them
    """
    tops = sorted({top for folder in folders for top in _above(folder)})
    logs = dict([*filter(None, map(_log, below)), *((top, name) for top in tops if (name := _table(fs, top)))])
    for root, name in sorted(logs.items()):
        way = (
            f"write its live rows with {WRITERS[name].format(root=root)} and name the new file, or name the live files"
        )
        if name != "Delta":
            rule = f"a folder of data must hold live rows only, and a table of {name} keeps others"
            raise DataError(f"{root}: {rule}: {way}")
        inside = [file[len(root) + 1 :] for file in files if file.startswith(f"{root}/")]
        live = _live(fs, f"{root}/_delta_log")
        if live is None:
            raise DataError(f"{root}: the log of this Delta table does not say which of its files are live: {way}")
        if dead := [file for file in inside if file not in live]:
            found = f"{len(dead)} of {len(inside)} files of this Delta table hold deleted, replaced or uncommitted rows"
            raise DataError(f"{root}: {found}, the first is {dead[0]}: {way}")


def _log(path: str) -> tuple[str, str] | None:
    """The folder of the table whose log a file belongs to, and the table's format; None where it is no log."""
    for folder, name in (("_delta_log", "Delta"), (".hoodie", "Hudi")):
        root, found, _ = path.partition(f"/{folder}/")
        if found:
            return root, name
    root, found, rest = path.rpartition("/metadata/")
    return (root, "Iceberg") if found and rest.endswith(".metadata.json") else None


def _above(folder: str) -> list[str]:
    """The folders that may hold the log of a table whose data lie in `folder`."""
    while "=" in folder.rpartition("/")[2]:
        folder = folder.rpartition("/")[0]
    root, _, name = folder.rpartition("/")
    return [folder, root] if name == "data" else [folder]  # Iceberg's files lie in a folder of this name


def _table(fs: Any, root: str) -> str | None:
    if fs.isdir(f"{root}/_delta_log"):
        return "Delta"
    if fs.isdir(f"{root}/.hoodie"):
        return "Hudi"
    return "Iceberg" if fs.glob(f"{glob.escape(root)}/metadata/*.metadata.json") else None


def _live(fs: Any, log: str) -> frozenset[str] | None:
    """The files that a Delta table's commits leave whole, relative to it; None where commits are missing or unreadable.

    A file with a deletion vector is not whole.
    """
    live: set[str] = set()
    try:
        commits = sorted(path for path in fs.ls(log, detail=False) if COMMIT.fullmatch(path.rpartition("/")[2]))
        if [int(path.rpartition("/")[2][:20]) for path in commits] != list(range(len(commits))):
            return None  # checkpoints, which are Parquet, stand for the oldest
        for path in commits:
            for line in fs.cat_file(path).splitlines():
                action = json.loads(line)
                for change in filter(None, (action.get("remove"), action.get("add"))):
                    live.discard(unquote(change["path"]))
                added = action.get("add")
                if added and not added.get("deletionVector"):
                    live.add(unquote(added["path"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return frozenset(live)
