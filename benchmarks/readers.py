"""Who reads what: one kind of file at a time is put beside attested data, and each reader is given the same folder.

python -m benchmarks.readers          the table of docs/gate.md, by the readers that are installed

A reader goes wrong where it returns a row that was not attested, in any of the ways in which it is usually called.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib
import io
import json
import os
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.dataset.binding import stray_files
from foretaste.dataset.files import find
from foretaste.errors import DataError

ATTESTED = range(5)
OTHERS = range(1000, 1007)
LINES = "".join(json.dumps({"x": x}) + "\n" for x in OTHERS)
COMMAS = "x\n" + "".join(f"{x}\n" for x in OTHERS)
Put = Callable[[Path], None]


def parquet(path: Path, rows: Iterable[int] = OTHERS) -> None:
    """Write rows to a Parquet file, whatever its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"x": list(rows)}), path)


# What lies beside the data


@dataclass(frozen=True)
class Kind:
    """A kind of file beside the data. `gate` is "data" where an audit reads it, "stray" where the gate refuses it for
    what other readers make of it, and "" where nobody is misled."""

    name: str
    gate: str
    put: Put


def _parquet_at(*names: str) -> Put:
    def put(data: Path) -> None:
        for name in names:
            parquet(data / name)

    return put


def _text_at(text: str, *names: str) -> Put:
    def put(data: Path) -> None:
        for name in names:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(text)

    return put


def _magic_at_the_end(data: Path) -> None:
    parquet(data / "part")
    (data / "part").write_bytes(b"XXXX" + (data / "part").read_bytes()[4:])


def _arrow(data: Path) -> None:
    with pa.ipc.new_file(str(data / "train.arrow"), pa.schema([("x", pa.int64())])) as out:
        out.write_table(pa.table({"x": list(OTHERS)}))


def _packed(data: Path) -> None:
    with zipfile.ZipFile(data / "train.zip", "w") as archive:
        archive.writestr("e.jsonl", LINES)


def _tar(data: Path) -> None:
    with tarfile.open(data / "train.tar", "w") as archive:
        for x in OTHERS:
            member = tarfile.TarInfo(f"{x}.json")
            member.size = len(text := json.dumps({"x": x}).encode())
            archive.addfile(member, io.BytesIO(text))


def _gzipped(data: Path) -> None:
    (data / "train.jsonl.gz").write_bytes(gzip.compress(LINES.encode()))


def _picture(*names: str) -> Put:
    def put(data: Path) -> None:
        from PIL import Image

        for name in names:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 4)).save(data / name)

    return put


def _link(name: str, to: str) -> Put:
    def put(data: Path) -> None:
        parquet(data.parent / "other" / "e.parquet")
        (data / name).symlink_to(data.parent / "other" / to)

    return put


def _card(yaml: str, name: str = "README.md") -> Put:
    def put(data: Path) -> None:
        parquet(data.parent / "other" / "e.parquet")
        text = yaml.replace("OTHER", str(data.parent / "other"))
        (data / name).write_text(f"---\n{text}\n---\n# A dataset\n" if name == "README.md" else text)

    return put


def _summary(of: str) -> Put:
    def put(data: Path) -> None:
        if of == "schema":
            pq.write_metadata(pa.schema([("x", pa.int64())]), data / "_metadata")
            return
        named: list[Any] = []
        rows, target = (ATTESTED, data / "a.parquet") if of == "data" else (OTHERS, data.parent / "e.parquet")
        pq.write_table(pa.table({"x": list(rows)}), target, metadata_collector=named)
        named[0].set_file_path("a.parquet" if of == "data" else "../e.parquet")
        named[0].write_metadata_file(data / "_metadata")

    return put


