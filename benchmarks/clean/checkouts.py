"""Files of public sources as they were at one commit: of repositories cloned beforehand, or of an installed package.

A checkout is a clone, a work tree or a bare git directory in a folder named OWNER+NAME, in one folder with the others.
Files are read from git's own store, so what lies changed in a work tree does not count.
"""

from __future__ import annotations

import gzip
import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

GITHUB = "https://github.com/"
PYPI = "pypi:"


def files(checkouts: Path, origin: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file that an origin names, in the order of its `paths`, unpacked."""
    source, paths = origin["source"], origin["paths"]
    if source.startswith(PYPI):
        found: Iterator[tuple[str, bytes]] = packaged(source.removeprefix(PYPI), paths)
    elif source.startswith(GITHUB):
        folder = checkouts / source.removeprefix(GITHUB).replace("/", "+")
        found = committed(folder, origin["commit"], chosen(folder, origin["commit"], paths))
    else:
        raise ValueError(f"{origin['name']}: cannot read {source}")
    for path, data in found:
        yield from unpacked(path, data)


def chosen(folder: Path, commit: str, patterns: Sequence[str]) -> list[str]:
    """The paths of a commit that the patterns name: pattern by pattern, each in the order of the names."""
    told = git(folder, "ls-tree", "-r", "-z", "--name-only", commit)
    names = sorted(told.decode("utf-8", "surrogateescape").split("\0")[:-1])
    found = {pattern: [name for name in names if fnmatchcase(name, pattern)] for pattern in patterns}
    if empty := [pattern for pattern, paths in found.items() if not paths]:
        raise FileNotFoundError(f"{folder.name} has no {', '.join(empty)} at {commit}")
    return list(dict.fromkeys(path for paths in found.values() for path in paths))


def committed(folder: Path, commit: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Path and content of files of a commit, all read by one process of git."""
    told = "".join(f"{commit}:{path}\n" for path in paths).encode("utf-8", "surrogateescape")
    answer = io.BytesIO(git(folder, "cat-file", "--batch", told=told))
    for path in paths:
        head = answer.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            raise FileNotFoundError(f"{folder.name} lacks {path} at {commit}")
        yield path, answer.read(int(head[2]))
        answer.read(1)


def git(folder: Path, *words: str, told: bytes = b"") -> bytes:
    """What git answers in a checkout."""
    return subprocess.run(["git", "-C", str(folder), *words], input=told, stdout=subprocess.PIPE, check=True).stdout


def packaged(pin: str, paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Path and content of files that an installed package ships; the version must be the one pinned."""
    name, _, version = pin.partition("==")
    package = distribution(name)
    if package.version != version:
        raise ValueError(f"{name} {package.version} is installed, the origin was read from {version}")
    for path in paths:
        yield path, Path(str(package.locate_file(path))).read_bytes()


def unpacked(path: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """A file itself, its content where it is packed, or the files inside it where it is an archive."""
    if path.endswith((".tar.gz", ".tgz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in sorted((m for m in archive.getmembers() if m.isfile()), key=lambda m: m.name):
                inside = archive.extractfile(member)
                if inside is not None:
                    yield f"{path}/{member.name}", inside.read()
    elif path.endswith(".gz"):
        yield path, gzip.decompress(data)
    else:
        yield path, data
