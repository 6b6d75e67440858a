"""Clean and quarantined rows as new Parquet files, and a manifest of what was removed. The input is never changed.

A file without quarantined rows is copied byte for byte and keeps its digest. The row groups of other files are split;
schema, key-value metadata, row order and compression are kept, and memory does not grow with the number of rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from foretaste import atomic
from foretaste.curation import review_decisions
from foretaste.curation.quarantine import NOT_REVIEWED, Quarantine, Reviewed, quarantine
from foretaste.curation.review_decisions import Choice
from foretaste.dataset.external_files import Carrier
from foretaste.dataset.files import BLOCK, Found, each, find, keep_out_of, root_digest, sha256
from foretaste.errors import DataError
from foretaste.report.document import read, text
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind
from foretaste.types.progress import Progress, quiet

ACCUSED = frozenset(kind for kind in Kind if kind.fails_audit)

CLEAN, QUARANTINED = "clean", "quarantined"
ARROW = b"ARROW:schema"  # the key of Arrow's own schema
PIECE = 1 << 28  # bytes: a row group that decodes to more is split piece by piece

Side = dict[str, Any]


@dataclass(frozen=True)
class Audited:
    """An audited file: `first` is the position of its first row over all files."""

    name: str
    path: str
    first: int
    rows: int
    digest: Digest


def export(
    audit: str,
    out: str,
    *,
    kinds: Collection[Kind] = ACCUSED,
    reviewed: bool = False,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Write the audited dataset to `out` as clean/ and quarantined/, with removed.parquet, removed.jsonl, export.json.

    audit     the folder of an audit, whose dataset must be unchanged since
    out       a new or empty folder outside the dataset
    kinds     rows flagged for any of these are quarantined; by default the kinds that fail an audit
    reviewed  whether reviewers' decisions override the audit
    progress  called with (stage, done, total)

    Returns the content of export.json. Raises DataError where a file changed since the audit or the audit is damaged,
    PlanError where `out` cannot be used. Nothing is written then.
    """
    found = read(audit)
    files = _files(found, audit)
    out = os.path.realpath(out)
    single = len(files) == 1 and "/" not in files[0].name  # a file, or a folder of one: the report does not say which
    keep_out_of([files[0].path if single else found["dataset"]["root"]], out)
    _require_unchanged(files, progress)
    settled = _settled(audit) if reviewed else NOT_REVIEWED
    with atomic.folder(out) as folder:
        chosen = quarantine(Path(audit) / "samples.parquet", frozenset(kinds), found["rows"], folder, settled)
        carrier = Carrier.of(found, Path(audit) / "rows.parquet")
        sides: dict[str, list[Side]] = {CLEAN: [], QUARANTINED: []}
        for side in sides:
            os.mkdir(os.path.join(folder, side))
        for done, file in enumerate(files):
            progress("export", done, len(files))
            for side, written in _split(file, chosen, folder, carrier).items():
                sides[side].append(written)
        progress("export", len(files), len(files))
        _require_found(os.path.join(folder, CLEAN), [file["name"] for file in sides[CLEAN]])
        document = _document(found, audit, frozenset(kinds), sides)
        if reviewed:
            document["reviewed"] = {"dropped": len(settled.drop), "kept": len(settled.keep)}
        Path(folder, "export.json").write_text(text(document), encoding="utf-8")
    return document


def _settled(audit: str) -> Reviewed:
    """The reviewers' decisions. Raises DataError where there are none."""
    choices = review_decisions.settled(audit)
    if not choices:
        raise DataError(f"{audit}: nobody has reviewed this audit yet, run: foretaste review {audit}")
    drop, keep = (
        frozenset(row for row, choice in choices.items() if choice is wanted) for wanted in (Choice.DROP, Choice.KEEP)
    )
    return Reviewed(drop, keep)


def _files(found: Mapping[str, Any], audit: str) -> list[Audited]:
    files, first = [], 0
    root = found["dataset"]["root"].rstrip("/")
    for file in found["dataset"]["files"]:
        name = PurePosixPath(file["name"])
        if name.is_absolute() or ".." in name.parts or not name.parts:
            raise DataError(f"{audit}: a file of a dataset must lie below its root, got {file['name']!r}")
        files.append(Audited(file["name"], f"{root}/{name}", first, int(file["rows"]), Digest.parse(file["digest"])))
        first += int(file["rows"])
    if first != found["rows"]:
        raise DataError(f"{audit}: report.json must count its rows once, {found['rows']} are {first} in its files")
    return files