CONFIGS = "configs:\n- config_name: default\n  data_files: "
KINDS = (
    Kind("`_part.parquet`", "stray", _parquet_at("_part.parquet")),
    Kind("`.part.parquet`", "stray", _parquet_at(".part.parquet")),
    Kind("`_x/part.parquet`", "stray", _parquet_at("_x/part.parquet")),
    Kind("`.x/part.parquet`", "stray", _parquet_at(".x/part.parquet")),
    Kind("`__x/part.parquet`", "stray", _parquet_at("__x/part.parquet")),
    Kind("`_x=1/part.parquet`", "stray", _parquet_at("_x=1/part.parquet")),
    Kind("`_part`, Parquet", "stray", _parquet_at("_part")),
    Kind("`_metadata`, with rows of its own", "stray", _parquet_at("_metadata")),
    Kind("`part`, Parquet", "data", _parquet_at("part")),
    Kind("`part`, Parquet only by its end", "data", _magic_at_the_end),
    Kind("`part.PARQUET`", "data", _parquet_at("part.PARQUET")),
    Kind("`part.png`, Parquet", "data", _parquet_at("part.png")),
    Kind("`part.parquet.bak`", "data", _parquet_at("part.parquet.bak")),
    Kind("`sub/part.parquet`", "data", _parquet_at("sub/part.parquet")),
    Kind("`train.csv`", "stray", _text_at(COMMAS, "train.csv")),
    Kind("two `.csv`", "stray", _text_at(COMMAS, "b.csv", "c.csv")),
    Kind("two `_*.csv`", "stray", _text_at(COMMAS, "_b.csv", "_c.csv")),
    Kind("`train.tsv`", "stray", _text_at(COMMAS, "train.tsv")),
    Kind("`train.jsonl`", "stray", _text_at(LINES, "train.jsonl")),
    Kind("two `.json`", "stray", _text_at(LINES, "b.json", "c.json")),
    Kind("`train.jsonl.gz`", "stray", _gzipped),
    Kind("`train.arrow`", "stray", _arrow),
    Kind("`train.zip`", "stray", _packed),
    Kind("`train.tar`", "stray", _tar),
    Kind("`train.txt`", "stray", _text_at(COMMAS, "train.txt")),
    Kind("two `.txt`", "stray", _text_at(COMMAS, "b.txt", "c.txt")),
    Kind("`train.png`", "stray", _picture("train.png")),
    Kind("two pictures", "stray", _picture("b.png", "c.png")),
    Kind("two pictures in `_x/`", "stray", _picture("_x/b.png", "_x/c.png")),
    Kind("link to a file, `l.parquet`", "data", _link("l.parquet", "e.parquet")),
    Kind("link to a file, `_l.parquet`", "stray", _link("_l.parquet", "e.parquet")),
    Kind("link to a folder", "stray", _link("l", "")),
    Kind("link to a folder, `_l`", "stray", _link("_l", "")),
    Kind("card: `data_files: ../other/e.parquet`", "stray", _card(CONFIGS + "../other/e.parquet")),
    Kind("card: `data_files: /other/e.parquet`", "stray", _card(CONFIGS + "OTHER/e.parquet")),
    Kind("card: the same with escapes", "stray", _card(
        'configs:\n- config_name: default\n  "data\\u005ffiles": "\\x2e\\x2e/other/e.parquet"')),
    Kind("card: in a second configuration", "stray", _card(
        CONFIGS + "a.parquet\n- config_name: second\n  data_files: ../other/e.parquet")),
    Kind("card: `data_dir: ../other`", "stray", _card("configs:\n- config_name: default\n  data_dir: ../other")),
    Kind("`.huggingface.yaml` that names others", "stray", _card(CONFIGS + "../other/e.parquet", ".huggingface.yaml")),
    Kind("`_metadata` that names others", "stray", _summary("others")),
    Kind("`dataset_infos.json`", "stray", _text_at(
        '{"default": {"features": {"x": {"dtype": "string", "_type": "Value"}}}}', "dataset_infos.json")),
    Kind("`data.py` in a folder `data`", "stray", _text_at("raise SystemExit", "data.py")),
    Kind("`_metadata` that names the data", "", _summary("data")),
    Kind("`_metadata` or `_common_metadata`, a schema", "", _summary("schema")),
    Kind("`_SUCCESS`, `.a.parquet.crc`", "", _text_at("crc", "_SUCCESS", ".a.parquet.crc")),
    Kind("`LICENSE`, `NOTES.md`, `make.py`", "", _text_at("text", "LICENSE", "NOTES.md", "make.py")),
    Kind("one `.txt`", "", _text_at("x", "b.txt")),
    Kind("one picture", "", _picture("c.png")),
    Kind("two `.csv` in `.x/`", "", _text_at(COMMAS, ".x/b.csv", ".x/c.csv")),
    Kind("`README.md` without YAML", "", _text_at("# A dataset\n", "README.md")),
    Kind("card that names the data", "", _card(CONFIGS + "\n  - split: train\n    path: '*.parquet'")),
    Kind("card without `data_files`", "", _card("license: mit\ntags: [train]")),
)  # fmt: skip


