"""Whether an export keeps what there was, and whether its memory grows with rows: audit, export and check.

python -m benchmarks.export --rows 100000 --rows 1000000
"""

from __future__ import annotations

import json
import os
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

DIM = 96
CLASSES = ("bear", "bird", "cat", "deer", "dog", "frog", "goat", "horse", "ox", "ram")
GROUP = 20_000
FILE = 250_000
PLANTED = 0.002  # of the rows, in the last class
PLAN = '[embedders.column]\n[detectors.spectral-signature]\non = ["column"]\n'
HUGGING_FACE = {
    "info": {
        "features": {
            "id": {"dtype": "string", "_type": "Value"},
            "embedding": {"feature": {"dtype": "float32", "_type": "Value"}, "length": DIM, "_type": "Sequence"},
            "caption": {"dtype": "string", "_type": "Value"},
            "label": {"names": list(CLASSES), "_type": "ClassLabel"},
        }
    }
}
# Peak memory of the export alone, as the system counts it for the process.
EXPORT = (
    "import json, resource, sys, time; from foretaste.curation.export import export; start = time.monotonic(); "
    "done = export(sys.argv[1], sys.argv[2]); peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20; "
    "print(json.dumps([time.monotonic() - start, peak, done['clean']['rows'], done['quarantined']['rows']]))"
)


def dataset(folder: Path, rows: int) -> None:
    """Gaussian classes with captions, some rows of the last class shifted alike; zstd, row groups of 20 000."""
    draw = np.random.default_rng(0)
    fields = [
        ("id", pa.string()),
        ("embedding", pa.list_(pa.float32(), DIM)),
        ("caption", pa.string()),
        ("label", pa.int64()),
    ]
    schema = pa.schema(fields, metadata={"huggingface": json.dumps(HUGGING_FACE)})
    for first in range(0, rows, FILE):
        path = folder / f"train-{first // FILE:05d}.parquet"
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for start in range(first, min(first + FILE, rows), GROUP):
                size = min(GROUP, first + FILE - start, rows - start)
                label = draw.integers(0, len(CLASSES), size)
                planted = draw.random(size) < PLANTED
                label[planted] = len(CLASSES) - 1
                value = (draw.normal(size=(size, DIM)) + label[:, None] / 2).astype(np.float32)
                value[planted, 3] += 40
                names = [f"row-{start + one:08d}" for one in range(size)]
                captions = [f"a picture of a {CLASSES[one]}, number {n}" for n, one in enumerate(label)]
                vectors = pa.FixedSizeListArray.from_arrays(pa.array(value.ravel()), DIM)
                writer.write_table(pa.table([names, vectors, captions, label], schema=schema))


def kept(data: Path, out: Path) -> bool:
    """Whether schema, Hugging Face metadata, compression and every row's id are those of the dataset, file by file."""
    for path in sorted(data.glob("*.parquet")):
        ids: list[str] = []
        old = pq.ParquetFile(path)
        for side in ("clean", "quarantined"):
            if not (out / side / path.name).exists():  # nothing of this file was set apart
                continue
            new = pq.ParquetFile(out / side / path.name)
            same = new.schema_arrow.equals(old.schema_arrow, check_metadata=True)
            metadata = new.metadata.metadata[b"huggingface"] == old.metadata.metadata[b"huggingface"]
            codecs = {one.metadata.row_group(0).column(1).compression for one in (old, new)}
            if not same or not metadata or len(codecs) > 1:
                return False
            mine = new.read(["id"])["id"].to_pylist()
            if mine != sorted(mine):  # ids ascend, so this is row order
                return False
            ids += mine
        if sorted(ids) != old.read(["id"])["id"].to_pylist():
            return False
    return True


def main(rows: Annotated[list[int], typer.Option(help="repeat for several")]) -> None:
    print("| rows | clean | quarantined | export s | peak GiB | all kept |\n|---:|---:|---:|---:|---:|---|")
    for count in rows:
        with tempfile.TemporaryDirectory() as folder:
            data, plan = Path(folder, "data"), Path(folder, "plan.toml")
            data.mkdir()
            dataset(data, count)
            plan.write_text(PLAN, encoding="utf-8")
            audit, out = f"{folder}/audit", f"{folder}/out"
            code = f"import foretaste; foretaste.audit({str(data)!r}, plan={str(plan)!r}, out={audit!r})"
            start = time.monotonic()
            environment = {**os.environ, "FORETASTE_CACHE": f"{folder}/cache"}
            subprocess.run([sys.executable, "-c", code], check=True, env=environment, stderr=subprocess.DEVNULL)
            print(f"audited {count} rows in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
            done = subprocess.run([sys.executable, "-c", EXPORT, audit, out], check=True, stdout=subprocess.PIPE)
            seconds, peak, clean, quarantined = json.loads(done.stdout)
            whole = clean + quarantined == count and kept(data, Path(out))
        print(
            f"| {count} | {clean} | {quarantined} | {seconds:.0f} | {peak:.2f} | {'yes' if whole else 'NO'} |",
            flush=True,
        )


if __name__ == "__main__":
    typer.run(main)