def _require_unchanged(files: list[Audited], progress: Progress = quiet) -> None:
    audited, lock, done = {file.name: file for file in files}, Lock(), count(1)

    def check(found: Found) -> None:
        digest, _ = sha256(found.path)
        if digest != audited[found.name].digest:
            rule = f"must hold the audited bytes, {audited[found.name].digest}, and holds {digest}"
            raise DataError(f"{found.path}: {rule}: audit it again")
        with lock:
            progress("check", next(done), len(files))

    each([Found(file.name, file.path) for file in files], check)


def _require_found(folder: str, names: list[str]) -> None:
    """Opening the clean folder as a dataset must find all clean files and no others."""
    found = [file.name for file in find([folder])[1]]
    if found != sorted(names):
        odd = ", ".join(sorted(set(found) ^ set(names))[:4])
        raise DataError(f"the clean files must be found by the folder they lie in, which is not so for {odd}")


def _split(file: Audited, chosen: Quarantine, folder: str, carrier: Carrier) -> dict[str, Side]:
    """Write the clean and the quarantined rows of one file; returns the written files, by side."""
    own = chosen.within(file.first, file.rows)
    targets = {side: os.path.join(folder, side, file.name) for side in (CLEAN, QUARANTINED)}
    os.makedirs(os.path.dirname(targets[CLEAN]), exist_ok=True)
    if own.start == own.stop:
        with _opened(file) as parquet:
            carrier.carry_file(parquet, file.first, os.path.join(folder, CLEAN))
        _copy(file, targets[CLEAN])
        return {CLEAN: _written(file.name, targets[CLEAN])}
    os.makedirs(os.path.dirname(targets[QUARANTINED]), exist_ok=True)
    with _opened(file) as parquet:
        out = _quarantined(parquet, file, chosen, own)
        with ExitStack() as stack:
            writers = {side: stack.enter_context(_writer(parquet, path)) for side, path in targets.items()}
            for writer in writers.values():
                writer.add_key_value_metadata(_key_values(parquet))
            first = 0
            for piece in _pieces(parquet):
                removed = out[first : first + len(piece)]
                for side, mask in ((CLEAN, ~removed), (QUARANTINED, removed)):
                    if mask.any():
                        part = piece if mask.all() else piece.filter(pa.array(mask))
                        writers[side].write_table(part, row_group_size=len(part))
                        rows = file.first + first + np.flatnonzero(mask)
                        carrier.carry(part, rows, os.path.join(folder, side))
                first += len(piece)
        for path in targets.values():
            _require_schema(parquet, path, file)
    _require_unchanged([file])  # it was read after it was hashed
    sides = {side: _written(file.name, path) for side, path in targets.items()}
    if sides[CLEAN]["rows"] + sides[QUARANTINED]["rows"] != file.rows or sides[QUARANTINED]["rows"] != out.sum():
        parts = f"{sides[CLEAN]['rows']} clean and {sides[QUARANTINED]['rows']} quarantined"
        raise DataError(f"{file.path}: {file.rows} rows must be divided into as many, got {parts}")
    return sides


@contextmanager
def _opened(file: Audited) -> Iterator[pq.ParquetFile]:
    source = fsspec.open(file.path, "rb").open() if "://" in file.path else pa.OSFile(file.path)
    with source:
        try:
            yield pq.ParquetFile(source, pre_buffer=False, buffer_size=BLOCK)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file.path}: cannot be read: {error}") from error


