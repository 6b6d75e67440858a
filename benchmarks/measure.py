"""One audit held against the truth: what the tables of every benchmark are made of."""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from foretaste import Request, audit
from foretaste.dataset.roles import NOTHING_SAID
from foretaste.pipeline.plan import Plan

ATTACK = pl.col("kinds").list.set_intersection(["backdoor", "duplicate", "outlier"]).list.len() > 0


@dataclass(frozen=True)
class Measured:
    """Rates are shares of rows; `accused` counts flags for anything but a wrong label."""

    name: str
    verdict: str
    rows: int
    poisoned: int
    found: float  # of the poisoned rows, accused
    accused_clean: float  # of the other rows, accused
    doubted_clean: float  # of the other rows, label doubted
    auroc: float  # of `risk`; 0.5 without poison
    thousandth: float  # of the poisoned rows, ranked by `risk` above all but 0.1 % of the others
    hundredth: float  # the same at 1 %
    seconds: float
    peak_gib: float  # of this process so far
    triggers: tuple[str, ...] = ()  # phrases that the report names


def measure(
    name: str, dataset: Path, truth: Path | None, *, plan: Plan | None = None, request: Request = NOTHING_SAID
) -> Measured:
    """Audit `dataset` into a temporary folder and compare with `truth`, row by row."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        report = audit([str(dataset)], out=f"{folder}/audit", plan=plan, request=request)
        seconds = time.monotonic() - start
        samples = pl.read_parquet(f"{folder}/audit/samples.parquet", columns=["row", "risk", "kinds"]).sort("row")
    samples = samples.with_columns(ATTACK.alias("accused"), pl.col("kinds").list.contains("label").alias("doubted"))
    poisoned = pl.Series([False] * len(samples)) if truth is None else _truth(truth)
    bad, good = samples.filter(poisoned), samples.filter(~poisoned)
    return Measured(
        name,
        str(report.verdict),
        len(samples),
        len(bad),
        _mean(bad["accused"]),
        _mean(good["accused"]),
        _mean(good["doubted"]),
        auroc(good["risk"], bad["risk"]),
        above(good["risk"], bad["risk"], 0.001),
        above(good["risk"], bad["risk"], 0.01),
        seconds,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        tuple(one["phrase"] for group in report.groups for one in group.evidence.get("triggers", ())),
    )


def _truth(path: Path) -> pl.Series:
    table = pl.read_parquet(path)
    return table["is_poisoned" if "is_poisoned" in table.columns else "is_outlier"]


def _mean(flags: pl.Series) -> float:
    return float(flags.mean() or 0.0) if len(flags) else 0.0  # type: ignore[arg-type]


def auroc(low: pl.Series, high: pl.Series) -> float:
    """Probability that a value of `high` exceeds one of `low`, ties counted half (Mann & Whitney 1947)."""
    if not len(low) or not len(high):
        return 0.5
    rank = pl.concat([low, high]).rank("average")
    return float((rank[len(low) :].sum() - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))


def above(low: pl.Series, high: pl.Series, share: float) -> float:
    """Share of `high` that exceeds all but `share` of `low`."""
    if not len(low) or not len(high):
        return 0.0
    bar = low.sort(descending=True)[min(int(share * len(low)), len(low) - 1)]
    return _mean(high > bar)


HEADER = (
    "| dataset | verdict | rows | poisoned | found | clean rows accused | labels doubted | AUROC | at 0.1 % | at 1 % "
    "| s | GiB |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def row(one: Measured) -> str:
    """One line of the Markdown table under HEADER."""
    found = f"{one.found:.1%}" if one.poisoned else "–"
    rank = f"{one.auroc:.3f} | {one.thousandth:.1%} | {one.hundredth:.1%}" if one.poisoned else "– | – | –"
    return (
        f"| {one.name} | {one.verdict} | {one.rows} | {one.poisoned} | {found} | {one.accused_clean:.3%} | "
        f"{one.doubted_clean:.2%} | {rank} | {one.seconds:.0f} | {one.peak_gib:.1f} |"
    )
