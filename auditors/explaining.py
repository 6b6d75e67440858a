"""Explaining away (Pearl 1988): what one finding accounts for is no evidence for another.

Rows with a trigger and a false label look like rows of other classes as flipped labels do. Whoever counts such rows
finds too many in the class; but to a model that has learned the trigger from the others they look right, and the rows
that it doubts instead are innocent.
"""

from __future__ import annotations

import polars as pl

RELABELLING = "relabelling"
HALF = 0.5  # of the rows that seem to come from other classes: as many that share a pattern account for them


def away(groups: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """The tested `groups`, where false labels that a class's pattern accounts for are suspicious no more.

    groups   as `findings.significance` gives them
    members  as `findings.members` gives them: the rows flagged in each suspicious group
    """
    if "evidence_foreign_rows" not in groups.columns:
        return groups
    patterned = (
        groups.filter(pl.col("suspicious") & (pl.col("family") != RELABELLING))
        .join(
            members.select("detector", "embedder", "group", pl.col("rows").list.len()),
            on=["detector", "embedder", "group"],
        )
        .group_by("label")
        .agg(pl.col("rows").max().alias("patterned"))
    )
    accounted = (
        (pl.col("family") == RELABELLING)
        & (pl.col("patterned").fill_null(0) >= HALF * pl.col("evidence_foreign_rows"))
        & pl.col("patterned").is_not_null()
    )
    out = groups.join(patterned, on="label", how="left", maintain_order="left")
    return out.with_columns(
        pl.col("suspicious") & ~accounted.fill_null(False), pl.col("watched") & ~accounted.fill_null(False)
    ).drop("patterned")
