"""audit(...) → Report: the whole audit, in one process or wherever an Engine takes the work on shards."""

from __future__ import annotations

import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from auditors import cache, evidence, findings, natural, tables
from auditors import plan as plans
from auditors.contract import DETECTORS, Aggregator, Embedder, Encoder, Scorer
from auditors.errors import DataError, ForetasteError, MissingPackage, NotApplicable, PlanError
from auditors.findings import Tested
from auditors.plan import Plan
from auditors.report.document import document, text
from auditors.report.page import page
from auditors.roles import NOTHING_SAID, Request
from auditors.source import complete_or_absent, identities, open_dataset, payloads
from auditors.sweep import Ended, Look, attempt, embed_shard, ended, fold_shard, merge, moved, score_shard
from auditors.values import Dataset, Kind, Report, Run, Schema, Shard, Status

T = TypeVar("T")
R = TypeVar("R")

Progress = Callable[[str, int, int], None]
logger = logging.getLogger("foretaste")


def quiet(stage: str, done: int, total: int) -> None:
    """The progress of somebody who does not want to know."""


class Engine(Protocol):
    """Where the work on shards runs. Results come in the order of the items, each as soon as those before it are out."""

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]: ...


@dataclass(frozen=True)
class Here:
    """One item after the other in this process; torch, polars and faiss use the cores anyway."""

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]:
        del stage, names
        return map(work, items)


def audit(
    places: str | Sequence[str],
    *,
    request: Request = NOTHING_SAID,
    plan: Plan | str | None = None,
    out: str | None = None,
    device: str = "auto",
    seed: int = 0,
    engine: Engine | None = None,
    progress: Progress = quiet,
) -> Report:
    """Audit a dataset for poison and write the audit to the folder `out`.

    places    Parquet files, folders, globs or fsspec URLs
    request   which columns mean what, where it is not unmistakable
    plan      a Plan, or the path of an audit.toml; by default what fits the modality
    out       a new or empty folder; by default under audits/
    device    "auto", "cpu" or "cuda"
    seed      added to the seeds of everything that is trained
    engine    where the work on shards runs; by default here
    progress  called with (stage, done, total)

    Raises PlanError where the call, the plan or the roles ask for what does not exist, DataError where the dataset does
    not hold what its roles promise, MissingPackage where the plan needs an optional package. Nothing is written then.
    """
    places = [places] if isinstance(places, str) else list(places)
    if not places:
        raise PlanError("an audit needs at least one dataset, got none")
    out = os.path.realpath(out or os.path.join("audits", time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())))
    chosen = plans.load(plan) if isinstance(plan, str) else plan
    where = _device(device)
    with complete_or_absent(out) as folder:
        clock = _Clock()
        dataset = open_dataset(places, request=request)
        if out == dataset.root or out.startswith(dataset.root.rstrip("/") + "/") and os.path.isdir(dataset.root):
            raise PlanError(f"{out}: the folder for results must not lie inside the dataset {dataset.root}")
        logger.info(_described(dataset))
        clock("ingest")
        stages = _Stages(dataset, chosen or plans.default(dataset), seed, where, engine or Here(), progress, cache.folder())
        report = stages.run(folder, out, clock)
        cache.prune(cache.folder(), cache.limit())
    return report


