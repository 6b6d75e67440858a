"""The decision on the tested groups: suspicious, watched, or neither."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial, reduce
from operator import add
from typing import Any, TypeVar

import polars as pl
import torch

from foretaste.cache import Store
from foretaste.decide import corroboration, explaining_away, incremental, significance
from foretaste.decide.incremental import Recency
from foretaste.decide.natural_clusters import (
    Candidate,
    NeighbourShares,
    Outline,
    Sample,
    Sums,
    acquitted,
    candidates,
    evenly_spaced,
    projected_out,
    shares,
)
from foretaste.decide.settings import NaturalClusters
from foretaste.decide.significance import RunTests
from foretaste.detectors.contract import Scorer
from foretaste.embedders.store import identity, read_shard, stored
from foretaste.pipeline.engine import Job, over_shards
from foretaste.pipeline.fit import Encoders
from foretaste.pipeline.plan import Plan
from foretaste.pipeline.scoring import SCORES
from foretaste.stats.neighbours import Neighbours
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.runs import Outcome, RunKey

K = TypeVar("K")


def tests(plan: Plan, scorers: Mapping[RunKey, Scorer]) -> list[RunTests]:
    """The groups that every run tested, with the claim of its detector."""
    claims = {check.name: check.settings.claim for check in plan.checks}
    out = []
    for run, scorer in scorers.items():
        claim = claims[run.check]
        out.append(
            RunTests(
                run.check,
                run.embedder,
                claim.kind,
                claim.family.name,
                claim.names_rows,
                claim.acquittable,
                scorer.groups,
            )
        )
    return out


def decide(
    job: Job, scorers: Mapping[RunKey, Scorer], encoders: Encoders, folder: str, recent: Recency | None = None
) -> tuple[pl.DataFrame, list[str]]:
    """The tested groups after all decisions, and a note on each class with an acquitted group.

    In this order: p-values are combined by class and corrected (significance); watched groups whose rows are new or
    changed since an earlier audit, `recent`, become suspicious (incremental); natural clusters are acquitted
    (natural_clusters); runs that flag other rows than those their class is suspicious for are dropped (corroboration);
    groups that another finding accounts for are dropped (explaining_away). `folder` has scores.parquet.
    """
    settings, scores, dataset = job.plan.decide, os.path.join(folder, SCORES), job.dataset
    groups = significance.significance(tests(job.plan, scorers), settings)
    if recent is not None:
        groups = incremental.promoted(groups, scores, dataset, recent, settings)
    members = significance.members(groups, scores, settings)
    found = candidates(groups, members)
    groups, notes = acquitted(groups, found, neighbour_shares(job, found, encoders), dataset, settings.natural)
    members = significance.members(groups, scores, settings)
    groups = corroboration.corroborated(groups, members, settings)
    return explaining_away.explained_away(groups, members, dataset.class_rows, settings.explaining), notes


def neighbour_shares(
    job: Job, groups: Mapping[K, Candidate], encoders: Encoders
) -> dict[K, tuple[NeighbourShares, ...]]:
    """Where the nearest neighbours of each group lie, in each of the views of the content that there are."""
    settings = job.plan.decide
    views = [encoders.get(name) for name in dict.fromkeys((settings.content, settings.colour))]
    content = [encoder for encoder in views if encoder is not None and not isinstance(encoder, Outcome)]
    found = [_neighbour_shares(job, groups, identity(encoder)) for encoder in content] if groups else []
    return {key: tuple(view[key] for view in found) for key in groups} if found else {}


def _neighbour_shares(job: Job, groups: Mapping[K, Candidate], digest: str) -> dict[K, NeighbourShares]:
    numbered = dict(enumerate(groups.values()))
    place: dict[str, Any] = {"groups": numbered, "dataset": job.dataset, "folder": job.store, "digest": digest}
    settings = job.plan.decide.natural
    work: Any = partial(outline_shard, sample=settings.sample, **place)
    outline: Outline = reduce(add, (part for part in over_shards(job, "outline", work) if part is not None))
    work = partial(neighbours_shard, outline=outline, settings=settings, device=job.device, **place)
    nearest: dict[int, Neighbours] = reduce(_added, (part for part in over_shards(job, "neighbours", work) if part))
    return {
        key: shares(nearest[at], group, job.dataset, labels=outline.groups[at].labels)
        for at, (key, group) in enumerate(groups.items())
    }


def outline_shard(
    shard: Shard, *, groups: Mapping[int, Candidate], sample: int, dataset: Dataset, folder: Store, digest: str
) -> Outline | None:
    """The classes and the groups in one shard; `sample` rows of a group are queries. None if no row can be read."""
    members = {key: torch.tensor(group.rows) for key, group in groups.items()}
    queries = {key: evenly_spaced(group.rows, sample) for key, group in groups.items()}
    classes = len(dataset.classes)
    parts: list[Outline] = []
    for batch in read_shard(stored(folder, dataset, shard, digest), shard, device=torch.device("cpu")):
        samples = {}
        for key, rows in members.items():
            inside, wanted = torch.isin(batch.row, rows), torch.isin(batch.row, queries[key])
            samples[key] = Sample.of(batch, inside, wanted, classes)
        parts.append(Outline(Sums.of(batch.embedding, batch.label, classes), samples))
    return reduce(add, parts) if parts else None


def neighbours_shard(
    shard: Shard,
    *,
    groups: Mapping[int, Candidate],
    outline: Outline,
    settings: NaturalClusters,
    dataset: Dataset,
    folder: Store,
    digest: str,
    device: torch.device,
) -> dict[int, Neighbours]:
    """The nearest rows of one shard to the sampled rows of every group, after the group's pattern is projected out.

    Empty if no row can be read.
    """
    free = {key: outline.free(key, group.label, settings.flat) for key, group in groups.items()}
    axes = {key: outline.axes(key, group.label, free[key], settings.sources) for key, group in groups.items()}
    parts: list[dict[int, Neighbours]] = []
    for batch in read_shard(stored(folder, dataset, shard, digest), shard, device=device):
        found = {}
        for key, sample in outline.groups.items():
            pattern, kept, row = axes[key].to(device), free[key].to(device), sample.row.to(device)
            query, value = (projected_out(part * kept, pattern) for part in (sample.query.to(device), batch.embedding))
            found[key] = Neighbours.among(query, row, value, batch.row, batch.label, settings.neighbours)
        parts.append(found)
    return reduce(_added, parts) if parts else {}


def _added(left: dict[int, Neighbours], right: dict[int, Neighbours]) -> dict[int, Neighbours]:
    return {key: one + right[key] for key, one in left.items()}
