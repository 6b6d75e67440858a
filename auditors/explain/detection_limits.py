"""Detection limits: how strong a pattern must be, and on how many rows, for an audit to find it in a class.

A detector that compares each class with the others knows the null distribution of its statistic. The quantile at the
corrected level says how far out the rows of a pattern would have to lie for a single run to make their class
suspicious, in this dataset, with this plan and false discovery rate. Nothing is planted: how far a given attack moves
its rows is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from foretaste.decide.settings import Decide
from foretaste.detectors.contract import Detector
from foretaste.detectors.sweeps.two_component import Decomposes
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Kind

# The evidence of such a detector: how far out a group lies, as a multiple of the other classes, and location, scale and
# shape of the extreme value distribution that the logarithm of this follows in innocent groups.
MEASURE = "evidence_times_farther_out"
NULL = ("evidence_null_place", "evidence_null_scale", "evidence_null_shape")
MOST = 1000  # classes listed


def needed(tested: pl.DataFrame, decide: Decide) -> pl.DataFrame:
    """The table of significance.significance with the column `needed`: the MEASURE that makes a group suspicious.

    For a pattern that a single run finds in a single class, Simes and Benjamini-Hochberg both reduce to the Bonferroni
    level fdr / (runs on the class * classes). Null where the null distribution is not known.
    """
    if not {*NULL} <= {*tested.columns}:
        return tested.with_columns(pl.lit(None, dtype=pl.Float64).alias("needed"))
    attack = pl.col("kind") != str(Kind.LABEL)
    runs = pl.len().over("label", attack)
    classes = pl.col("label").n_unique().over(attack)
    place, scale, shape = (pl.col(name) for name in NULL)
    rare = (runs * classes).cast(pl.Float64).log() - math.log(decide.fdr)  # -log of the level
    far = pl.when(shape > 0).then(((shape * rare).exp() - 1) / shape).otherwise(rare)
    return tested.with_columns(pl.when(scale > 0).then((place + scale * far).exp()).alias("needed"))


def power(tested: pl.DataFrame, dataset: Dataset, decide: Decide, detectors: Mapping[str, Detector]) -> dict[str, Any]:
    """The detection limits in report.json; empty where no run knows its null distribution.

    fewest    smallest number of rows of a pattern, whatever its strength
    untested  classes that were not tested, with their numbers of rows
    classes   for each tested class the run with the largest ratio of `reached` to `needed`: `needed` is how far out,
              as a multiple of the other classes, a pattern must move its rows, `reached` how far out the class is
    """
    table = needed(tested, decide).filter(pl.col("needed").is_not_null() & (pl.col("label") >= 0))
    if table.is_empty():
        return {}
    close = (pl.col(MEASURE) / pl.col("needed")).alias("close")
    ranked = table.with_columns(close).sort("close", "detector", "embedder", descending=[True, False, False])
    best = ranked.unique("label", keep="first", maintain_order=True).sort("label")
    classes = [
        {
            "class": dataset.classes[group["label"]],
            "rows": dataset.class_rows[group["label"]],
            "needed": round(group["needed"], 2),
            "reached": round(group[MEASURE], 2),
            "detector": group["detector"],
            "embedder": group["embedder"],
        }
        for group in best.iter_rows(named=True)
    ]
    names = {one["class"] for one in classes}
    sizes = zip(dataset.classes, dataset.class_rows, strict=True)
    untested = [{"class": name, "rows": rows} for name, rows in sizes if name not in names]
    fewest = min((one.decomposition.fewest for one in detectors.values() if isinstance(one, Decomposes)), default=1)
    return {"fewest": fewest, "classes": classes[:MOST], "untested": untested[:MOST]}
