"""Explaining away (Pearl 1988): evidence that one finding accounts for does not support another.

Two cases. First, relabelled rows with a trigger look like rows of other classes, as rows with flipped labels do. A
detector that only counts such rows counts them as well, but a model that learned the trigger from the other folds gives
them their label, and the rows whose labels it doubts instead are innocent. A pattern accounts for the count if it has
many of those rows or is more significant. Second, a test over all classes pools the doubted rows of every class. If one
class alone has a pattern, the pooled test finds it too, and flags the rows of other classes that come closest to it. A
pattern of all classes is about as frequent in each.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from scipy.stats import binom

from foretaste.decide.settings import ExplainingAway
from foretaste.decide.significance import GROUP


def explained_away(
    groups: pl.DataFrame, members: pl.DataFrame, class_rows: Sequence[int], settings: ExplainingAway
) -> pl.DataFrame:
    """`groups`, where those that a pattern in one class accounts for are neither suspicious nor watched any more.

    groups      as `significance.significance` returns them
    members     as `significance.members` returns them: the rows flagged in each suspicious group
    class_rows  number of rows of each class
    """
    suspicious = groups.filter("suspicious", "names_rows").select(*GROUP, pl.col("p_value").alias("p_pattern"))
    flagged = members.join(suspicious, on=GROUP).explode("rows", "posterior")
    patterned = (
        flagged.filter(pl.col("label") >= 0)
        .group_by("label")
        .agg(pl.col("rows").unique().alias("patterned"), pl.col("p_pattern").min())
    )
    if patterned.is_empty():
        return groups
    out = groups.join(patterned, on="label", how="left", maintain_order="left")
    count = pl.col("patterned").list.len().fill_null(0)
    counted = pl.lit(value=False)
    if "evidence_foreign_rows" in groups.columns:
        enough = count >= settings.shared * pl.col("evidence_foreign_rows")
        enough |= pl.col("p_pattern") <= pl.col("p_value")
        counted = ~pl.col("names_rows") & pl.col("patterned").is_not_null() & enough.fill_null(value=False)
    # A row is scored in the more suspicious of its groups; one flagged in its class is a row of all classes as well.
    everywhere = suspicious.join(groups.filter(pl.col("label") < 0).select(*GROUP), on=GROUP)
    shown = everywhere.join(flagged.select("detector", "embedder", "rows"), on=["detector", "embedder"])
    inside = pl.col("rows").is_in(pl.col("patterned"))
    shares = (
        shown.join(patterned, how="cross")
        .group_by(*GROUP, "label")
        .agg(inside.sum().alias("inside"), pl.len().alias("all"))
    )
    keys = [
        key
        for *key, label, part, whole in shares.iter_rows()
        if part >= settings.shared * whole or concentrated(part, whole, class_rows[label], sum(class_rows), settings)
    ]
    one_class = pl.DataFrame(keys, {name: groups.schema[name] for name in GROUP}, orient="row")
    one_class = one_class.unique().with_columns(one_class=True)
    out = out.join(one_class, on=GROUP, how="left", maintain_order="left")
    accounted = counted | pl.col("one_class").fill_null(value=False)
    return out.with_columns(pl.col("suspicious") & ~accounted, pl.col("watched") & ~accounted).drop(
        "patterned", "p_pattern", "one_class"
    )


def concentrated(inside: int, shown: int, class_rows: int, rows: int, settings: ExplainingAway) -> bool:
    """Whether `inside` of the `shown` rows with a pattern are too many for a class of `class_rows` of all `rows`.

    Too many if the pattern were equally frequent in all classes.
    """
    often = inside * (rows - class_rows) >= settings.times * (shown - inside) * class_rows
    return often and float(binom.sf(inside - 1, shown, class_rows / rows)) <= settings.chance
