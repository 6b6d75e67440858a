"""Where doubted labels lead: which class each of their rows is believed to belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from foretaste.types.findings import Dataset, Kind

MOST = 24  # pairs of classes


def believed(scores: str, flagged: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The class that the rows flagged for their label are believed to belong to: row, label, believed, all by name.

    `scores` is the path of scores.parquet, `flagged` has the columns of samples.parquet.
    """
    doubted = flagged.filter(pl.col("kinds").list.contains(str(Kind.LABEL))).select("row", "label")
    index = pl.col("evidence").str.json_path_match("$.belongs_to").cast(pl.Float64).cast(pl.Int64)
    names = pl.DataFrame({"index": range(len(dataset.classes)), "believed": dataset.classes}, schema=_NAMES)
    return (
        pl.scan_parquet(scores)
        .select("row", "posterior", "evidence")
        .join(doubted.lazy(), on="row")
        .filter(pl.col("evidence").is_not_null())
        .select("row", "label", "posterior", index.alias("index"))
        .join(names.lazy(), on="index")
        .sort("row", "posterior", descending=[False, True])
        .unique("row", keep="first", maintain_order=True)
        .select("row", "label", "believed")
        .collect()
    )


_NAMES = {"index": pl.Int64, "believed": pl.String}


def pairs(doubts: pl.DataFrame) -> dict[tuple[str, str | None], Sequence[Mapping[str, Any]]]:
    """How many rows lead from which label to which, the most first: of each class, and of all under None."""
    counted = doubts.group_by("label", "believed").agg(pl.len().alias("rows"))
    counted = counted.sort("rows", "label", "believed", descending=[True, False, False])
    kind = str(Kind.LABEL)
    out: dict[tuple[str, str | None], Sequence[Mapping[str, Any]]] = {}
    if len(counted):
        out[kind, None] = counted.head(MOST).to_dicts()
    for part in counted.partition_by("label", maintain_order=True):
        out[kind, part["label"][0]] = part.head(MOST).to_dicts()
    return out
