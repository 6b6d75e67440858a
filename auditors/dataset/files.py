"""The Parquet files of a dataset and their digests. Needs neither torch nor pyarrow, which would slow the gate down.

A place, as named by the user, is a file, a folder, a glob or an fsspec URL of any of them.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem

from foretaste.dataset.table_formats import require_live
from foretaste.errors import DataError, ForetasteError, MissingPackage, PlanError
from foretaste.types.digests import Digest

BLOCK = 1 << 20  # bytes read at a time
SUFFIXES = (".parquet", ".parq", ".pq")
MAGIC = b"PAR1"
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """A Parquet file: `name` is relative to the dataset's root, `path` is what fsspec opens."""

    name: str
    path: str


def find(places: Sequence[str]) -> tuple[str, tuple[Found, ...]]:
    """The deepest common folder of all places, and the Parquet files in them, each once, sorted by name.

    Folders are searched recursively. In folders and globs, names that start with "." or "_" and files that are not
    Parquet are skipped; a file named explicitly is always taken.

    Raises PlanError where a place matches nothing, DataError where a place is or holds a pipe or a device, a link to a
    folder, a file name with a line break or other than UTF-8, or files that a table's log does not count as live.
    """
    if not places:
        raise PlanError("a dataset must be named: a Parquet file, a folder, a glob or a URL, got nothing")
    expanded = [_reached(place) for place in places]
    fs = expanded[0][0]
    for place, (other, _, _) in zip(places, expanded, strict=True):
        if other != fs:
            raise PlanError(f"the places of one dataset must lie on one file system, got {places[0]!r} and {place!r}")
    root = _shared([base for _, base, _ in expanded])
    names = {path[len(root) :].lstrip("/"): path for _, _, paths in expanded for path in paths}
    if not names:
        raise PlanError(f"{', '.join(places)}: a dataset must hold at least one Parquet file, found none")
    for name in names:
        if "\n" in name:  # the root digest is made of lines
            raise DataError(f"{name!r}: a file name must not hold a line break")
        if not _is_utf8(name):  # reports and attestations are text
            raise DataError(f"{os.fsencode(name)!r}: a file name must be UTF-8, and it is not; rename the file")
    if not _is_utf8(root):
        raise DataError(f"{os.fsencode(root)!r}: the path of a dataset must be UTF-8, and it is not; rename the folder")
    return _url(fs, root or "/"), tuple(Found(name, _url(fs, names[name])) for name in sorted(names))


def sha256(path: str) -> tuple[Digest, int]:
    """SHA-256 and size of a file."""
    with opened(path) as file:
        return streamed(file)


def opened(path: str) -> Any:
    """A file to read, as a context manager.

    Raises OSError for anything but a regular file: reading a pipe or a device may never end. ValueError where the path
    holds a null character.
    """
    return fsspec.open(path, "rb") if "://" in path else open(path, "rb", opener=regular_handle)


def streamed(file: Any, copy: Any = None) -> tuple[Digest, int]:
    """SHA-256 and number of the remaining bytes of `file`, which are also written to `copy` where it is given."""
    digest, size, block = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    while count := file.readinto(block):
        digest.update(block[:count])  # releases the GIL
        if copy is not None:
            copy.write(block[:count])
        size += count
    return Digest("sha256", digest.hexdigest()), size


def each(found: Sequence[Found], work: Callable[[Found], T]) -> list[T]:
    """Map `work` over the files in threads, the largest files first; results in the order of `found`.

    Raises what `work` raises; DataError where a file cannot be read.
    """

    def guarded(file: Found) -> T:
        try:
            return work(file)
        except OSError as error:
            raise DataError(f"{file.name}: cannot be read: {error.strerror or error}") from error

    order = sorted(range(len(found)), key=lambda n: -_size(found[n].path))
    with ThreadPoolExecutor(min(len(found), os.cpu_count() or 1, 32)) as pool:
        done = dict(zip(order, pool.map(lambda n: guarded(found[n]), order), strict=True))
    return [done[n] for n in range(len(found))]


def root_digest(files: Iterable[tuple[str, Digest]]) -> Digest:
    """in-toto's dirHash1 of (name, sha256) pairs: sha256 of the lines `sha256sum` prints, sorted by name bytewise."""
    lines = sorted((os.fsencode(name), digest.value) for name, digest in files)
    return Digest("dirHash1", hashlib.sha256(b"".join(b"%s  %s\n" % (v.encode(), n) for n, v in lines)).hexdigest())


def is_parquet(path: str) -> bool:
    """Whether a file starts or ends with Parquet's magic bytes; False if it cannot be read.

    Readers find a file's rows from its end and take any bytes at its start.
    """
    try:
        with opened(path) as file:
            if file.read(len(MAGIC)) == MAGIC:
                return True
            file.seek(max(file.seek(0, os.SEEK_END) - len(MAGIC), 0))
            return bool(file.read(len(MAGIC)) == MAGIC)
    except OSError:
        return False


def listing(place: str) -> tuple[str, dict[str, bool]]:
    """The folder of a place, and every file in it and whether it is a link to a folder, by paths that fsspec opens.

    Nothing lies in a place that is a single file, and in a glob only what it matches.
    """
    fs, path = _filesystem(place)
    path = path.rstrip("/")
    if fs.isfile(path):
        return _url(fs, path.rpartition("/")[0]), {}
    if fs.isdir(path or "/"):
        return _url(fs, path or "/"), dict(_everything(fs, path))
    wild = re.search(r"[*?[]", path)
    entries: dict[str, bool] = {}
    for match in fs.glob(path):
        if not fs.isdir(match):
            entries[_url(fs, match)] = False
        elif isinstance(fs, LocalFileSystem) and os.path.islink(match):
            entries[match] = True
        else:
            entries |= dict(_everything(fs, match))
    return _url(fs, path[: wild.start() if wild else None].rpartition("/")[0] or "/"), entries


