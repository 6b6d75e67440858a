"""What the default plan finds in draws that nobody chose: targets follow from one number, seeds from another.

python -m benchmarks.images.fresh SOURCE --number 20261126

plants thirty times what leaves a pattern (40, 70 and 100 rows) and twelve times what hides better, audits each copy,
and prints a line for each and the means of both. Another number gives other draws.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from benchmarks.images.detection import audited, mean
from benchmarks.images.plant import load
from benchmarks.measure import HEADER

CLASSES = 10
PATTERNS = ("badnets", "blended-0.15", "sig", "blended-smooth", "narcissus")
COUNTS = (40, 70, 100)
HIDDEN = (("wanet", 500), ("all-to-all", 500), ("label_flip", 200), ("adap_blend", 40))


class Draw(NamedTuple):
    """One copy: what is planted, in how many rows, and where."""

    attack: str
    count: int
    target: int
    seed: int


def draws(number: int, first: int) -> tuple[list[Draw], list[Draw]]:
    """Two of every pattern at every count, and three of every attack that hides; each target comes as often."""
    generator = np.random.default_rng(number)
    targets = np.concatenate([generator.permutation(CLASSES) for _ in range(5)]).tolist()
    seeds = itertools.count(first)
    patterns = [(attack, count) for count in COUNTS for attack in PATTERNS * 2]
    every = [
        Draw(*case, target, seed) for case, target, seed in zip((*patterns, *HIDDEN * 3), targets, seeds, strict=False)
    ]
    return every[: len(patterns)], every[len(patterns) :]


def main(
    source: Annotated[Path, typer.Argument(help="a Parquet file of pictures with labels, ten classes of them")],
    number: Annotated[int, typer.Option(help="decides the targets")] = 20261126,
    first: Annotated[int, typer.Option(help="seed of the first draw; the others follow")] = 1000,
    rows: Annotated[int, typer.Option(help="rows drawn from it for each copy")] = 10_000,
) -> None:
    patterns, hidden = draws(number, first)
    print(HEADER, flush=True)
    means = [
        mean(what, [audited(load(source, rows=rows, seed=one.seed), **one._asdict()) for one in part])
        for what, part in (("patterns", patterns), ("hidden", hidden))
    ]
    print("", *means, sep="\n", flush=True)


if __name__ == "__main__":
    typer.run(main)
