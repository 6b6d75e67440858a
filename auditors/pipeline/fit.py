"""From rows to vectors: fits the embedders and stores the embeddings of all rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from foretaste.dataset.parquet import payloads
from foretaste.embedders.contract import Embedder, Encoder, GroupedCrossFit
from foretaste.embedders.store import embed_shard
from foretaste.errors import DataError, MissingPackage, NotApplicable, PlanError
from foretaste.pipeline.engine import Job, over_shards
from foretaste.types.runs import Outcome, ended

Encoders = Mapping[str, Encoder | Outcome]  # by the embedder's name in the plan


def train(job: Job, names: Sequence[str], groups: torch.Tensor | None = None) -> dict[str, Encoder | Outcome]:
    """Fit the embedders of these names. Errors that the user must correct are raised, others end the embedder's runs.

    Embedders that are cross-fitted in groups keep the rows of each of the `groups` [N] in one fold.
    """
    out: dict[str, Encoder | Outcome] = {}
    rows = replace(payloads(job.dataset), readable=True)
    for done, name in enumerate(names):
        job.progress("train", done, len(names))
        settings = _seeded(job.plan.embedders[name][1], job.seed)
        try:
            if groups is not None and isinstance(settings, GroupedCrossFit):
                out[name] = settings.fit_folded(rows, job.dataset, job.device, groups)
            else:
                out[name] = settings.fit(rows, job.dataset, job.device)
            if job.dataset.roles.modality not in settings.modalities:
                raise NotApplicable(f"the embedder does not read {job.dataset.roles.modality} rows")
        except (DataError, PlanError, MissingPackage):
            raise
        except Exception as error:  # fails the runs on this embedder only, and is reported
            out[name] = ended(error)
    job.progress("train", len(names), len(names))
    return out


def embed(job: Job, encoders: Encoders) -> dict[int, str]:
    """Store all embeddings; returns the rows that cannot be read, with the reason.

    Raises DataError where no row can be read, or where one cannot and the plan refuses such datasets.
    """
    ready = list(fitted(encoders).values())
    work = partial(embed_shard, dataset=job.dataset, encoders=ready, folder=job.store)
    unread: dict[int, str] = {}
    for shard, table in zip(job.dataset.shards, over_shards(job, "embed", work), strict=True):
        unread |= dict(zip(table["row"].to_pylist(), table["reason"].to_pylist(), strict=True))
        if unread and job.plan.decide.broken_rows == "refuse":
            row, reason = next(iter(unread.items()))
            raise DataError(f"{shard.file.name}: every row must be readable, row {row} is not: {reason}")
    if len(unread) == job.dataset.rows:
        raise DataError(
            f"{job.dataset.root}: none of {len(unread)} rows can be read; the first: {next(iter(unread.values()))}"
        )
    return unread


def fitted(encoders: Encoders) -> dict[str, Encoder]:
    """The encoders that were fitted."""
    return {name: encoder for name, encoder in encoders.items() if not isinstance(encoder, Outcome)}


def _seeded(settings: Any, seed: int) -> Embedder:
    """Settings with the seed of the audit added to their own, if they have one."""
    seeded: Embedder = replace(settings, seed=settings.seed + seed) if seed and hasattr(settings, "seed") else settings
    return seeded
