"""How long a million short documents take, and how much memory: the default audits without an encoder.

python -m benchmarks.text.scale --rows 100000 --rows 1000000
python -m benchmarks.text.scale --rows 1000000 --labelled
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer

WORDS = 50_000  # of the language, whose frequencies fall as Zipf's law says
FOLLOW = 20  # words that often follow each word
LENGTH = 24  # words of a document in the mean
GROUP = 20_000


def documents(path: Path, rows: int, *, labelled: bool) -> None:
    """Documents of a made-up language, written in row groups of 20 000; their labels say nothing."""
    draw = np.random.default_rng(0)
    names = np.array([_name(at) for at in range(WORDS)])
    weight = 1 / np.arange(1, WORDS + 1)
    common = weight.cumsum() / weight.sum()
    follow = np.searchsorted(common, draw.random((WORDS, FOLLOW)))
    fields = [("text", pa.string()), *([("label", pa.int64())] if labelled else [])]
    with pq.ParquetWriter(path, pa.schema(fields)) as writer:
        for start in range(0, rows, GROUP):
            size = min(GROUP, rows - start)
            word = np.searchsorted(common, draw.random(size))
            text = []
            for _ in range(2 * LENGTH):
                text.append(word)
                fresh = np.searchsorted(common, draw.random(size))
                word = np.where(draw.random(size) < 0.4, fresh, follow[word, draw.integers(0, FOLLOW, size)])
            length = draw.integers(4, 2 * LENGTH - 3, size)
            made = [" ".join(names[row[:end]]) for row, end in zip(np.stack(text, 1), length, strict=True)]
            columns = {"text": made, **({"label": draw.integers(0, 2, size)} if labelled else {})}
            writer.write_table(pa.table(columns, schema=pa.schema(fields)))


def _name(number: int) -> str:
    """A word of letters for each number."""
    letters = ""
    while number >= 0:
        letters, number = chr(97 + number % 26) + letters, number // 26 - 1
    return letters


def main(
    rows: Annotated[list[int], typer.Option(help="repeat for several, ascending")],
    labelled: Annotated[bool, typer.Option(help="with two classes")] = False,
) -> None:
    print("| rows | seconds | peak GiB | verdict |\n|---:|---:|---:|---|")
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "documents.parquet"
            documents(data, count, labelled=labelled)
            # With labels the default plan has an encoder where its package is installed.
            plan = "lean(['skeleton'])" if labelled else "None"
            code = (
                "import foretaste; from benchmarks.text.detection import lean; "
                f"print(foretaste.audit({str(data)!r}, plan={plan}, out={folder + '/audit'!r}).verdict)"
            )
            start = time.monotonic()
            environment = {"FORETASTE_CACHE": f"{folder}/cache"}
            done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE)
            seconds = time.monotonic() - start
        # The largest child so far, so sizes must ascend.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"| {count} | {seconds:.0f} | {peak:.1f} | {done.stdout.decode().strip()} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
