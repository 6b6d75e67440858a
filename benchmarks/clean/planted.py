"""Poisoned copies of the clean pictures and texts: what of the poison the default plan finds, and whom else it accuses.

    python -m benchmarks.clean.planted ZOO --out planted.jsonl --share 0.02

plants every attack of CASES into each picture and text dataset in turn, or into those of --only, and audits it. The
target is the largest class. Pictures are planted at 32 pixels. What OUT holds of the same code and plans is not audited
again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch
import typer

from benchmarks.clean.audits import request, wanted
from benchmarks.clean.continuing import continued
from benchmarks.images import plant as pictures
from benchmarks.measure import measure
from benchmarks.text.detection import planted as text_planted

# A trigger in one place and one all over, with changed labels: what it takes is little, and most is known of them.
CASES = {"pictures": ("badnets", "blended"), "texts": ("token", "sentence")}


def audited(path: Path, attack: str, share: float, rows: int, seed: int) -> dict[str, Any]:
    """One audit of a planted copy, in a line."""
    torch.set_num_threads(1)
    kind = path.parent.name
    line = {"kind": kind, "origin": path.stem, "attack": attack, "share": share, "draw": rows, "seed": seed}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "planted"
        copied = picture_copy if kind == "pictures" else text_copy
        data, truth = copied(path, out, attack, share=share, rows=rows, seed=seed)
        found = measure(path.stem, data, truth, request=request(path))
    return line | {
        "verdict": found.verdict,
        "rows": found.rows,
        "poisoned": found.poisoned,
        "found": round(found.found, 4),
        "others": round(found.accused_clean, 6),
        "seconds": round(found.seconds, 1),
    }


def picture_copy(path: Path, out: Path, attack: str, *, share: float, rows: int, seed: int) -> tuple[Path, Path]:
    whole = pl.scan_parquet(path).select(pl.len()).collect().item()
    drawn = pictures.load(path, rows=min(rows or whole, whole), seed=seed)
    target, count = int(torch.bincount(drawn.label).argmax()), round(share * len(drawn.label))
    poison = pictures.plant(drawn, attack, target=target, count=count, seed=seed)
    return pictures.write(poison, drawn, out), out.with_suffix(".truth.parquet")


def text_copy(path: Path, out: Path, attack: str, *, share: float, rows: int, seed: int) -> tuple[Path, Path]:
    whole = pl.read_parquet(path)
    drawn = whole.sample(min(rows or len(whole), len(whole)), seed=seed, shuffle=True)
    target = int(drawn.group_by("label").len().sort("label")["len"].arg_max() or 0)
    frame, bad = text_planted(drawn, attack, share, "text", "label", target, seed)
    frame.write_parquet(out.with_suffix(".parquet"), row_group_size=1000)
    pl.DataFrame({"is_poisoned": bad}).write_parquet(out.with_suffix(".truth.parquet"))
    return out.with_suffix(".parquet"), out.with_suffix(".truth.parquet")


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each origin and attack, the least found first."""
    yield "| origin | attack | rows | poisoned | verdict | found | others accused |"
    yield "|---|---|---:|---:|---|---:|---:|"
    for one in sorted(lines, key=lambda one: (one["found"], one["origin"], one["attack"])):
        shares = f"{one['found']:.0%} | {one['others']:.2%}"
        yield f"| {one['origin']} | {one['attack']} | {one['rows']} | {one['poisoned']} | {one['verdict']} | {shares} |"
    for kind in CASES:
        part = [one for one in lines if one["kind"] == kind]
        if part:
            failed = sum(one["verdict"] == "failed" for one in part)
            found, others = (sum(one[name] for one in part) / len(part) for name in ("found", "others"))
            yield f"\n{kind}: {failed} of {len(part)} failed, found {found:.1%}, others accused {others:.3%}"


def main(  # noqa: PLR0917
    zoo: Annotated[Path, typer.Argument(help="folder of folders of Parquet files")],
    out: Annotated[Path, typer.Option(help="a line for each audit is added here")],
    share: Annotated[float, typer.Option(help="of the rows that is poisoned")] = 0.02,
    rows: Annotated[int, typer.Option(help="of a draw; 0 is the dataset as it is")] = 0,
    seed: Annotated[int, typer.Option(help="of draw, attack and audit")] = 0,
    only: Annotated[list[str] | None, typer.Option(help="origins by name; repeat")] = None,
    aside: Annotated[bool, typer.Option("--aside", help="the origins that are kept aside")] = False,
    workers: Annotated[int, typer.Option(help="audits at once")] = 2,
) -> None:
    paths = wanted(zoo, aside=aside, only=only or [])
    asked = [(path, attack, share, rows, seed) for path in paths for attack in CASES.get(path.parent.name, ())]
    print("\n".join(table(continued(out, asked, ("attack", "share", "draw", "seed"), audited, workers))))


if __name__ == "__main__":
    typer.run(main)
