"""Random faults, round after round, and after each the question whether anything was lost or any verdict is wrong.

python -m benchmarks.soak --rounds 60 --seed 0

A round breaks audits of a small clean or poisoned dataset: it kills or ends them, fills their disk, damages or takes
away their cache, runs several at once. Then it asks: is every verdict right, every audit whole or absent, every signed
audit in the log, every decision kept, and does an undisturbed audit find the same scores to the byte? Every command is
a process of its own, forked from this one after everything is imported.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.soak.faults import FAULTS
from benchmarks.soak.ground import Ground, Ran, prepared
from benchmarks.soak.truth import WRONG, judged, logged, reviewed, undisturbed


def soak(rounds: int, seed: int) -> Counter[str]:
    """The number of rounds by fault, and of everything that was wrong after one."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, prepared(Path(folder), seed) as ground:
        expected: dict[str, list[bytes]] = {}
        turn: list[Callable[[Ground], list[Ran]]] = []
        for _ in range(rounds):
            turn = turn or ground.draw.sample(FAULTS, len(FAULTS))
            fault = turn.pop()
            runs = fault(ground)
            counts[fault.__name__] += 1
            wrong = [found for run in runs for found in judged(run)]
            wrong += [*logged(ground, runs), *undisturbed(ground, expected)]
            wrong += reviewed(ground, ground.place / "audits" / "reviewed")
            counts.update(wrong)
            for found in wrong:
                print(f"{fault.__name__}: {found}: {runs}", file=sys.stderr)
    return counts


def main(
    rounds: Annotated[int, typer.Option(min=1, help="How many.")] = 60,
    seed: Annotated[int, typer.Option(help="The same seed breaks the same things; when, the machine says.")] = 0,
) -> None:
    """Random faults over audits, cache, log, gate and decisions. Exit code 1: something was lost or wrong."""
    began = time.monotonic()
    counts = soak(rounds, seed)
    names = [fault.__name__ for fault in FAULTS]
    faults = ", ".join(f"{counts[name]} {name}" for name in names)
    print(f"{rounds} rounds in {time.monotonic() - began:.0f} s: {faults}")
    for name in WRONG:
        print(f"{counts[name]} {name}")
    wrong = sum(counts[name] for name in WRONG)
    raise typer.Exit(1 if wrong else 0)


if __name__ == "__main__":
    typer.run(main)
