"""Files beside the data that a reader, given the same folder or glob, would take in as rows.

An audit reads the Parquet files that Spark and pyarrow read. Others see more: hidden Parquet files, tables of other
formats, whatever a dataset card or a `_metadata` file names. Who takes in what was measured with Dask 2026.8,
datasets 5.2, DuckDB 2.0, pandas 3.1, polars 2.1 and pyarrow 26; docs/gate.md has the table.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import fsspec

from foretaste.dataset.binding import dataset_card
from foretaste.dataset.files import SUFFIXES, Found, is_parquet, listing

# Suffixes, wherever in a name they stand, of what `datasets` may choose instead of the Parquet files.
TABLES = re.compile(
    r"\.(csv|tsv|jsonl?|ndjson|arrow|tar|zip|h5|hdf5|lance|vortex|tsfile|conllu?|eval)(?=\.|$)", re.IGNORECASE
)
# The same where one file is one row: chosen only if there are more of them than of others, or a name says "train".
SAMPLES = re.compile(
    r"\.(txt|xml|pdf|nii|glb|gltf|ply|stl|pdb|ent|m?mcif|cif|fasta|fa|fastq|fq|gbk?"
    r"|apng|bmp|dds|eps|fits?|gif|icns|ico|j2[ck]|jfif|jp2|jpe?g?|jp[cfx]|p[bgnp]m|pcx|png|psd?|ras|rgba?|sgi|tga|tiff?"
    r"|webp|wmf|xbm|xpm|3gp|aiff?|au|avi|avr|caf|flac|flv|m4v|mkv|mov|mp[34]|mpe?g|nist|og[gm]|opus|raw|sd2|sds|svx|voc"
    r"|w64|wav|webm|wm[av])(?=\.|$)",
    re.IGNORECASE,
)
SPLIT = re.compile(r"(^|[-._ 0-9/])(train(ing)?|test(ing)?|eval(uation)?|val(id(ation)?)?|dev)[-._ 0-9/]")
TASKS = ("task.toml", "instruction.md")  # of a benchmark, which `datasets` reads
SUMMARIES = ("_metadata", "_common_metadata")
SHOWN = 8  # strays that are named one by one


@dataclass(frozen=True)
class Stray:
    """A file that is no part of the data: its name below the data's root, and who would take it in."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def beside(
    places: Sequence[str], root: str, found: Sequence[Found], named: Callable[[], Iterable[str]]
) -> tuple[Stray, ...]:
    """The files in the `places` that are not `found` and that a reader of the same places may take in, by name.

    root   as `find` returns it with `found`
    named  the paths, below the root, of the files that rows name; asked for only where it matters

    Harmless is what no reader takes for rows: `_SUCCESS`, checksums, licences, a `_metadata` or a card that names
    nothing but the data, files that rows name. Beside a place that is a single file, nothing matters.
    """
    strays: dict[str, Stray] = {}
    data = {file.path for file in found}
    for place in places:
        folder, entries = listing(place)
        samples: dict[str, str] = {}
        for path in entries.keys() - data:
            name, here = path.removeprefix(root).lstrip("/"), path.removeprefix(folder).lstrip("/")
            if why := _why(path, here, folder, data, linked=entries[path]):
                strays[name] = Stray(name, why)
            elif not dataset_card.passes_over(here) and SAMPLES.search(os.path.basename(here)):
                samples[name] = here
        if samples:
            for path in named():
                samples.pop(os.path.normpath(path), None)
            strays |= {name: Stray(name, why) for name, why in _many(samples, len(found))}
    return tuple(strays[name] for name in sorted(strays))


def sentences(strays: Sequence[Stray]) -> tuple[str, ...]:
    """A sentence for each of the first strays, and one for all others."""
    more = len(strays) - SHOWN
    rest = [f"{more} more files beside the data were not audited, the last is {strays[-1].name}"] if more > 0 else []
    return (*map(str, strays[:SHOWN]), *rest)


def _why(path: str, here: str, folder: str, data: set[str], *, linked: bool) -> str | None:
    """Who would take in a file, and as what, by its place in the folder; None where nobody would."""
    *folders, name = here.split("/")
    passed_over = dataset_card.passes_over(here)
    hidden = any(part.startswith((".", "_")) for part in here.split("/"))
    why = None
    if linked:
        why = "polars and pyarrow would follow this link to a folder, which was not audited: remove it"
    elif name in SUMMARIES and is_parquet(path):
        why = _summary(path, data)
    elif hidden and is_parquet(path):
        # A reader that takes in all files stops at others in a .git.
        if ".git" not in folders or name.lower().endswith(SUFFIXES):
            readers = "polars, DuckDB and Dask" if passed_over else "datasets, polars, DuckDB and Dask"
            why = f"{readers} would read this hidden Parquet file, which was not audited: move it out of the folder"
    elif name in dataset_card.NAMES and not dataset_card.passes_over("/".join(folders)):
        why = dataset_card.misleads(path, data)
    elif here == f"{os.path.basename(folder)}.py":
        why = "datasets before 4.0 would run this script instead of reading the audited files: move it out"
    elif here == dataset_card.INFOS:
        why = "datasets would take the names and types of the columns from it, and it was not audited: remove it"
    elif not passed_over and name not in dataset_card.IGNORED and (TABLES.search(name) or name in TASKS):
        why = "datasets may read it instead of the Parquet files, and it was not audited: move it out of the folder"
    return why


def _many(samples: Mapping[str, str], files: int) -> Iterator[tuple[str, str]]:
    """Those of the pictures and the like, which no row names, that `datasets` may take for the whole dataset."""
    kind = {name: SAMPLES.findall(os.path.basename(here).lower()) for name, here in samples.items()}
    counts = Counter(suffix for suffixes in kind.values() for suffix in suffixes)
    why = "datasets may read it instead of the Parquet files, and no audited row names it: move it out of the folder"
    for name, here in samples.items():
        if SPLIT.search(here) or any(counts[suffix] > files for suffix in kind[name]):
            yield name, why


def _summary(path: str, data: set[str]) -> str | None:
    """Why a `_metadata` file leads Dask and pyarrow elsewhere than to the data, or holds rows of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = path.rpartition("/")[0]
    try:
        with fsspec.open(path, "rb") as file:
            metadata = pq.read_metadata(file)
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        named = {group.column(number).file_path for group in groups for number in range(group.num_columns)}
    except (OSError, pa.ArrowException):
        return None  # no reader gets further than that
    others = sorted(one for one in named if not one or f"{folder}/{os.path.normpath(one)}" not in data)
    if not others:
        return None
    return f"Dask and pyarrow would read {others[0] or 'its own rows'} by it, which were not audited: remove it"