@dataclass(frozen=True)
class _Stages:
    """The stages of one audit: train, embed, sweep, score, judge."""

    dataset: Dataset
    plan: Plan
    seed: int
    device: torch.device
    engine: Engine
    progress: Progress
    cache: str

    def run(self, folder: str, out: str, clock: _Clock) -> Report:
        encoders = self.train()
        clock("train")
        unread = self.embed(encoders)
        clock("embed")
        scorers, stopped, seconds = self.sweep(encoders)
        clock("sweep")
        spans, broke = self.score(scorers, folder)
        clock("score")
        # A detector that breaks while it scores has said nothing, so its groups do not count among those tested.
        stopped |= broke
        tested = [_tested(look, one, self.plan) for look, one in scorers.items() if look not in broke]
        groups = findings.significance(tested, self.plan.decide)
        groups, acquitted = self.acquit(groups, encoders, folder)
        counts = self.judge(groups, spans, unread, folder)
        clock("judge")
        runs = _runs(self.plan, encoders, stopped, scorers, seconds)
        found = findings.findings(groups, counts, self.dataset)
        kinds: dict[str, int] = {}
        for (kind, _), rows in counts.items():
            kinds[kind] = kinds.get(kind, 0) + rows
        flagged = pl.read_parquet(os.path.join(folder, "flagged.parquet"))
        verdict, reason = findings.verdict(found, runs, kinds, self.dataset.rows, self.plan.decide)
        shown = evidence.samples(self.dataset, evidence.chosen(flagged))
        clock("report")
        report = Report(
            verdict=verdict,
            reason=reason,
            rows=self.dataset.rows,
            flagged=len(flagged),
            dataset=self.dataset,
            runs=runs,
            groups=found,
            counts=kinds,
            notes=(*acquitted, *_notes(self.dataset, runs)),
            versions=_versions(),
            seconds=clock.seconds,
            plan=self.plan.describe() | {"seed": self.seed, "device": str(self.device)},
            folder=out,
        )
        with open(os.path.join(folder, "report.json"), "w", encoding="utf-8") as file:
            file.write(text(document(report)))
        with open(os.path.join(folder, "report.html"), "w", encoding="utf-8") as file:
            file.write(page(report, shown))
        return report

    def shards(self, stage: str, work: Callable[[Shard], R]) -> Iterator[R]:
        shards = self.dataset.shards
        self.progress(stage, 0, len(shards))
        names = [f"{shard.file.name} rows {shard.first_row_in_file}+{shard.rows}" for shard in shards]
        for done, result in enumerate(self.engine.map(stage, work, shards, names), 1):
            self.progress(stage, done, len(shards))
            yield result

    def train(self) -> dict[str, Encoder | Ended]:
        """Fit every embedder of the plan. What the user must mend is raised, what does not apply is reported."""
        out: dict[str, Encoder | Ended] = {}
        rows = payloads(self.dataset)
        for done, (name, (_, settings)) in enumerate(self.plan.embedders.items()):
            self.progress("train", done, len(self.plan.embedders))
            try:
                out[name] = _seeded(settings, self.seed).fit(rows, self.dataset, self.device)
                if self.dataset.roles.modality not in settings.modalities:
                    raise NotApplicable(f"the embedder does not read {self.dataset.roles.modality} rows")
            except (DataError, PlanError, MissingPackage):
                raise
            except Exception as error:  # an embedder that breaks fails its own runs, and the report says so
                out[name] = ended(error)
        self.progress("train", len(self.plan.embedders), len(self.plan.embedders))
        return out

    def embed(self, encoders: Mapping[str, Encoder | Ended]) -> dict[int, str]:
        """Store all embeddings; the rows that cannot be read, with the reason."""
        ready = [one for one in encoders.values() if not isinstance(one, Ended)]
        work = partial(embed_shard, dataset=self.dataset, encoders=ready, folder=self.cache)
        unread: dict[int, str] = {}
        for shard, table in zip(self.dataset.shards, self.shards("embed", work), strict=True):
            unread |= dict(zip(table["row"].to_pylist(), table["reason"].to_pylist(), strict=True))
            if unread and self.plan.decide.broken_rows == "refuse":
                row, reason = next(iter(unread.items()))
                raise DataError(f"{shard.file.name}: every row must be readable, row {row} is not: {reason}")
        if len(unread) == self.dataset.rows:
            raise DataError(f"{self.dataset.root}: none of {len(unread)} rows can be read; the first: {next(iter(unread.values()))}")
        return unread

    def sweep(
        self, encoders: Mapping[str, Encoder | Ended]
    ) -> tuple[dict[Look, Scorer], dict[Look, Ended], dict[Look, float]]:
        """Sweep the embeddings until every look has its Scorer or has ended; all looks share each sweep."""
        live: dict[Look, Aggregator] = {}
        scorers: dict[Look, Scorer] = {}
        stopped: dict[Look, Ended] = {}
        seconds: dict[Look, float] = {}
        for one in self.plan.looks:
            for name in one.on:
                encoder = encoders[name]
                if isinstance(encoder, Ended):
                    stopped[Look(one.name, name, "")] = encoder
                    continue
                look = Look(one.name, name, encoder.digest)
                first = attempt(one.settings.begin, _schema(self.dataset, encoder))
                if isinstance(first, Ended):
                    stopped[look] = first
                else:
                    live[look] = first
        turn = 0
        while live:
            turn += 1
            start = time.monotonic()
            work = partial(fold_shard, live=live, dataset=self.dataset, folder=self.cache, device=self.device)
            total: dict[Look, Any] | None = None
            for states in self.shards(f"sweep {turn}", work):
                total = states if total is None else merge(live, total, states)
            following: dict[Look, Aggregator] = {}
            for look, one in live.items():
                state = (total or {})[look]
                step = state if isinstance(state, Ended) else attempt(one.finish, moved(state, self.device))
                if isinstance(step, Ended):
                    stopped[look] = step
                elif isinstance(step, Scorer):
                    scorers[look] = step
                else:
                    following[look] = step
            for look in live:
                seconds[look] = seconds.get(look, 0.0) + (time.monotonic() - start) / len(live)
            live = following
        order = {(one.name, name): at for at, (one, name) in enumerate((one, name) for one in self.plan.looks for name in one.on)}
        scorers = dict(sorted(scorers.items(), key=lambda item: order[item[0].detector, item[0].embedder]))
        return scorers, stopped, seconds

    def score(self, scorers: Mapping[Look, Scorer], folder: str) -> tuple[list[tuple[int, int]], dict[Look, Ended]]:
        """Write scores.parquet; the row groups of each shard in it, and the looks that broke while scoring."""
        work = partial(score_shard, scorers=scorers, dataset=self.dataset, folder=self.cache, device=self.device)
        spans: list[tuple[int, int]] = []
        broke: dict[Look, Ended] = {}
        end = 0
        with pq.ParquetWriter(os.path.join(folder, "scores.parquet"), tables.SCORES, compression="zstd") as writer:
            for scored in self.shards("score", work):
                start = end
                for look, one in scored.items():
                    if isinstance(one, Ended):
                        broke[look] = one
                    elif len(one):
                        writer.write_table(one, row_group_size=len(one))
                        end += 1
                spans.append((start, end))
        return spans, broke

    def acquit(
        self, groups: pl.DataFrame, encoders: Mapping[str, Encoder | Ended], folder: str
    ) -> tuple[pl.DataFrame, list[str]]:
        """Suspicious groups that are natural clusters are suspicious no more; a note says so of each."""
        content = encoders.get(self.plan.decide.content)
        members = findings.members(groups, os.path.join(folder, "scores.parquet"), self.plan.decide)
        if content is None or isinstance(content, Ended) or not members:
            return groups, []
        candidates = {key: natural.Candidate(label, rows) for key, (label, rows) in enumerate(members)}
        place: dict[str, Any] = {"dataset": self.dataset, "folder": self.cache, "digest": content.digest}
        outlines = _added(self.shards("outline", partial(natural.outline_shard, groups=candidates, **place)))
        work = partial(natural.neighbours_shard, outlines=outlines, device=self.device, **place)
        nearest = _added(self.shards("neighbours", work))
        notes, acquitted = [], []
        for key, one in candidates.items():
            share = natural.cohesion(nearest[key], one.rows)
            if share >= natural.NATURAL:
                acquitted.append(one.label)
                name = f"class {self.dataset.classes[one.label]}" if one.label >= 0 and self.dataset.classes else "the dataset"
                notes.append(
                    f"{len(one.rows)} rows of {name} stand apart, but {share:.0%} of their nearest neighbours are among "
                    f"themselves even without what they share: taken for a natural cluster (row {one.rows[0]} is one of them)."
                )
        attack = pl.col("kind") != str(Kind.LABEL)
        return groups.with_columns(pl.col("suspicious") & ~(attack & pl.col("label").is_in(acquitted))), notes

    def judge(
        self, groups: pl.DataFrame, spans: Sequence[tuple[int, int]], unread: Mapping[int, str], folder: str
    ) -> dict[tuple[str, str | None], int]:
        """Write samples.parquet and flagged.parquet shard by shard; counts of flagged rows by kind and class."""
        id_type = pa.type_for_alias(self.dataset.id_type) if self.dataset.id_type else None
        schema = tables.samples(id_type)
        counts: dict[tuple[str, str | None], int] = {}
        flagged = [schema.empty_table()]
        with (
            pq.ParquetFile(os.path.join(folder, "scores.parquet")) as scores,
            pq.ParquetWriter(os.path.join(folder, "samples.parquet"), schema, compression="zstd") as writer,
        ):
            for shard, (start, end) in zip(self.dataset.shards, spans, strict=True):
                seen = scores.read_row_groups(list(range(start, end)))
                mine = {row: why for row, why in unread.items() if shard.first_row <= row < shard.first_row + shard.rows}
                judged = findings.judge(identities(self.dataset, shard), seen, groups, mine, self.plan.decide)
                table = findings.samples(judged, self.dataset)
                writer.write_table(table)
                flagged.append(table.filter(table["flagged"]))
                for kind, label, rows in judged.explode("kinds").drop_nulls("kinds").group_by("kinds", "label").len().rows():
                    counts[kind, label] = counts.get((kind, label), 0) + rows
        found = pa.concat_tables(flagged).sort_by([("risk", "descending"), ("row", "ascending")])
        pq.write_table(found, os.path.join(folder, "flagged.parquet"), compression="zstd")
        return counts