# Who reads it


def _values(table: Any) -> list[Any]:
    return list(table["x"])


def _datasets(data: Path) -> list[Any]:
    import datasets

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as cache, contextlib.redirect_stderr(io.StringIO()):
        return [
            row.get("x")
            for name in datasets.get_dataset_config_names(str(data))
            for split in datasets.load_dataset(str(data), name, cache_dir=cache).values()
            for row in split
        ]


def _polars(pattern: str) -> Callable[[Path], list[Any]]:
    def read(data: Path) -> list[Any]:
        import polars as pl

        return _values(pl.read_parquet(f"{data}{pattern}"))

    return read


def _duckdb(pattern: str) -> Callable[[Path], list[Any]]:
    def read(data: Path) -> list[Any]:
        import duckdb

        found = duckdb.connect().execute(f"select x from read_parquet('{data}{pattern}')")
        return [row[0] for row in found.fetchall()]

    return read


def _pyarrow(data: Path) -> list[Any]:
    import pyarrow.dataset as ds

    return _values(ds.dataset(data).to_table(columns=["x"]).to_pydict())


def _pyarrow_by_metadata(data: Path) -> list[Any]:
    import pyarrow.dataset as ds

    return _values(ds.parquet_dataset(data / "_metadata").to_table().to_pydict())


def _pandas(data: Path) -> list[Any]:
    import pandas as pd

    return _values(pd.read_parquet(data, columns=["x"]))


def _dask(data: Path) -> list[Any]:
    import dask.dataframe as dd

    return _values(dd.read_parquet(str(data)).compute())


READERS: dict[str, Sequence[Callable[[Path], list[Any]]]] = {
    "datasets": (_datasets,),
    "polars": tuple(map(_polars, ("", "/*.parquet", "/**/*.parquet", "/*"))),
    "duckdb": tuple(map(_duckdb, ("/*.parquet", "/**/*.parquet", "/*"))),
    "dask": (_dask,),
    "pyarrow": (_pyarrow, _pyarrow_by_metadata),
    "pandas": (_pandas,),
}
NEEDS = {"dask": "dask.dataframe"}


def installed() -> dict[str, Sequence[Callable[[Path], list[Any]]]]:
    """The readers that can be imported here."""
    out = {}
    for name, ways in READERS.items():
        with contextlib.suppress(ImportError):
            importlib.import_module(NEEDS.get(name, name))
            out[name] = ways
    return out


def scene(folder: Path, kind: Kind) -> Path:
    """A folder of attested data with one kind of file beside it."""
    data = folder / "data"
    parquet(data / "a.parquet", ATTESTED)
    kind.put(data)
    return data


def misled(data: Path, ways: Iterable[Callable[[Path], list[Any]]]) -> bool:
    """Whether a reader returns a row that was not attested, in any of the ways to call it."""
    for way in ways:
        # Readers raise many kinds, and one that stops has read nothing; a script may end the process.
        with warnings.catch_warnings(), contextlib.suppress(Exception, SystemExit):
            warnings.simplefilter("ignore")
            if not set(way(data)) <= set(ATTESTED):
                return True
    return False


def refused(data: Path) -> str:
    """Why the gate does not take the folder for what was attested, as Kind says; "" where it does."""
    try:
        root, found = find([str(data)])
    except DataError:
        return "stray"
    if [file.name for file in found] != ["a.parquet"]:
        return "data"
    return "stray" if stray_files.beside([str(data)], root, found, tuple) else ""


def table() -> str:
    """Markdown: a row for each kind, a column for each installed reader."""
    readers = installed()
    said = {"data": "audited as data", "stray": "refused", "": "allowed"}
    out = [f"| beside the data | {' | '.join(readers)} | the gate |", f"|---|{'---|' * (len(readers) + 1)}"]
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            data = scene(Path(folder), kind)
            read = ["reads it" if misled(data, ways) else "–" for ways in readers.values()]
            out.append(f"| {kind.name} | {' | '.join(read)} | {said[refused(data)]} |")
    return "\n".join(out)


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    print(table())
