"""Make sets of tables and of vectors from public sources, clean as they were published.

    python -m benchmarks.clean.tables CHECKOUTS OUT [--only NAME]

`tables.toml` lists the origins and how each is read. A table keeps the columns of its source and their types, a vector
set has the numbers of a row in one column; what the origin names as `label` becomes the column label, as text.
Figures that differ from the list are reported, and the exit code is then 1.
"""

from __future__ import annotations

import io
import sys
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.clean.checkouts import files
from benchmarks.clean.origins import FEWEST, draw, run

Options = Mapping[str, Any]
LIMIT = {"table": 30_000, "vector": 5_000}  # rows of a set
FOLDERS = {"table": "tables", "vector": "vectors"}


def delimited(data: bytes, options: Options) -> pl.DataFrame:
    """A table in text form; its columns are named by the first line or by `header`, dates are read as such."""
    header = options.get("header")
    return pl.read_csv(
        data,
        separator=options.get("separator", ","),
        has_header=header is None,
        new_columns=header,
        null_values=["", *options.get("null", [])],
        infer_schema_length=None,
        try_parse_dates=True,
        quote_char=options.get("quote", '"'),
    )


def numbers(data: bytes, _: Options) -> pl.DataFrame:
    """Lines of numbers between blanks, in columns named c0, c1 and so on."""
    table = np.loadtxt(io.BytesIO(data), ndmin=2)
    return pl.DataFrame(table, schema=[f"c{column}" for column in range(table.shape[1])], orient="row")


def word_vectors(data: bytes, options: Options) -> pl.DataFrame:
    """Vectors in the binary form of word2vec, with the name of the block in which the first character lies."""
    head, rest = data.split(b"\n", 1)
    count, width = map(int, head.split())
    starts, names = [int(start, 16) for start, _ in options["blocks"]], [name for _, name in options["blocks"]]
    words, blocks, vectors, at = [], [], [], 0
    for _ in range(count):
        blank = rest.index(b" ", at)
        words.append(rest[at:blank].decode().strip())
        blocks.append(names[bisect_right(starts, ord(words[-1][0])) - 1])
        vectors.append(np.frombuffer(rest, "<f4", width, blank + 1))
        at = blank + 1 + 4 * width
    table = pl.DataFrame(np.stack(vectors), schema=[f"c{column}" for column in range(width)], orient="row")
    return table.with_columns(pl.Series("word", words), pl.Series("block", blocks))


READERS: dict[str, Callable[[bytes, Options], pl.DataFrame]] = {
    function.__name__: function for function in (delimited, numbers, word_vectors)
}


def read(checkouts: Path, origin: Mapping[str, Any]) -> pl.DataFrame:
    """All rows of an origin that have a label, of classes large enough, in the order of the source."""
    options = origin.get("options", {})
    parts = [READERS[origin["reader"]](data, options) for _, data in files(checkouts, origin)]
    table = pl.concat(parts, how="vertical_relaxed").drop(origin.get("drop", []))
    label = table[origin["label"]]
    if label.dtype.is_float() and (label.drop_nulls() % 1 == 0).all():
        label = label.cast(pl.Int64)
    label = label.cast(pl.String).str.strip_chars()
    label = label.replace(origin.get("labels", {}))
    table = table.drop(origin["label"]).with_columns(label.alias("label"))
    large = [name for name, size in Counter(label.drop_nulls()).items() if size >= FEWEST and name]
    return table.filter(pl.col("label").is_in(large))


def shaped(table: pl.DataFrame, origin: Mapping[str, Any]) -> pl.DataFrame:
    """Rows as they are written: with an id in front where they have none, vectors in one column."""
    if origin["modality"] == "vector":
        beside = ["label", *origin.get("beside", [])]
        vectors = table.drop(beside).select(pl.concat_list(pl.all().cast(pl.Float32)).alias("embedding"))
        table = vectors.hstack(table.select(beside))
    return table if "own_id" in origin else table.with_row_index("id").with_columns(pl.col("id").cast(pl.Int64))


def make(checkouts: Path, out: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
    """Write the set of an origin and return its figures."""
    table = read(checkouts, origin)
    limit = LIMIT[origin["modality"]]
    table = shaped(table[draw(table["label"].to_list(), limit, origin["name"])], origin)
    folder = out / FOLDERS[origin["modality"]]
    folder.mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / f"{origin['name']}.parquet")
    own = ["embedding"] if origin["modality"] == "vector" else None
    features = table.select(own) if own else table.drop("label", origin.get("own_id", "id"))
    twice = features.hash_rows().is_duplicated().mean()
    return {"rows": len(table), "duplicates": round(float(str(twice)), 4), "classes": table["label"].n_unique()}


if __name__ == "__main__":
    title = "Make clean sets of tables and vectors from public sources."
    sys.exit(run(title, Path(__file__).with_suffix(".toml"), make))
