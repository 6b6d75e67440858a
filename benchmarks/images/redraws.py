"""How often the statistics accuse clean rows, over hundreds of datasets drawn from a few that were embedded once.

python -m benchmarks.images.redraws PICTURES --digits DIGITS --pools 2 --redraws 17

embeds `pools` clean datasets of every kind in benchmarks.images.clean with the default plan's embedders, whose
networks see the whole pool, and then runs everything after that (sweeps, scores, decision) on `redraws` random parts of
each. Parts of a pool overlap and share their networks, so they are less independent than as many datasets.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import polars as pl
import torch
import typer

from benchmarks.images.clean import draw, take
from benchmarks.images.plant import Pictures, load, write
from foretaste.attacks.contract import Poisoned
from foretaste.cache import Store
from foretaste.dataset.parquet import open_dataset
from foretaste.embedders.contract import Encoder
from foretaste.pipeline import default_plans
from foretaste.pipeline.audit import concluded, findings_and_verdict
from foretaste.pipeline.cross_fitting import encode
from foretaste.pipeline.engine import InProcess, Job
from foretaste.pipeline.sweep import Swept
from foretaste.types.findings import Kind, Verdict
from foretaste.types.progress import quiet
from foretaste.types.runs import Outcome

# Rows of the pool, the files it is cut into, and how many of these make a dataset. None: as many rows as the kind has.
# Frames of one picture stay in one file. A sweep over a hundred classes takes as long for a small file as for a large.
KINDS: dict[str, tuple[int | None, int, int]] = {
    "natural": (8000, 40, 10),
    "digits": (8000, 40, 10),
    "frames": (8000, 40, 10),
    "long-tailed": (None, 40, 20),
    "two-class": (4000, 40, 20),
    "hundred-class": (8000, 10, 5),
    "small": (5000, 40, 4),
    "grey": (8000, 40, 10),
    "jpeg-mixed": (8000, 40, 10),
}


def main(  # noqa: PLR0917
    source: Annotated[Path, typer.Argument(help="a Parquet file of natural pictures with labels")],
    digits: Annotated[Path | None, typer.Option(help="a Parquet file of digits with labels")] = None,
    pools: Annotated[int, typer.Option(help="embedded datasets of each kind")] = 2,
    redraws: Annotated[int, typer.Option(help="datasets drawn from each of them")] = 17,
    first: Annotated[int, typer.Option(help="the first seed")] = 0,
    kind: Annotated[list[str] | None, typer.Option(help="repeat for several; all by default")] = None,
) -> None:
    pictures = load(source)
    print("| clean redraws | datasets | failed | warned | rows | accused | worst | s each |", flush=True)
    print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    every: list[Drawn] = []
    for name in kind or [one for one in KINDS if one != "digits" or digits]:
        base = load(digits) if name == "digits" and digits else pictures
        found = [one for seed in range(first, first + pools) for one in redrawn(name, base, seed, redraws)]
        every += found
        print(line(name, found), flush=True)
    print(line("all", every), flush=True)


class Drawn(tuple[Verdict, int, int, float]):
    """Verdict, rows, rows accused of an attack, and seconds."""


def redrawn(kind: str, source: Pictures, seed: int, redraws: int) -> list[Drawn]:
    """What the statistics say of random parts of one pool."""
    rows, files, parts = KINDS[kind]
    pool = draw("natural" if kind == "small" else kind, source, seed=seed, rows=rows)
    generator = torch.Generator().manual_seed(seed)
    out = []
    with tempfile.TemporaryDirectory() as folder:
        for number, part in enumerate(torch.arange(len(pool.label)).tensor_split(files)):
            one = take(pool, part)
            nobody = Poisoned.at(one.images, one.label, rows=torch.zeros(0, dtype=torch.int64))
            written = write(nobody, one, Path(folder) / "pool" / f"{number:02}")
            written.with_suffix(".truth.parquet").unlink()
        whole = prepared([f"{folder}/pool"], folder)
        encoders, _, _ = encode(whole)
        for _ in range(redraws):
            start = time.monotonic()
            chosen = torch.randperm(files, generator=generator)[:parts].tolist()
            job = prepared([f"{folder}/pool/{number:02}.parquet" for number in chosen], folder)
            verdict, reason = decided(job, encoders, folder)
            if verdict is Verdict.FAILED:
                print(f"{kind}, pool {seed}, files {chosen}: {reason}", flush=True)
            samples = pl.read_parquet(f"{folder}/samples.parquet", columns=["kinds"])["kinds"]
            attacks = [str(one) for one in Kind if one.fails_audit]
            accused = int((samples.list.set_intersection(attacks).list.len() > 0).sum())
            out.append(Drawn((verdict, job.dataset.rows, accused, time.monotonic() - start)))
    return out


def decided(
    job: Job, encoders: Mapping[str, Encoder | Outcome], folder: str, known: Swept | None = None
) -> tuple[Verdict, str]:
    """What an audit does once everything is embedded, but for its report: the verdict, and samples.parquet."""
    audited = concluded(job, encoders, {}, known or Swept({}, {}, {}), folder)
    _, said, reason = findings_and_verdict(audited)
    return said, reason


def prepared(places: list[str], cache: str) -> Job:
    """The default plan over these files, a shard each."""
    dataset = open_dataset(places, shard_rows=1)
    return Job(dataset, default_plans.default(dataset), 0, torch.device("cpu"), InProcess(), quiet, Store.at(cache))


def line(name: str, found: list[Drawn]) -> str:
    """One line of the table."""
    verdicts = [verdict for verdict, _, _, _ in found]
    rows, accused = sum(one[1] for one in found), sum(one[2] for one in found)
    worst = max((one[2] / one[1] for one in found), default=0.0)
    counts = f"{verdicts.count(Verdict.FAILED)} | {verdicts.count(Verdict.WARNED)}"
    seconds = sum(one[3] for one in found) / max(len(found), 1)
    return f"| {name} | {len(found)} | {counts} | {rows} | {accused / max(rows, 1):.3%} | {worst:.2%} | {seconds:.0f} |"


if __name__ == "__main__":
    typer.run(main)
