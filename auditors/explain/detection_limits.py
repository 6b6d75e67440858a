"""What an audit could have missed: how strong a pattern must be, in how many rows, to be found in each class.

The looks that hold every class against the others say by which law innocent classes are spread. Turned round, it says
how far out the rows of a pattern would have to lie for this dataset, this plan and this false discovery rate to call
their class suspicious by a single look. Nothing is planted: how far a real attack moves its rows is another question.
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

# A detector that knows the law of its statistic says of each group how far out it lies, and the place and scale of the
# Gumbel law that the logarithm of that follows in innocent groups.
MEASURE = "evidence_times_farther_out"
LAW = ("evidence_null_place", "evidence_null_scale")
MOST = 1000  # classes listed


def needed(tested: pl.DataFrame, decide: Decide) -> pl.DataFrame:
    """The table of suspects.significance with `needed`: how many times as far out as other classes a group must reach.

    One class alone in one look must pass Simes over the looks at it and Benjamini-Hochberg over the classes. Null where
    a look does not know the law of its statistic.
    """
    if not {*LAW} <= {*tested.columns}:
        return tested.with_columns(pl.lit(None, dtype=pl.Float64).alias("needed"))
    attack = pl.col("kind") != str(Kind.LABEL)
    looks = pl.len().over("label", attack)
    classes = pl.col("label").n_unique().over(attack)
    place, scale = (pl.col(name) for name in LAW)
    return tested.with_columns(
        pl.when(scale > 0)
        .then((place - scale * (math.log(decide.fdr) - (looks * classes).cast(pl.Float64).log())).exp())
        .alias("needed")
    )


def power(tested: pl.DataFrame, dataset: Dataset, decide: Decide, detectors: Mapping[str, Detector]) -> dict[str, Any]:
    """What report.json says of it; empty where no look knows the law of its statistic.

    fewest    rows that a pattern must be on, whatever its strength
    untested  classes too small to be tested, with their rows
    classes   for each tested class the look that comes closest to suspecting it, how many times as far out as other
              classes a pattern must carry its rows there, and how far out the class reaches as it is
    """
    table = needed(tested, decide).filter(pl.col("needed").is_not_null() & (pl.col("label") >= 0))
    if table.is_empty():
        return {}
    close = (pl.col(MEASURE) / pl.col("needed")).alias("close")
    ranked = table.with_columns(close).sort("close", "detector", "embedder", descending=[True, False, False])
    best = ranked.unique("label", keep="first", maintain_order=True).sort("label")
    classes = [
        {
            "class": dataset.classes[one["label"]],
            "rows": dataset.class_rows[one["label"]],
            "needed": round(one["needed"], 2),
            "reached": round(one[MEASURE], 2),
            "detector": one["detector"],
            "embedder": one["embedder"],
        }
        for one in best.iter_rows(named=True)
    ]
    seen = {one["class"] for one in classes}
    sizes = zip(dataset.classes, dataset.class_rows, strict=True)
    untested = [{"class": name, "rows": rows} for name, rows in sizes if name not in seen]
    fewest = min((one.decomposition.fewest for one in detectors.values() if isinstance(one, Decomposes)), default=1)
    return {"fewest": fewest, "classes": classes[:MOST], "untested": untested[:MOST]}
