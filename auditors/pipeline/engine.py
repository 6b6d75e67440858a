"""The job that every stage of an audit receives, and the engine that runs its work on shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from foretaste.cache import Store
from foretaste.pipeline.plan import Plan
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.progress import Progress

T = TypeVar("T")
R = TypeVar("R")


class Engine(Protocol):
    """Runs the work on shards. Results are returned in the order of the items, each as soon as it is available."""

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]: ...


@dataclass(frozen=True)
class InProcess:
    """One item after the other in this process; torch, polars and faiss already use all cores."""

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]:
        del stage, names
        return map(work, items)


@dataclass(frozen=True)
class Job:
    """An audit to be done.

    seed   added to the seeds of everything that is trained
    store  where embeddings are stored
    """

    dataset: Dataset
    plan: Plan
    seed: int
    device: torch.device
    engine: Engine
    progress: Progress
    store: Store


def over_shards(job: Job, stage: str, work: Callable[[Shard], R]) -> Iterator[R]:
    """The results of `work` on every shard, in shard order."""
    shards = job.dataset.shards
    job.progress(stage, 0, len(shards))
    names = [f"{shard.file.name} rows {shard.first_row_in_file}+{shard.rows}" for shard in shards]
    for done, result in enumerate(job.engine.map(stage, work, shards, names), 1):
        job.progress(stage, done, len(shards))
        yield result