def _added(parts: Iterator[dict[int, Any]]) -> dict[int, Any]:
    """Values by key, added up in shard order."""
    total: dict[int, Any] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total[key] + value if key in total else value
    return total


class _Clock:
    """Seconds since the last stage ended, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.last = time.monotonic()

    def __call__(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[stage], self.last = round(now - self.last, 3), now


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise PlanError(f"--device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise PlanError("--device cuda needs a CUDA device and a CUDA build of torch, and there is none here")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _described(dataset: Dataset) -> str:
    roles = dataset.roles
    named = [f"{roles.modality} = {', '.join(roles.payload)}"]
    named += [f"{role} = {name}" for role, name in (("label", roles.label), ("id", roles.id), ("source", roles.source)) if name]
    classes = f"{len(dataset.classes)} classes" if dataset.classes else "no labels"
    return f"columns: {'; '.join(named)} ({dataset.rows} rows, {classes}, {len(dataset.shards)} shards)"


def _seeded(settings: Any, seed: int) -> Embedder:
    """Settings with the audit's seed added to their own, where they have one."""
    seeded: Embedder = replace(settings, seed=settings.seed + seed) if seed and hasattr(settings, "seed") else settings
    return seeded


def _schema(dataset: Dataset, encoder: Encoder) -> Schema:
    labelled = bool(dataset.classes)
    return Schema(encoder.dim, max(1, len(dataset.classes)), labelled, bool(getattr(encoder, "classes", 0)), dataset.rows)


