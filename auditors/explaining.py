"""Explaining away (Pearl 1988): what one finding accounts for is no evidence for another.

Rows with a trigger and a false label look like rows of other classes as flipped labels do. Whoever counts such rows
finds too many in the class; but to a model that has learned the trigger from the others they look right, and the rows
that it doubts instead are innocent. Likewise the doubted rows of one class are among all doubted rows: what they share
is no pattern of all classes, and the rows of other classes that come closest to it are innocent.
"""

from __future__ import annotations

import polars as pl

from auditors.findings import GROUP

RELABELLING = "relabelling"
HALF = 0.5  # of the rows that another finding is about: as many account for it


def away(groups: pl.DataFrame, members: pl.DataFrame) -> pl.DataFrame:
    """The tested `groups` without the suspicion that a pattern in one class accounts for.

    groups   as `findings.significance` gives them
    members  as `findings.members` gives them: the rows flagged in each suspicious group
    """
    suspicious = groups.filter("suspicious", pl.col("family") != RELABELLING).select(*GROUP)
    flagged = members.join(suspicious, on=GROUP).explode("rows")
    patterned = flagged.filter(pl.col("label") >= 0).group_by("label").agg(pl.col("rows").unique().alias("patterned"))
    if patterned.is_empty():
        return groups
    out = groups.join(patterned, on="label", how="left", maintain_order="left")
    mine = pl.col("patterned").list.len().fill_null(0)
    relabelled = pl.lit(value=False)
    if "evidence_foreign_rows" in groups.columns:
        enough = mine >= HALF * pl.col("evidence_foreign_rows")
        relabelled = (
            (pl.col("family") == RELABELLING) & pl.col("patterned").is_not_null() & enough.fill_null(value=False)
        )
    # A row of a class that is the more suspicious itself counts there, but is one of all classes' rows as well.
    everywhere = suspicious.join(groups.filter(pl.col("label") < 0).select(*GROUP), on=GROUP)
    shown = everywhere.join(flagged.select("detector", "embedder", "rows"), on=["detector", "embedder"])
    shares = [
        shown.group_by(GROUP).agg((pl.col("rows").unique().is_in(rows.implode()).mean() >= HALF).alias("one_class"))
        for rows in patterned["patterned"]
    ]
    narrow = pl.concat(shares).group_by(GROUP).agg(pl.col("one_class").any())
    out = out.join(narrow, on=GROUP, how="left", maintain_order="left")
    accounted = relabelled | pl.col("one_class").fill_null(value=False)
    return out.with_columns(pl.col("suspicious") & ~accounted, pl.col("watched") & ~accounted).drop(
        "patterned", "one_class"
    )
