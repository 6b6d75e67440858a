"""Whole audits of clean datasets of many origins by the default plan: what of them is failed, warned of, accused.

    python -m benchmarks.clean.audits ZOO --out audits.jsonl            all but the origins that are kept aside
    python -m benchmarks.clean.audits ZOO --out audits.jsonl --aside    those alone
    python -m benchmarks.clean.audits ZOO --out audits.jsonl --rows 0 --rows 1000 --seed 1 --seed 2

ZOO is the folder that benchmarks.clean.{pictures,texts,tables} made, or any folder of folders of Parquet files. Each
dataset is audited as it is (--rows 0) or as a random draw of so many rows. What OUT holds of the same code and plans is
not audited again, so the command can be stopped and continued; a table by origin is printed at the end.
--record auditors/pipeline/false_alarms.jsonl writes what came of it to what reports say of their false alarms.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Hashable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import torch
import typer

from benchmarks.clean.continuing import continued
from benchmarks.clean.origins import kept_aside
from foretaste.cache import Store
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.decide import significance
from foretaste.decide.natural_clusters import candidates, natural
from foretaste.errors import ForetasteError
from foretaste.pipeline import decision, default_plans
from foretaste.pipeline.audit import concluded, findings_and_verdict
from foretaste.pipeline.cross_fitting import encode
from foretaste.pipeline.engine import InProcess, Job
from foretaste.pipeline.false_alarms import Series
from foretaste.pipeline.fit import Encoders
from foretaste.pipeline.scoring import SCORES
from foretaste.report.document import plain
from foretaste.types.digests import plan_digest
from foretaste.types.progress import quiet

ATTACKS = ["backdoor", "duplicate", "outlier"]
ASKED = 0.05  # p-value up to which it is asked whether a group is a natural cluster
FEWEST = 32  # rows of a class from which on all detectors test it


def drawn(path: Path, rows: int, seed: int, place: Path) -> Path:
    """A random draw of rows in the order of the file, keeping classes of at least eight rows; the file itself for 0."""
    if not rows:
        return path
    table = pl.read_parquet(path).with_row_index("__at")
    kept = table.sample(min(rows, len(table)), seed=seed).sort("__at").drop("__at")
    if "label" in kept.columns:
        kept = kept.filter(pl.len().over("label") >= 8)
    out = place / path.name
    kept.write_parquet(out, row_group_size=1000)
    return out


def request(path: Path) -> Request:
    """What the columns are, where they are not unmistakable: a column beside payload and label groups the rows."""
    names = set(pl.read_parquet_schema(path))
    if {"prompt", "response"} <= names:
        return Request(prompt="prompt", response="response")
    return Request(label="label" if "label" in names else "")


def audited(path: Path, rows: int, seed: int) -> dict[str, Any]:
    """One audit in a line: the verdict, what was accused, the groups that were found, and the p-values of all tests."""
    torch.set_num_threads(1)
    line: dict[str, Any] = {"kind": path.parent.name, "origin": path.stem, "draw": rows, "seed": seed}
    with tempfile.TemporaryDirectory() as scratch:
        place, begin = Path(scratch), time.monotonic()
        try:
            dataset = open_dataset([str(drawn(path, rows, seed, place))], request=request(path))
            (place / "store").mkdir()
            plan, device = default_plans.default(dataset), torch.device("cpu")
            line["plan"] = str(plan_digest(plain(plan.describe())))
            job = Job(dataset, plan, seed, device, InProcess(), quiet, Store.at(str(place / "store")))
            encoders, unread, preliminary = encode(job)
            found = concluded(job, encoders, unread, preliminary, scratch)
            groups, verdict, reason = findings_and_verdict(found)
        except (ForetasteError, ValueError) as error:
            return line | {"verdict": "error", "reason": str(error)}
        attacks = found.flagged["kinds"].list.set_intersection(ATTACKS).list.len() > 0
        return line | {
            "verdict": str(verdict),
            "reason": reason,
            "rows": dataset.rows,
            "classes": len(dataset.classes),
            "accused": int(attacks.sum()),
            "doubted": int(found.flagged["kinds"].list.contains("label").sum()),
            "groups": [[str(one.kind), one.label, one.rows, one.p_value, list(one.detectors)] for one in groups],
            "tests": tests(found.groups, cleared(job, encoders, found.groups, scratch), dataset.class_rows),
            "seconds": round(time.monotonic() - begin, 1),
        }


def cleared(job: Job, encoders: Encoders, groups: pl.DataFrame, folder: str) -> set[tuple[Hashable, ...]]:
    """The keys of the groups with small p-values that are natural clusters, also where an audit need not ask."""
    asked = groups.with_columns(suspicious=False, watched=pl.col("p_value") <= ASKED)
    members = significance.members(asked, os.path.join(folder, SCORES), job.plan.decide)
    near = decision.neighbour_shares(job, candidates(asked, members), encoders)
    return {key for key, views in near.items() if natural(views, job.plan.decide.natural)}


def tests(
    groups: pl.DataFrame, natural_ones: set[tuple[Hashable, ...]], class_rows: Sequence[int]
) -> dict[str, list[list[float]]]:
    """Statistics and p-values of the groups of classes of FEWEST rows or more, by detector and embedder.

    Natural clusters have the p-value 1, as they are acquitted.
    """
    sizes = pl.DataFrame({"label": range(len(class_rows)), "of": class_rows}, {"label": pl.Int64, "of": pl.Int64})
    large = groups.join(sizes, on="label", how="left").filter(pl.col("of").is_null() | (pl.col("of") >= FEWEST))
    schema = {name: groups.schema[name] for name in significance.GROUP}
    keys = pl.DataFrame(list(natural_ones), schema, orient="row").with_columns(natural=True)
    large = large.join(keys, on=significance.GROUP, how="left").with_columns(
        pl.when("natural").then(1.0).otherwise("p_value").alias("p_value")
    )
    short = pl.col("statistic", "p_value").round_sig_figs(4)
    parts = large.sort("label").with_columns(short).partition_by("detector", "embedder", as_dict=True)
    return {
        f"{detector} on {embedder}": [part["statistic"].to_list(), part["p_value"].to_list()]
        for (detector, embedder), part in sorted(parts.items())
    }


def series(lines: list[dict[str, Any]]) -> Iterator[Series]:
    """The audits for the record: one line for each origin, size of draw and run of seeds.

    An inconclusive audit tested nothing, so it is none of a clean dataset that was let pass.
    """
    done = [line for line in lines if "rows" in line and line["verdict"] != "inconclusive"]
    for plan, origin, draw in dict.fromkeys((line["plan"], line["origin"], line["draw"]) for line in done):
        mine = {one["seed"]: one for one in done if (one["plan"], one["origin"], one["draw"]) == (plan, origin, draw)}
        for first in sorted(seed for seed in mine if seed - 1 not in mine):
            end = next(seed for seed in range(first, first + len(mine) + 1) if seed not in mine)
            part = [mine[seed] for seed in range(first, end)]
            verdicts = [one["verdict"] for one in part]
            yield Series(
                plan=plan,
                code=part[0]["code"],
                release=version("foretaste"),
                origin=origin,
                kind=f"draws of {draw:,} rows" if draw else "whole",
                aside=kept_aside(origin),
                first=first,
                audits=len(part),
                failed=verdicts.count("failed"),
                warned=verdicts.count("warned"),
                rows=sum(one["rows"] for one in part),
                accused=sum(one["accused"] for one in part),
            )


def wanted(zoo: Path, *, aside: bool, only: list[str]) -> list[Path]:
    """The datasets to audit, those that are kept aside or those that are not."""
    paths = sorted(zoo.glob("*/*.parquet"))
    return [path for path in paths if (path.stem in only if only else kept_aside(path.stem) == aside)]


def table(lines: list[dict[str, Any]]) -> Iterator[str]:
    """What became of each origin, the worst first."""
    yield "| origin | kind | audits | failed | warned | could not | rows | accused | worst | by |"
    yield "|---|---|---:|---:|---:|---:|---:|---:|---:|---|"
    found = []
    for origin in dict.fromkeys(line["origin"] for line in lines):
        mine = [line for line in lines if line["origin"] == origin]
        said = [line["verdict"] for line in mine]
        done = [line for line in mine if "rows" in line]
        rows, accused = sum(line["rows"] for line in done), sum(line["accused"] for line in done)
        worst = max((line["accused"] / line["rows"] for line in done), default=0.0)
        by = sorted({name for line in done for kind, *_, names in line["groups"] if kind in ATTACKS for name in names})
        counts = len(mine), said.count("failed"), said.count("warned"), said.count("error"), rows, accused
        found.append((said.count("failed"), worst, (origin, mine[0]["kind"], *counts, f"{worst:.2%}", ", ".join(by))))
    for *_, cells in sorted(found, key=lambda one: one[:2], reverse=True):
        yield f"| {' | '.join(map(str, cells))} |"
    failed, warned = (sum(line["verdict"] == verdict for line in lines) for verdict in ("failed", "warned"))
    yield f"\n{len(lines)} audits of {len(found)} origins: {failed} failed, {warned} warned"


def main(  # noqa: PLR0917
    zoo: Annotated[Path, typer.Argument(help="folder of folders of Parquet files")],
    out: Annotated[Path, typer.Option(help="a line for each audit is added here")],
    rows: Annotated[list[int] | None, typer.Option(help="of a draw; 0 is the dataset as it is; repeat")] = None,
    seed: Annotated[list[int] | None, typer.Option(help="of draw and audit; repeat")] = None,
    only: Annotated[list[str] | None, typer.Option(help="origins by name; repeat")] = None,
    aside: Annotated[bool, typer.Option("--aside", help="the origins that are kept aside")] = False,
    workers: Annotated[int, typer.Option(help="audits at once")] = 2,
    record: Annotated[Path | None, typer.Option(help="replace this file by what OUT holds of the same code")] = None,
) -> None:
    paths = wanted(zoo, aside=aside, only=only or [])
    asked = [(path, count, number) for number in seed or [0] for count in rows or [0] for path in paths]
    valid = continued(out, asked, ("draw", "seed"), audited, workers)
    print("\n".join(table(valid)))
    if record is not None:
        record.write_text("".join(one.line() for one in series(valid)), encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
