"""Nominal against observed error rates of every detector over audits of clean datasets, as a table and as QQ plots.

    python -m benchmarks.clean.calibration audits.jsonl [--plots FOLDER]

reads what benchmarks.clean.audits wrote. A detector is calibrated if of its p-values on clean data a share p is at most
p; `observed / nominal` above 2 says that it is not. A plot has a line for each origin and the band of a factor of two.
Tests of one dataset are not independent, so few origins with many classes can make a line leave the band by chance.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

RATES = (0.1, 0.01, 0.001, 0.0001)
SIDE, MARGIN, DECADES = 360, 40, 6  # pixels of a plot, its margin, and the powers of ten on its axes
LEAST = 10.0**-DECADES

P = dict[str, dict[str, list[float]]]  # p-values by detector and origin


def p_values(lines: list[Mapping[str, Any]]) -> P:
    """The p-values of all groups; natural clusters have 1."""
    out: P = {}
    for line in lines:
        for run, (_, values) in line.get("tests", {}).items():
            out.setdefault(run.partition(" on ")[0], {}).setdefault(line["origin"], []).extend(values)
    return out


def observed(values: list[float], rate: float) -> float:
    """The share of p-values up to a rate."""
    return sum(value <= rate for value in values) / max(len(values), 1)


def table(found: P) -> Iterator[str]:
    """A line for each detector: the observed share over the nominal rate, and the worst origin at 1 %."""
    heads = " | ".join(f"/ {rate:g}" for rate in RATES)
    yield f"| detector | origins | tests | {heads} | worst origin at 0.01 |"
    yield f"|---|---:|---:|{'---:|' * len(RATES)}---|"
    for detector, origins in sorted(found.items()):
        whole = [value for values in origins.values() for value in values]
        shares = (f"{observed(whole, rate) / rate:.2f}" for rate in RATES)
        worst = max(origins, key=lambda origin: observed(origins[origin], 0.01))
        said = f"{worst}, {observed(origins[worst], 0.01):.1%} of {len(origins[worst])}"
        yield f"| {detector} | {len(origins)} | {len(whole)} | {' | '.join(shares)} | {said} |"


def plot(detector: str, origins: Mapping[str, list[float]]) -> str:
    """An SVG: expected quantiles of p-values on the horizontal axis, observed ones on the vertical, logarithmic."""
    lines = [f'<polyline points="{trace(values)}" fill="none" stroke="#357"/>' for values in origins.values() if values]
    band = " ".join(point(x, y) for x, y in ((1, 0.5), (LEAST, LEAST / 2), (LEAST, LEAST * 2), (0.5, 1), (1, 1)))
    ticks = [
        f'<text x="{place(10.0**-k):.0f}" y="{SIDE - 12}" font-size="11" text-anchor="middle">1e-{k}</text>'
        f'<text x="4" y="{SIDE - place(10.0**-k) + 4:.0f}" font-size="11">1e-{k}</text>'
        for k in range(DECADES + 1)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{SIDE}" height="{SIDE}" font-family="sans-serif">'
        f'<rect width="100%" height="100%" fill="white"/><polygon points="{band}" fill="#ddd"/>{"".join(ticks)}'
        f'<text x="{SIDE / 2:.0f}" y="16" text-anchor="middle" font-size="13">{detector}</text>{"".join(lines)}</svg>\n'
    )


def trace(values: list[float]) -> str:
    """The points of the sorted p-values: the i-th smallest of n is expected at (i - 1/2) / n."""
    size = len(values)
    return " ".join(point((at + 0.5) / size, value) for at, value in enumerate(sorted(values)))


def point(expected: float, seen: float) -> str:
    return f"{place(expected):.1f},{SIDE - place(seen):.1f}"


def place(value: float) -> float:
    """Pixels from the corner of 1."""
    return MARGIN + (SIDE - 2 * MARGIN) * -math.log10(min(max(value, LEAST), 1.0)) / DECADES


def main(
    audits: Annotated[list[Path], typer.Argument(help="what benchmarks.clean.audits wrote")],
    plots: Annotated[Path | None, typer.Option(help="folder for an SVG for each detector")] = None,
) -> None:
    lines = [json.loads(line) for path in audits for line in path.read_text(encoding="utf-8").splitlines()]
    found = p_values(lines)
    print("\n".join(table(found)))
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for detector, origins in found.items():
            (plots / f"{detector}.svg").write_text(plot(detector, origins), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
