"""Scores of every row by every run, and the decision on each row."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from foretaste.cache import Store
from foretaste.dataset.parquet import identities
from foretaste.decide import row_posteriors
from foretaste.detectors.contract import Scorer
from foretaste.embedders.store import read_shard, stored
from foretaste.errors import DetectorError
from foretaste.pipeline.engine import Job, over_shards
from foretaste.pipeline.sweep import attempt
from foretaste.types import tables
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.runs import Outcome, RunKey

SCORES, SAMPLES, FLAGGED = "scores.parquet", "samples.parquet", "flagged.parquet"


def score(
    job: Job, scorers: Mapping[RunKey, Scorer], folder: str, *, beliefs: str
) -> tuple[list[tuple[int, int]], dict[RunKey, Outcome]]:
    """Write scores.parquet; returns the row groups of each shard in it, and the runs that failed while scoring.

    `beliefs` is the identity of the encoder whose class probabilities every batch carries, "" for none.
    """
    work = partial(
        score_shard, scorers=scorers, dataset=job.dataset, folder=job.store, device=job.device, beliefs=beliefs
    )
    spans: list[tuple[int, int]] = []
    broke: dict[RunKey, Outcome] = {}
    end = 0
    with pq.ParquetWriter(os.path.join(folder, SCORES), tables.SCORES, compression="zstd") as writer:
        for scored in over_shards(job, "score", work):
            start = end
            for run, table in scored.items():
                if isinstance(table, Outcome):
                    broke[run] = table
                elif len(table):
                    writer.write_table(table, row_group_size=len(table))
                    end += 1
            spans.append((start, end))
    return spans, broke


def score_shard(
    shard: Shard,
    *,
    scorers: Mapping[RunKey, Scorer],
    dataset: Dataset,
    folder: Store,
    device: torch.device,
    beliefs: str = "",
) -> dict[RunKey, pa.Table | Outcome]:
    """The scores of every row of a shard by every run, in the schema tables.SCORES; `beliefs` as in fold_shard."""
    believed = stored(folder, dataset, shard, beliefs) if beliefs else None
    out: dict[RunKey, pa.Table | Outcome] = {}
    for run, scorer in scorers.items():
        parts = []
        for batch in read_shard(stored(folder, dataset, shard, run.digest), shard, device=device, beliefs=believed):
            part = attempt(_scored, scorer, batch, run)
            parts.append(part)
            if isinstance(part, Outcome):
                break
        stopped = next((part for part in parts if isinstance(part, Outcome)), None)
        out[run] = stopped or (pa.concat_tables(parts) if parts else tables.SCORES.empty_table())
    return out


def _scored(scorer: Scorer, batch: Batch, run: RunKey) -> pa.Table:
    scores = scorer.score(batch)
    if len(scores.value) != len(batch):
        raise DetectorError(f"{run.check} gave {len(scores.value)} scores for {len(batch)} rows")
    rows = len(batch)

    def column(value: Tensor) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = value.cpu().numpy()
        return array

    names = sorted(scores.evidence)
    evidence = pa.nulls(rows, pa.string())
    if names:
        import polars as pl

        frame = pl.DataFrame({name: column(scores.evidence[name].float()) for name in names})
        text = pl.struct(pl.all().round(4)).struct.json_encode()
        evidence = frame.select(text.alias("json"))["json"].to_arrow().cast(pa.string())
    name = pa.dictionary(pa.int32(), pa.string())
    zero = pa.array(np.zeros(rows, dtype=np.int32))
    return pa.table(
        {
            "row": column(batch.row),
            "detector": pa.DictionaryArray.from_arrays(zero, pa.array([run.check])).cast(name),
            "embedder": pa.DictionaryArray.from_arrays(zero, pa.array([run.embedder])).cast(name),
            "score": column(scores.value.float()),
            "p_value": column(scores.p_value.double()),
            "posterior": column(scores.posterior.float()),
            "group": column(scores.group),
            "evidence": evidence,
        },
        schema=tables.SCORES,
    )


def judge(
    job: Job, groups: pl.DataFrame, spans: Sequence[tuple[int, int]], unread: Mapping[int, str], folder: str
) -> dict[tuple[str, str | None], int]:
    """Write samples.parquet and flagged.parquet shard by shard; returns counts of flagged rows by kind and class.

    groups  the table of significance.significance, after all decisions
    spans   the row groups of each shard in scores.parquet
    unread  the rows that cannot be read, with the reason
    """
    dataset = job.dataset
    id_type = pa.type_for_alias(dataset.id_type) if dataset.id_type else None
    schema = tables.samples(id_type)
    counts: dict[tuple[str, str | None], int] = {}
    flagged = [schema.empty_table()]
    with (
        pq.ParquetFile(os.path.join(folder, SCORES)) as scores,
        pq.ParquetWriter(os.path.join(folder, SAMPLES), schema, compression="zstd") as writer,
    ):
        for shard, (start, end) in zip(dataset.shards, spans, strict=True):
            scored = scores.read_row_groups(list(range(start, end)))
            rows = range(shard.first_row, shard.first_row + shard.rows)
            broken = {row: why for row, why in unread.items() if row in rows}
            judged = row_posteriors.judge(identities(dataset, shard), scored, groups, broken, job.plan.decide)
            table = row_posteriors.samples(judged, dataset)
            writer.write_table(table)
            flagged.append(table.filter(table["flagged"]))
            for kind, label, number in (
                judged.explode("kinds").drop_nulls("kinds").group_by("kinds", "label").len().rows()
            ):
                counts[kind, label] = counts.get((kind, label), 0) + number
    found = pa.concat_tables(flagged).sort_by([("risk", "descending"), ("row", "ascending")])
    pq.write_table(found, os.path.join(folder, FLAGGED), compression="zstd")
    return counts
