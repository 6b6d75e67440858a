"""The data that a gate is asked for, as it was read, and what belongs to it besides its Parquet files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import fsspec

from foretaste.dataset.binding import stray_files
from foretaste.dataset.files import Found, each, find, sha256
from foretaste.errors import Refused
from foretaste.gate.facts import Facts
from foretaste.types.dataset import NamedFiles
from foretaste.types.digests import Digest

Opens = Callable[[], AbstractContextManager[Any]]  # a Parquet file, for pyarrow


@dataclass(frozen=True)
class ReadData:
    """Data as it was read.

    places   as requested
    root     their deepest common folder
    found    the Parquet files in them, below the root
    files    digests of these, by name
    size     bytes of these
    sources  opens each of them for pyarrow
    copies   a folder to copy the files to that rows name, when they are digested; None for no copies
    """

    places: tuple[str, ...]
    root: str
    found: tuple[Found, ...]
    files: Mapping[str, Digest]
    size: int
    sources: tuple[Opens, ...] = field(repr=False)
    copies: str | None = None


def from_paths(places: Sequence[str]) -> ReadData:
    """Hash the data in some places. Raises PlanError or DataError where it cannot be read."""
    root, found = find(places)
    read = each(found, lambda file: sha256(file.path))
    files = {file.name: digest for file, (digest, _) in zip(found, read, strict=True)}
    return ReadData(tuple(places), root, found, files, sum(size for _, size in read), by_path(found))


def by_path(found: Iterable[Found]) -> tuple[Opens, ...]:
    """What opens files by their paths."""
    return tuple(partial(_open, one.path) for one in found)


def by_handle(handles: Iterable[Any]) -> tuple[Opens, ...]:
    """What reads files that are open, and leaves each at the place where it was."""
    return tuple(partial(_borrowed, handle) for handle in handles)


@contextmanager
def _borrowed(handle: Any) -> Iterator[Any]:
    place = handle.tell()
    try:
        yield handle
    finally:
        handle.seek(place)


def _open(path: str) -> AbstractContextManager[Any]:
    file: AbstractContextManager[Any] = fsspec.open(path, "rb") if "://" in path else nullcontext(path)
    return file


def named_differences(data: ReadData, audited: NamedFiles | None) -> tuple[str, ...]:
    """How the files that rows name differ from those that were audited; empty where they do not, or there are none.

    Each of them is read once. Where an attestation says nothing of them, none may be named.
    """
    if audited is None:
        columns = _columns(data)
        why = "and the attestation, of an earlier release, does not say what these held: audit the data again"
        return (f"the rows name files in {_list(columns)}, {why}",) if columns else ()
    now = named(data, audited.columns)
    if now is None or now.digest == audited.digest:
        return ()
    where = f"the rows name in {_list(audited.columns)}"
    if now.missing > audited.missing:
        before = f"{audited.missing} when they were audited"
        return (f"{now.missing} of {now.files} files that {where} cannot be read, and it was {before}",)
    return (f"the files that {where} hold other bytes than when they were audited",)


def named(data: ReadData, columns: Sequence[str]) -> NamedFiles | None:
    """Read, and where the data is copied copy, the files that rows name in these columns; None without columns."""
    if not columns:
        return None
    from foretaste.dataset.binding import named_files

    read = partial(named_files.read, data.root)
    if data.copies is not None:
        read = partial(named_files.copied, data.root, data.copies)
    return named_files.named(_sources(data), columns, read)


def strays(data: ReadData, audited: NamedFiles | None) -> tuple[str, ...]:
    """A sentence for each file beside the data that a reader may take in as rows."""

    def named_paths() -> Iterable[str]:
        if audited is None or not audited.columns:
            return ()
        from foretaste.dataset.binding import named_files

        return named_files.all_paths(_sources(data), audited.columns)

    return stray_files.sentences(stray_files.beside(data.places, data.root, data.found, named_paths))


def names_files(facts: Facts | None) -> bool:
    """Whether an attestation states that rows name files."""
    return facts is not None and facts.named is not None and bool(facts.named.columns)


def require_same(data: ReadData, facts: Facts | None) -> None:
    """Raises Refused where the files that rows name are not those that an attestation states."""
    if facts is not None and (different := named_differences(data, facts.named)):
        raise Refused(*different)


def _sources(data: ReadData) -> list[Any]:
    from foretaste.dataset.binding.named_files import Source

    return [Source(file.name, opens) for file, opens in zip(data.found, data.sources, strict=True)]


def _columns(data: ReadData) -> tuple[str, ...]:
    from foretaste.dataset.binding import named_files

    return named_files.found_columns(_sources(data), data.root)


def _list(columns: Sequence[str]) -> str:
    return ", ".join(map(repr, columns))