def _everything(fs: Any, folder: str) -> Iterator[tuple[str, bool]]:
    if not isinstance(fs, LocalFileSystem):
        yield from ((_url(fs, path), False) for path in fs.find(folder or "/"))
        return
    for here, folders, files in os.walk(folder or "/"):
        yield from ((os.path.join(here, name), False) for name in files)
        yield from ((path, True) for path in (os.path.join(here, name) for name in folders) if os.path.islink(path))


def inside(folder: str, path: str) -> str | None:
    """The full path of a path stored in a dataset, relative to its folder; None where it would lead outside."""
    if not path or "://" in path or "::" in path or path.startswith("/"):
        return None
    if ".." in path.replace("\\", "/").split("/"):
        return None
    return f"{folder.rstrip('/')}/{path}" if folder else path


def keep_out_of(places: Sequence[str], out: str) -> None:
    """Raise PlanError where `out` lies inside a folder of data, which the next audit would read as data."""
    for place in places:
        folder = os.path.realpath(place.removeprefix("file://"))
        if os.path.isdir(folder) and Path(out).is_relative_to(folder):
            raise PlanError(f"{out}: the folder for results must not lie inside the dataset {place}, choose another")


def regular_handle(path: str, flags: int) -> int:
    """The file descriptor of a regular file. Raises OSError where the path is a pipe or a device, without waiting."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else opening a pipe waits for its writer
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file", path)
    return handle


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are no UTF-8 are surrogates in Python
        return False
    return True


def _size(path: str) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # behind a URL, or gone
        return 0


def _shared(folders: list[str]) -> str:
    """The deepest common folder. os.path.commonpath would turn http:// into http:/."""
    parts = [folder.split("/") for folder in folders]
    differs = (depth for depth, names in enumerate(zip(*parts, strict=False)) if len(set(names)) > 1)
    return "/".join(parts[0][: next(differs, min(map(len, parts)))])


def _reached(place: str) -> tuple[Any, str, list[str]]:
    """As _expand. The client of a remote file system raises whatever it likes where it has no network or library."""
    try:
        return _expand(place)
    except (ForetasteError, MemoryError):
        raise
    except Exception as error:
        if "://" not in place and "::" not in place:
            raise
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise DataError(f"{place}: cannot be reached: {said}") from error


def _expand(place: str) -> tuple[Any, str, list[str]]:
    """File system, base folder and files of one place."""
    fs, path = _filesystem(place)
    path = path.rstrip("/")
    if fs.isfile(path):
        return fs, path.rpartition("/")[0], [path]
    if fs.isdir(path or "/"):
        entries = _below(fs, path)
        return fs, path, _data(fs, path, entries, [path])
    if fs.exists(path):
        raise DataError(_irregular(place))
    wild = re.search(r"[*?[]", path)
    if not wild:
        raise PlanError(f"{place}: no such file or folder")
    base = path[: wild.start()].rpartition("/")[0]
    matches: dict[str, dict[str, Any]] = {}
    for match, entry in fs.glob(path, detail=True).items():
        matches |= _below(fs, match) if fs.isdir(match) else {match: entry}
    return fs, base, _data(fs, base, matches, {base, *(match.rpartition("/")[0] for match in matches)})


def _below(fs: Any, folder: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = fs.find(folder or "/", detail=True)
    return found


def _data(fs: Any, base: str, entries: dict[str, dict[str, Any]], folders: Iterable[str]) -> list[str]:
    """The files of data among `entries`, which were found in `folders`."""
    files = [path for path, entry in entries.items() if _is_data(fs, base, path, entry)]
    require_live(fs, folders, entries, files)
    return files


def _is_data(fs: Any, base: str, path: str, entry: Mapping[str, Any]) -> bool:
    if any(part.startswith((".", "_")) for part in path[len(base) :].split("/")):
        return False
    if entry.get("islink") and fs.isdir(path):
        # Some readers follow such links: skipping one could miss files that a training job reads.
        target = entry.get("destination", "its target")
        raise DataError(f"{path}: a folder of data must not hold a link to a folder, name {target} itself")
    if not path.lower().endswith(SUFFIXES):  # Spark and Hive write Parquet files without a suffix
        return (entry["type"] == "file" or bool(entry.get("islink"))) and is_parquet(_url(fs, path))
    if entry["type"] == "other" and not fs.isfile(path) and fs.exists(path):
        raise DataError(_irregular(path))
    return entry["type"] == "file" or bool(entry.get("islink"))


def _irregular(path: str) -> str:
    return f"{path}: a dataset must hold regular files, and this is a pipe, a socket or a device: remove it"


def _filesystem(place: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(place)
    except ImportError as error:
        protocol = place.partition("://")[0]
        raise MissingPackage(f"{place}: reading {protocol}:// needs another package: {error}") from error
    except ValueError as error:
        raise PlanError(f"{place}: no such kind of place: {error}") from error
    return fs, path


def _url(fs: Any, path: str) -> str:
    return path if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(path))
