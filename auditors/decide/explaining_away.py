"""Explaining away (Pearl 1988): what one finding accounts for is no evidence for another.

Rows with a trigger and a false label look like rows of other classes as flipped labels do. Whoever counts such rows
finds too many in the class; but to a model that has learned the trigger from the others they look right, and the rows
that it doubts instead are innocent. Likewise the doubted rows of one class are among all doubted rows: what they share
is no pattern of all classes, and the rows of other classes that come closest to it are innocent. A pattern of all
classes shows in each about as often, or as clearly in rows of others.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from scipy.stats import binom

from foretaste.decide.settings import ExplainingAway
from foretaste.decide.significance import GROUP


def away(
    groups: pl.DataFrame, members: pl.DataFrame, class_rows: Sequence[int], settings: ExplainingAway
) -> pl.DataFrame:
    """The tested `groups` without the suspicion that a pattern in one class accounts for.

    groups      as `suspects.significance` gives them
    members     as `suspects.members` gives them: the rows flagged in each suspicious group
    class_rows  rows of each class
    """
    suspicious = groups.filter("suspicious", "names_rows").select(*GROUP)
    flagged = members.join(suspicious, on=GROUP).explode("rows", "posterior")
    patterned = flagged.filter(pl.col("label") >= 0).group_by("label").agg(pl.col("rows").unique().alias("patterned"))
    if patterned.is_empty():
        return groups
    out = groups.join(patterned, on="label", how="left", maintain_order="left")
    mine = pl.col("patterned").list.len().fill_null(0)
    relabelled = pl.lit(value=False)
    if "evidence_foreign_rows" in groups.columns:
        enough = mine >= settings.shared * pl.col("evidence_foreign_rows")
        relabelled = ~pl.col("names_rows") & pl.col("patterned").is_not_null() & enough.fill_null(value=False)
    # A row of a class that is the more suspicious itself counts there, but is one of all classes' rows as well.
    everywhere = suspicious.join(groups.filter(pl.col("label") < 0).select(*GROUP), on=GROUP)
    shown = everywhere.join(flagged.select("detector", "embedder", "rows", "posterior"), on=["detector", "embedder"])
    mine = pl.col("rows").is_in(pl.col("patterned"))
    shares = (
        shown.join(patterned, how="cross")
        .group_by(*GROUP, "label")
        .agg(
            mine.sum().alias("mine"), pl.len().alias("all"), pl.col("posterior").filter(~mine).mean().alias("certainty")
        )
    )
    found = [
        one
        for *one, label, part, whole, certainty in shares.iter_rows()
        if part >= settings.shared * whole
        or (certainty < settings.certain and concentrated(part, whole, class_rows[label], sum(class_rows), settings))
    ]
    narrow = pl.DataFrame(found, {name: groups.schema[name] for name in GROUP}, orient="row")
    narrow = narrow.unique().with_columns(one_class=True)
    out = out.join(narrow, on=GROUP, how="left", maintain_order="left")
    accounted = relabelled | pl.col("one_class").fill_null(value=False)
    return out.with_columns(pl.col("suspicious") & ~accounted, pl.col("watched") & ~accounted).drop(
        "patterned", "one_class"
    )


def concentrated(mine: int, shown: int, class_rows: int, rows: int, settings: ExplainingAway) -> bool:
    """Whether `mine` of `shown` rows with a pattern are too many for a class of `class_rows`, were it in all alike."""
    often = mine * (rows - class_rows) >= settings.times * (shown - mine) * class_rows
    return often and float(binom.sf(mine - 1, shown, class_rows / rows)) <= settings.chance
