"""The stages of an audit over the shards of a dataset: train, embed, sweep, score, judge."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeVar

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from foretaste.dataset.parquet import identities, payloads
from foretaste.decide import natural_clusters, row_posteriors
from foretaste.embedders.contract import Aggregator, Embedder, Encoder, GroupedCrossFit, Scorer
from foretaste.errors import DataError, MissingPackage, NotApplicable, PlanError
from foretaste.pipeline.plan import Plan
from foretaste.pipeline.runs import Swept
from foretaste.pipeline.sweep import Outcome, RunKey, attempt, embed_shard, ended, fold_shard, merge, moved, score_shard
from foretaste.types import tables
from foretaste.types.findings import Dataset, Schema, Shard, Status

T = TypeVar("T")
R = TypeVar("R")
K = TypeVar("K")

Progress = Callable[[str, int, int], None]


def quiet(stage: str, done: int, total: int) -> None:
    """The progress of somebody who does not want to know."""


class Engine(Protocol):
    """Where the work on shards runs. Results come in the order of the items, each as soon as it can."""

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]: ...


@dataclass(frozen=True)
class Here:
    """One item after the other in this process; torch, polars and faiss use the cores anyway."""

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]:
        del stage, names
        return map(work, items)


@dataclass(frozen=True)
class Stages:
    """The stages of one audit: train, embed, sweep, score, judge."""

    dataset: Dataset
    plan: Plan
    seed: int
    device: torch.device
    engine: Engine
    progress: Progress
    cache: str

    def shards(self, stage: str, work: Callable[[Shard], R]) -> Iterator[R]:
        shards = self.dataset.shards
        self.progress(stage, 0, len(shards))
        names = [f"{shard.file.name} rows {shard.first_row_in_file}+{shard.rows}" for shard in shards]
        for done, result in enumerate(self.engine.map(stage, work, shards, names), 1):
            self.progress(stage, done, len(shards))
            yield result

    def train(self, names: Sequence[str], together: torch.Tensor | None = None) -> dict[str, Encoder | Outcome]:
        """Fit the embedders of these names. What the user must mend is raised, what does not apply is reported.

        Folded ones are fitted with the groups of rows `together` [N], where there are any.
        """
        out: dict[str, Encoder | Outcome] = {}
        rows = payloads(self.dataset)
        for done, name in enumerate(names):
            self.progress("train", done, len(names))
            settings = _seeded(self.plan.embedders[name][1], self.seed)
            try:
                if together is not None and isinstance(settings, GroupedCrossFit):
                    out[name] = settings.fit_folded(rows, self.dataset, self.device, together)
                else:
                    out[name] = settings.fit(rows, self.dataset, self.device)
                if self.dataset.roles.modality not in settings.modalities:
                    raise NotApplicable(f"the embedder does not read {self.dataset.roles.modality} rows")
            except (DataError, PlanError, MissingPackage):
                raise
            except Exception as error:  # an embedder that breaks fails its own runs, and the report says so
                out[name] = ended(error)
        self.progress("train", len(names), len(names))
        return out

    def embed(self, encoders: Mapping[str, Encoder | Outcome]) -> dict[int, str]:
        """Store all embeddings; the rows that cannot be read, with the reason."""
        ready = [one for one in encoders.values() if not isinstance(one, Outcome)]
        work = partial(embed_shard, dataset=self.dataset, encoders=ready, folder=self.cache)
        unread: dict[int, str] = {}
        for shard, table in zip(self.dataset.shards, self.shards("embed", work), strict=True):
            unread |= dict(zip(table["row"].to_pylist(), table["reason"].to_pylist(), strict=True))
            if unread and self.plan.decide.broken_rows == "refuse":
                row, reason = next(iter(unread.items()))
                raise DataError(f"{shard.file.name}: every row must be readable, row {row} is not: {reason}")
        if len(unread) == self.dataset.rows:
            raise DataError(
                f"{self.dataset.root}: none of {len(unread)} rows can be read; the first: {next(iter(unread.values()))}"
            )
        return unread

    def company(
        self, candidates: Mapping[K, natural_clusters.Candidate], encoders: Mapping[str, Encoder | Outcome]
    ) -> dict[K, natural_clusters.NeighbourShares]:
        """Among whom the rows of each group lie by their content; of none where the plan has no content."""
        content = encoders.get(self.plan.decide.content)
        if content is None or isinstance(content, Outcome) or not candidates:
            return {}
        groups = dict(enumerate(candidates.values()))
        place: dict[str, Any] = {"dataset": self.dataset, "folder": self.cache, "digest": content.digest}
        outlines = _added(self.shards("outline", partial(natural_clusters.outline_shard, groups=groups, **place)))
        work = partial(natural_clusters.neighbours_shard, outlines=outlines, device=self.device, **place)
        nearest = _added(self.shards("neighbours", work))
        return {
            key: natural_clusters.neighbour_shares(nearest[at], outlines[at].row, one, self.dataset)
            for at, (key, one) in enumerate(candidates.items())
        }

    def sweep(self, encoders: Mapping[str, Encoder | Outcome], known: Swept | None = None) -> Swept:
        """Sweep the embeddings until every look has its Scorer or has ended; `known` looks have theirs already."""
        beliefs = self.beliefs(encoders)
        live, stopped = self.begun(encoders, believed=bool(beliefs))
        have = {} if known is None else {look: one for look, one in known.scorers.items() if look in live}
        swept = self.swept({look: one for look, one in live.items() if look not in have}, "sweep", beliefs=beliefs)
        order = {
            (one.name, name): at
            for at, (one, name) in enumerate((one, name) for one in self.plan.looks for name in one.on)
        }
        scorers = {**have, **swept.scorers}
        scorers = dict(sorted(scorers.items(), key=lambda item: order[item[0].detector, item[0].embedder]))
        seconds = {**({} if known is None else known.seconds), **swept.seconds}
        return Swept(scorers, {**stopped, **swept.stopped}, seconds)

    def begun(
        self, encoders: Mapping[str, Encoder | Outcome], *, believed: bool
    ) -> tuple[dict[RunKey, Aggregator], dict[RunKey, Outcome]]:
        """The first step of every look at these encoders, or how it ended."""
        live: dict[RunKey, Aggregator] = {}
        stopped: dict[RunKey, Outcome] = {}
        for one in self.plan.looks:
            for name in one.on:
                encoder = encoders.get(name)
                if encoder is None:
                    continue
                if isinstance(encoder, Outcome):
                    stopped[RunKey(one.name, name, "")] = encoder
                    continue
                look = RunKey(one.name, name, encoder.digest)
                first = attempt(one.settings.begin, _schema(self.dataset, encoder, believed=believed))
                if isinstance(first, Outcome):
                    # What does not apply for want of beliefs that failed has failed: it could not say "clean".
                    lost = encoders.get(self.plan.decide.beliefs)
                    failed = isinstance(lost, Outcome) and lost.status is Status.FAILED
                    stopped[look] = lost if failed and isinstance(lost, Outcome) else first
                else:
                    live[look] = first
        return live, stopped

    def swept(self, live: dict[RunKey, Aggregator], stage: str, *, beliefs: str) -> Swept:
        """Sweep by sweep, shared by all looks, until each of them is through."""
        scorers: dict[RunKey, Scorer] = {}
        stopped: dict[RunKey, Outcome] = {}
        seconds: dict[RunKey, float] = {}
        turn = 0
        while live:
            turn += 1
            start = time.monotonic()
            work = partial(
                fold_shard, live=live, dataset=self.dataset, folder=self.cache, device=self.device, beliefs=beliefs
            )
            total: dict[RunKey, Any] | None = None
            for states in self.shards(f"{stage} {turn}", work):
                total = states if total is None else merge(live, total, states)
            following: dict[RunKey, Aggregator] = {}
            for look, aggregator in live.items():
                state = (total or {})[look]
                step = (
                    state if isinstance(state, Outcome) else attempt(_finished, aggregator, moved(state, self.device))
                )
                if isinstance(step, Outcome):
                    stopped[look] = step
                elif isinstance(step, Scorer):
                    scorers[look] = step
                else:
                    following[look] = step
            for look in live:
                seconds[look] = seconds.get(look, 0.0) + (time.monotonic() - start) / len(live)
            live = following
        return Swept(scorers, stopped, seconds)

    def beliefs(self, encoders: Mapping[str, Encoder | Outcome]) -> str:
        """Digest of the encoder whose class probabilities go with every view; "" where there is none."""
        name = self.plan.decide.beliefs
        encoder = encoders.get(name)
        if encoder is None or isinstance(encoder, Outcome):
            return ""
        if not getattr(encoder, "classes", 0):
            raise PlanError(
                f"[decide] beliefs must name an embedder that estimates class probabilities, {name!r} does not"
            )
        return encoder.digest

    def score(
        self, scorers: Mapping[RunKey, Scorer], encoders: Mapping[str, Encoder | Outcome], folder: str
    ) -> tuple[list[tuple[int, int]], dict[RunKey, Outcome]]:
        """Write scores.parquet; the row groups of each shard in it, and the looks that broke while scoring."""
        work = partial(
            score_shard,
            scorers=scorers,
            dataset=self.dataset,
            folder=self.cache,
            device=self.device,
            beliefs=self.beliefs(encoders),
        )
        spans: list[tuple[int, int]] = []
        broke: dict[RunKey, Outcome] = {}
        end = 0
        with pq.ParquetWriter(os.path.join(folder, "scores.parquet"), tables.SCORES, compression="zstd") as writer:
            for scored in self.shards("score", work):
                start = end
                for look, one in scored.items():
                    if isinstance(one, Outcome):
                        broke[look] = one
                    elif len(one):
                        writer.write_table(one, row_group_size=len(one))
                        end += 1
                spans.append((start, end))
        return spans, broke

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
                mine = {
                    row: why for row, why in unread.items() if shard.first_row <= row < shard.first_row + shard.rows
                }
                judged = row_posteriors.judge(identities(self.dataset, shard), seen, groups, mine, self.plan.decide)
                table = row_posteriors.samples(judged, self.dataset)
                writer.write_table(table)
                flagged.append(table.filter(table["flagged"]))
                for kind, label, rows in (
                    judged.explode("kinds").drop_nulls("kinds").group_by("kinds", "label").len().rows()
                ):
                    counts[kind, label] = counts.get((kind, label), 0) + rows
        found = pa.concat_tables(flagged).sort_by([("risk", "descending"), ("row", "ascending")])
        pq.write_table(found, os.path.join(folder, "flagged.parquet"), compression="zstd")
        return counts


def _finished(aggregator: Aggregator, state: Any) -> Aggregator | Scorer:
    """The next step. Groups that break the contract break here, where only the run that made them fails."""
    step = aggregator.finish(state)
    getattr(step, "groups", None)
    return step


def _added(parts: Iterator[dict[int, Any]]) -> dict[int, Any]:
    """Values by key, added up in shard order."""
    total: dict[int, Any] = {}
    for part in parts:
        for key, value in part.items():
            total[key] = total[key] + value if key in total else value
    return total


def _seeded(settings: Any, seed: int) -> Embedder:
    """Settings with the audit's seed added to their own, where they have one."""
    seeded: Embedder = replace(settings, seed=settings.seed + seed) if seed and hasattr(settings, "seed") else settings
    return seeded


def _schema(dataset: Dataset, encoder: Encoder, *, believed: bool) -> Schema:
    labelled = bool(dataset.classes)
    probs = believed or bool(getattr(encoder, "classes", 0))
    return Schema(encoder.dim, max(1, len(dataset.classes)), labelled, probs, dataset.rows)
