"""Whether memory grows with rows: the same audit of ten times as many vectors, each in a process of its own.

python -m benchmarks.scale --rows 40000 --rows 400000
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

DIM = 64
CLASSES = 5
GROUP = 20_000


def vectors(path: Path, rows: int) -> None:
    """Gaussian classes [rows, 64], written in row groups of 20 000."""
    draw = np.random.default_rng(0)
    schema = pa.schema([("embedding", pa.list_(pa.float32(), DIM)), ("label", pa.int64())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, GROUP):
            label = draw.integers(0, CLASSES, min(GROUP, rows - start))
            value = (draw.normal(size=(len(label), DIM)) + label[:, None] / 2).astype(np.float32)
            column = pa.FixedSizeListArray.from_arrays(pa.array(value.ravel()), DIM)
            writer.write_table(pa.table({"embedding": column, "label": label}, schema=schema))


def main(rows: Annotated[list[int], typer.Option(help="repeat for several")]) -> None:
    print("| rows | seconds | peak GiB |\n|---:|---:|---:|")
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "vectors.parquet"
            vectors(data, count)
            code = f"import foretaste; foretaste.audit({str(data)!r}, out={folder + '/audit'!r})"
            start = time.monotonic()
            subprocess.run([sys.executable, "-c", code], check=True, env={"FORETASTE_CACHE": f"{folder}/cache"})
            seconds = time.monotonic() - start
        # The largest child so far, so sizes must ascend.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(f"| {count} | {seconds:.0f} | {peak:.2f} |", flush=True)


if __name__ == "__main__":
    typer.run(main)
