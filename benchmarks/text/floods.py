"""What `copies` alone says of near copies: of those that texts of many origins have, and of planted ones.

    python -m benchmarks.text.floods ZOO

reads every text, instruction and document dataset below ZOO that may be looked at, each as a draw of 1 000 rows and
whole (5 000 rows at most), column by column, and prints the natural clusters with p-values of at most 0.2. Then it
plants copies of a document into each, with a share of the words exchanged, and prints how many of them are found.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
import torch
import typer

from benchmarks.clean.audits import wanted
from benchmarks.text.unlabelled import DOCUMENTS
from foretaste.attacks.text.flood import plant
from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.embedders.copies import Copies
from foretaste.text.near_duplicates import Cluster

KINDS = ("texts", "instructions", "documents")
COUNTS, EDITS = (250, 100, 50, 25), (0.0, 0.05, 0.1)
LEVEL = 0.01


def clusters(texts: list[str]) -> tuple[Cluster, ...]:
    """The clusters of near copies of texts without labels."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.parquet"
        pl.DataFrame({"text": texts}).write_parquet(path)
        dataset = open_dataset([str(path)], request=Request(text="text", label=""))
        return Copies().fit(payloads(dataset), dataset, torch.device("cpu")).clusters


def columns(path: Path, rows: int) -> Iterator[tuple[str, list[str]]]:
    whole = pl.read_parquet(path)
    drawn = whole.sample(min(rows, len(whole)), seed=0)
    for name, kind in drawn.schema.items():
        if kind == pl.String and name in ("text", "prompt", "response"):
            yield name, drawn[name].fill_null("").to_list()


def main(zoo: Annotated[Path, typer.Argument(help="folder of folders of Parquet files")]) -> None:
    torch.set_num_threads(1)
    paths = [path for path in wanted(zoo, aside=False, only=[]) if path.parent.name in KINDS]
    tried, smallest = 0, list[float]()
    for path in paths:
        for rows in (1000, 5000):
            for column, texts in columns(path, rows):
                found = clusters(texts)
                tried += 1
                smallest += [min((one.p_value for one in found), default=1.0)]
                for one in found:
                    if one.p_value <= 0.2:
                        print(
                            f"{path.stem} {column} {len(texts)}: {one.rows} copies, p = {one.p_value:.4f}", flush=True
                        )
    shares = {bar: sum(p <= bar for p in smallest) for bar in (0.1, 0.05, 0.01)}
    print(f"as they are: {tried} draws; " + ", ".join(f"{count} with p ≤ {bar}" for bar, count in shares.items()))
    print("\n| exchanged | copies | draws | p ≤ 0.01 | of their rows |\n|---:|---:|---:|---:|---:|")
    for edits in EDITS:
        for count in COUNTS:
            print(f"| {edits:.0%} | {count} | {planted(paths, count, edits)} |", flush=True)


def planted(paths: list[Path], count: int, edits: float) -> str:
    """How many draws there are, in how many the copies are found, and which share of them then."""
    tried, found = 0, list[float]()
    for path in paths:
        for _, texts in columns(path, 5000):
            if len(texts) < 20 * count:
                continue
            poison = plant(
                texts,
                torch.zeros(len(texts), dtype=torch.int64),
                count=count,
                seed=1,
                document=DOCUMENTS[0],
                edits=edits,
            )
            rows = {at for at, bad in enumerate(poison.poisoned.tolist()) if bad}
            tried += 1
            hits = [one.rows for one in clusters(poison.payload) if one.row in rows and one.p_value <= LEVEL]
            found += [sum(hits) / count] if hits else []
    return f"{tried} | {len(found)} | {sum(found) / max(len(found), 1):.0%}"


if __name__ == "__main__":
    typer.run(main)
