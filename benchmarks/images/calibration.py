"""How often the default plan accuses clean datasets, over many kinds of them.

python -m benchmarks.images.calibration PICTURES --digits DIGITS --seeds 3 --rows 3000

draws clean datasets of every kind in benchmarks.images.clean, audits each with the default plan, and prints a line for
each kind: how many failed or warned, and the share of rows accused of an attack. Nothing in them is poisoned.
--record auditors/pipeline/false_alarms.jsonl adds what came of it to what reports say of their false alarms.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.images.clean import draw
from benchmarks.images.plant import Pictures, load, write
from benchmarks.measure import Measured, measure
from foretaste.attacks.contract import Poisoned
from foretaste.pipeline import default_plans
from foretaste.pipeline import plan as plans
from foretaste.pipeline.false_alarms import Series, code
from foretaste.report.document import plain
from foretaste.types.dataset import Modality
from foretaste.types.digests import plan_digest

# Kinds with a size of their own take no number of rows.
KINDS = ("natural", "digits", "frames", "long-tailed", "two-class", "hundred-class", "small", "grey", "jpeg-mixed")
OWN_SIZE = ("long-tailed", "small")
NAMES = {
    "digits": "random rows",
    "natural": "natural pictures",
    "frames": "near-duplicate frames",
    "two-class": "two classes",
    "hundred-class": "a hundred classes",
    "small": "small sets",
    "long-tailed": "long-tailed classes",
    "grey": "grey pictures",
    "jpeg-mixed": "mixed JPEG quality",
}


def main(  # noqa: PLR0917
    source: Annotated[Path, typer.Argument(help="a Parquet file of natural pictures with labels")],
    digits: Annotated[Path | None, typer.Option(help="a Parquet file of digits with labels")] = None,
    seeds: Annotated[int, typer.Option(help="datasets of each kind")] = 3,
    rows: Annotated[int, typer.Option(help="rows of each dataset")] = 3000,
    first: Annotated[int, typer.Option(help="the first seed")] = 0,
    kind: Annotated[list[str] | None, typer.Option(help="repeat for several; all by default")] = None,
    record: Annotated[Path | None, typer.Option(help="add a line for each kind to this file")] = None,
) -> None:
    pictures = load(source)
    print("| clean datasets | audited | failed | warned | rows | accused of an attack | worst |", flush=True)
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    every: list[Measured] = []
    for name in kind or [one for one in KINDS if one != "digits" or digits]:
        base = load(digits) if name == "digits" and digits else pictures
        found = [audited(name, base, seed, rows) for seed in range(first, first + seeds)]
        every += found
        print(line(name, found), flush=True)
        if record is not None:
            with record.open("a", encoding="utf-8") as file:
                file.write(series(name, found, first).line())
    print(line("all", every), flush=True)


def audited(kind: str, source: Pictures, seed: int, rows: int) -> Measured:
    """One clean dataset under the default plan."""
    drawn = draw(kind, source, seed=seed, rows=None if kind in OWN_SIZE else rows)
    untouched = Poisoned.at(drawn.images, drawn.label, rows=torch.zeros(0, dtype=torch.int64))
    with tempfile.TemporaryDirectory() as folder:
        return measure(f"{kind}, seed {seed}", write(untouched, drawn, Path(folder) / "clean"), None)


def series(kind: str, found: list[Measured], first: int) -> Series:
    """What these audits add to the record."""
    verdicts = [one.verdict for one in found]
    return Series(
        plan=str(plan_digest(plain(plans.parse(default_plans.DEFAULT[Modality.IMAGE]).describe()))),
        code=code(),
        release=version("foretaste"),
        origin="MNIST" if kind == "digits" else "CIFAR-10",
        kind=NAMES.get(kind, kind),
        aside=False,
        first=first,
        audits=len(found),
        failed=verdicts.count("failed"),
        warned=verdicts.count("warned"),
        rows=sum(one.rows for one in found),
        accused=round(sum(one.accused_clean * one.rows for one in found)),
    )


def line(name: str, found: list[Measured]) -> str:
    """One line of the table."""
    verdicts = [one.verdict for one in found]
    rows = sum(one.rows for one in found)
    accused = sum(one.accused_clean * one.rows for one in found) / max(rows, 1)
    worst = max((one.accused_clean for one in found), default=0.0)
    counts = f"{verdicts.count('failed')} | {verdicts.count('warned')}"
    return f"| {name} | {len(found)} | {counts} | {rows} | {accused:.3%} | {worst:.2%} |"


if __name__ == "__main__":
    typer.run(main)