def _tested(look: Look, scorer: Scorer, plan: Plan) -> Tested:
    kind = DETECTORS[next(one.detector for one in plan.looks if one.name == look.detector)]
    return Tested(look.detector, look.embedder, kind.kind, kind.family, scorer.groups)


def _runs(
    plan: Plan,
    encoders: Mapping[str, Encoder | Ended],
    stopped: Mapping[Look, Ended],
    scorers: Mapping[Look, Scorer],
    seconds: Mapping[Look, float],
) -> tuple[Run, ...]:
    """How every look of the plan ended, in the plan's order."""
    runs = []
    for one in plan.looks:
        for name in one.on:
            encoder = encoders[name]
            look = Look(one.name, name, "" if isinstance(encoder, Ended) else encoder.digest)
            end = stopped.get(look) or (None if look in scorers else Ended(Status.FAILED, "it never finished"))
            status, reason = (Status.COMPLETED, "") if end is None else (end.status, end.reason)
            runs.append(Run(one.name, name, status, reason, round(seconds.get(look, 0.0), 3)))
    return tuple(runs)


def _notes(dataset: Dataset, runs: Sequence[Run]) -> tuple[str, ...]:
    """What could not be looked at, in sentences."""
    out = [] if dataset.classes else ["The rows have no labels: attacks on labels, and whatever shows only beside other classes, were not looked for."]
    small = [name for name, rows in zip(dataset.classes, dataset.class_rows, strict=True) if rows < 48]
    if small:
        out.append(f"{len(small)} of {len(dataset.classes)} classes have fewer than 48 rows and were not tested: {', '.join(small[:8])}{', …' if len(small) > 8 else ''}.")
    for run in runs:
        if run.status is not Status.COMPLETED:
            out.append(f"{run.detector} on {run.embedder}: {run.status}: {run.reason}.")
    return tuple(out)


def _versions() -> dict[str, str]:
    out = {"python": platform.python_version()}
    for name in ("foretaste", "torch", "polars", "pyarrow", "cleanlab", "faiss-gpu", "faiss-cpu", "numpy"):
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


__all__ = ["Engine", "ForetasteError", "Here", "Progress", "audit", "quiet"]