def _quarantined(
    parquet: pq.ParquetFile, file: Audited, chosen: Quarantine, own: slice
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows [rows in the file] are quarantined, after checking their positions in the audit against the file."""
    sizes = [parquet.metadata.row_group(group).num_rows for group in range(parquet.metadata.num_row_groups)]
    ends = np.cumsum(sizes)
    row = chosen.row[own] - file.first
    group = np.searchsorted(ends, row, side="right")
    place = np.stack((group, row - (ends - sizes)[group]), axis=1)
    if not (place == chosen.place[own]).all() or not (chosen.file[own] == file.name).all():
        raise DataError(f"{file.path}: the audit must name its rows by their places, and names others")
    out = np.zeros(file.rows, dtype=np.bool_)
    out[row] = True
    return out


def _pieces(parquet: pq.ParquetFile) -> Iterator[pa.Table]:
    """The row groups, or pieces of those that are too large to hold."""
    for group in range(parquet.metadata.num_row_groups):
        facts = parquet.metadata.row_group(group)
        if facts.total_byte_size <= PIECE:
            yield parquet.read_row_group(group)
        else:
            rows = max(1, facts.num_rows * PIECE // facts.total_byte_size)
            for batch in parquet.iter_batches(rows, row_groups=[group]):
                yield pa.Table.from_batches([batch])


def _writer(parquet: pq.ParquetFile, path: str) -> pq.ParquetWriter:
    """A writer with the settings that the file was written with, as far as its metadata tell."""
    metadata = parquet.metadata
    groups = range(metadata.num_row_groups)
    columns = [metadata.row_group(0).column(index) for index in range(metadata.num_columns)] if groups else []
    order = {metadata.row_group(group).sorting_columns for group in groups}
    return pq.ParquetWriter(
        path,
        parquet.schema_arrow,
        compression={column.path_in_schema: _codec(column.compression) for column in columns},
        use_dictionary=[column.path_in_schema for column in columns if column.has_dictionary_page],
        use_compliant_nested_type=not any(".list.item" in column.path_in_schema for column in columns),
        write_page_index=any(column.has_offset_index for column in columns),
        store_schema=ARROW in (metadata.metadata or {}),
        use_deprecated_int96_timestamps=_int96(parquet),
        sorting_columns=order.pop() if len(order) == 1 else None,
    )


def _codec(name: str) -> str:
    return {"UNCOMPRESSED": "NONE", "LZO": "ZSTD"}.get(name, name)


def _key_values(parquet: pq.ParquetFile) -> dict[bytes, bytes]:
    """The key-value metadata that the writer does not write of itself: all of them without an Arrow schema."""
    metadata: dict[bytes, bytes] = parquet.metadata.metadata or {}
    return {} if ARROW in metadata else metadata


def _int96(parquet: pq.ParquetFile) -> bool:
    """Whether times are stored as Spark's INT96, as far as there are any."""
    schema = parquet.metadata.schema
    return any(schema.column(index).physical_type == "INT96" for index in range(len(schema)))


def _require_schema(parquet: pq.ParquetFile, path: str, file: Audited) -> None:
    """A schema that is not preserved by writing is an error here, not in a training job."""
    written = pq.read_schema(path)
    if not written.equals(parquet.schema_arrow):
        odd = [f"{old} as {new}" for old, new in zip(parquet.schema_arrow, written, strict=True) if old != new]
        raise DataError(f"{file.path}: its types must be kept, and pyarrow would write {'; '.join(odd[:4])}: cast them")


def _copy(file: Audited, path: str) -> None:
    digest = hashlib.sha256()
    with fsspec.open(file.path, "rb") as source, open(path, "wb") as target:
        while block := source.read(BLOCK):
            digest.update(block)
            target.write(block)
    if digest.hexdigest() != file.digest.value:
        raise DataError(f"{file.path}: changed while it was exported")


def _written(name: str, path: str) -> Side:
    digest, size = sha256(path)
    return {"name": name, "rows": pq.read_metadata(path).num_rows, "size": size, "digest": str(digest)}


def _document(
    found: Mapping[str, Any], audit: str, kinds: frozenset[Kind], sides: Mapping[str, list[Side]]
) -> dict[str, Any]:
    """export.json: source, audit and written files by digest, for provenance."""
    document: dict[str, Any] = {
        "source": {**{key: found["dataset"][key] for key in ("root", "digest", "files")}, "rows": found["rows"]},
        "audit": {"verdict": found["verdict"], "report": str(sha256(os.path.join(audit, "report.json"))[0])},
        "kinds": sorted(map(str, kinds)),
        # Rows that were flagged for other kinds only and remain in the clean files.
        "kept": {},
    }
    for side, files in sides.items():
        digest = root_digest((file["name"], Digest.parse(file["digest"])) for file in files)
        document[side] = {"rows": sum(file["rows"] for file in files), "digest": str(digest), "files": files}
    flagged = found["flagged"] - document[QUARANTINED]["rows"]
    document["kept"] = {"flagged": flagged}
    if document[CLEAN]["rows"] + document[QUARANTINED]["rows"] != found["rows"]:
        raise DataError(f"{audit}: {found['rows']} rows must be divided into as many")
    return document
