"""Coverage: how many rows a run really tested. A class with too few rows is not, though the run completed."""

from __future__ import annotations

import polars as pl

from foretaste.types.dataset import Dataset
from foretaste.types.findings import Kind

Rows = dict[tuple[str, str], int]  # by the check and the embedder of a run
ATTACKS = [str(kind) for kind in Kind if kind.fails_audit]


def rows_tested(groups: pl.DataFrame, dataset: Dataset) -> Rows:
    """The rows in the classes that each run tested; all rows where the dataset has fewer than two classes.

    `groups` as of decide/significance.py. A test of all classes together is none of a class, so it does not count.
    """
    tested = groups.filter(pl.col("tested")).unique(["detector", "embedder", "label"])
    out: Rows = {}
    for check, embedder, label in tested.select("detector", "embedder", "label").iter_rows():
        if len(dataset.classes) < 2:
            out[check, embedder] = dataset.rows
        elif label >= 0:
            out[check, embedder] = out.get((check, embedder), 0) + dataset.class_rows[label]
    return out


def rows_tested_for_attacks(groups: pl.DataFrame, dataset: Dataset) -> int:
    """The most rows that any run tested for an attack; 0 where nothing was tested."""
    return max(rows_tested(groups.filter(pl.col("kind").is_in(ATTACKS)), dataset).values(), default=0)
