"""Whether two audits of the same data say the same: verdict, flagged rows and risk.

python -m benchmarks.equality OLD_AUDITS NEW_AUDITS

compares every audit below the first folder with the one of the same name below the second, such as those that two
versions of foretaste wrote. Exit code 1 where any differs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import polars as pl
import typer


@dataclass(frozen=True)
class Compared:
    """Two audits: their verdicts, rows flagged in each and in both, and the largest difference of any row's risk."""

    name: str
    verdicts: tuple[str, str]
    flagged: tuple[int, int]
    both: int
    risk: float
    reasons: bool

    @property
    def equal(self) -> bool:
        return self.verdicts[0] == self.verdicts[1] and self.flagged == (self.both, self.both) and self.risk == 0


def compared(old: Path, new: Path) -> Compared:
    """Row by row, by what each row is flagged for."""
    reports = [json.loads((one / "report.json").read_text(encoding="utf-8")) for one in (old, new)]
    columns = ["row", "flagged", "kinds", "risk"]
    left, right = (pl.read_parquet(one / "samples.parquet", columns=columns).sort("row") for one in (old, new))
    whole = left.join(right, on="row", how="full", suffix="_new")
    kinds = (pl.col(name).list.sort().list.join(",").fill_null("?") for name in ("kinds", "kinds_new"))
    same = whole.select((pl.col("flagged") & pl.col("flagged_new") & (next(kinds) == next(kinds))).sum()).item()
    risk = whole.select((pl.col("risk") - pl.col("risk_new")).abs().fill_null(1.0).max()).item()
    groups = [[group["reason"] for group in one["groups"]] for one in reports]
    return Compared(
        old.name,
        (reports[0]["verdict"], reports[1]["verdict"]),
        (int(left["flagged"].sum()), int(right["flagged"].sum())),
        int(same),
        float(risk or 0.0),
        groups[0] == groups[1],
    )


def main(
    old: Annotated[Path, typer.Argument(help="a folder of audits")],
    new: Annotated[Path, typer.Argument(help="another, with audits of the same names")],
) -> None:
    print("| set | verdict | flagged | by both | largest difference of risk | sentences |")
    print("|---|---|---:|---:|---:|---|")
    names = sorted(one.parent.name for one in old.glob("*/report.json"))
    found = [compared(old / name, new / name) for name in names]
    for one in found:
        verdict = one.verdicts[0] if one.verdicts[0] == one.verdicts[1] else " → ".join(one.verdicts)
        rows = f"{one.flagged[0]:,}" if one.flagged[0] == one.flagged[1] else f"{one.flagged[0]:,} → {one.flagged[1]:,}"
        said = "equal" if one.reasons else "differ"
        print(f"| {one.name} | {verdict} | {rows} | {one.both:,} | {one.risk:.2g} | {said} |")
    if not found or not all(one.equal for one in found):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
