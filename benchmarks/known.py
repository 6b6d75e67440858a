"""Datasets whose truth is known, audited by the default plan.

python -m benchmarks.known data/digits.parquet data/digits_badnets.parquet=data/truth/digits_badnets.parquet

takes DATASET or DATASET=TRUTH; `--label COLUMN` for all of them where it is not unmistakable.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.measure import HEADER, measure, row
from foretaste.dataset.roles import Request


def main(
    datasets: Annotated[list[str], typer.Argument(metavar="DATASET[=TRUTH]...")],
    label: Annotated[str | None, typer.Option(help="the label column")] = None,
) -> None:
    print(HEADER, flush=True)
    for one in datasets:
        dataset, _, truth = one.partition("=")
        name = Path(dataset).stem
        print(
            row(measure(name, Path(dataset), Path(truth) if truth else None, request=Request(label=label))), flush=True
        )


if __name__ == "__main__":
    typer.run(main)
