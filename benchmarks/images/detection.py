"""What the default plan finds in pictures: attacks planted fresh, and the same rows clean.

python -m benchmarks.images.detection SOURCE --rows 10000 --attack badnets --attack blended-0.15 --count 100

plants every attack for every target and seed, audits each copy and the clean one, and prints a table with means.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.images.plant import Pictures, load, plant, write
from benchmarks.measure import HEADER, Measured, measure, row


def main(  # noqa: PLR0917
    source: Annotated[Path, typer.Argument(help="a Parquet file of pictures with labels")],
    rows: Annotated[int, typer.Option(help="rows drawn from it for each copy")] = 10_000,
    attack: Annotated[
        list[str] | None, typer.Option(help="repeat for several; badnets, blended and sig by default")
    ] = None,
    count: Annotated[list[int] | None, typer.Option(help="poisoned rows; repeat for several; 100 by default")] = None,
    target: Annotated[list[int] | None, typer.Option(help="target classes; repeat for several; 3 by default")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="repeat for several; 1 by default")] = None,
    clean: Annotated[bool, typer.Option(help="also audit the clean copy of each seed")] = True,
) -> None:
    print(HEADER, flush=True)
    found: list[Measured] = []
    for draw in seed or [1]:
        pictures = load(source, rows=rows, seed=draw)
        cases = [
            (name, size, to)
            for name in attack or ["badnets", "blended", "sig"]
            for size in count or [100]
            for to in target or [3]
        ]
        if clean:
            cases.insert(0, ("badnets", 0, 0))
        for name, size, to in cases:
            found.append(audited(pictures, name, count=size, target=to, seed=draw))
    poisoned = [one for one in found if one.poisoned]
    if poisoned:
        print(f"\n{mean('poisoned', poisoned)}")


def audited(pictures: Pictures, attack: str, *, count: int, target: int, seed: int) -> Measured:
    """One copy under the default plan; its line is printed."""
    planted = plant(pictures, attack, target=target, count=count, seed=seed)
    what = f"{attack}, {count} rows, target {target}, seed {seed}" if count else f"clean, seed {seed}"
    with tempfile.TemporaryDirectory() as folder:
        written = write(planted, pictures, Path(folder) / "copy")
        one = measure(what, written, written.with_suffix(".truth.parquet"))
    print(row(one), flush=True)
    return one


def mean(what: str, found: list[Measured]) -> str:
    """The means over some draws, and the worst."""
    share = sum(one.found for one in found) / len(found)
    accused = sum(one.accused_clean for one in found) / len(found)
    failed = sum(one.verdict == "failed" for one in found)
    return (
        f"{what}: {failed} of {len(found)} failed, found {share:.1%} (worst {min(one.found for one in found):.1%}), "
        f"clean rows accused {accused:.3%} (worst {max(one.accused_clean for one in found):.3%})"
    )


if __name__ == "__main__":
    typer.run(main)
