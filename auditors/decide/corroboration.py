"""Which looks at a suspected class are witnesses of one thing, and which only profit from what others saw.

All looks at a class are one hypothesis, so the evidence for some of its rows suspects the class for every look. What
that says of the class it does not say of other rows: a look that means others is another claim, and must do without.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from foretaste.decide.settings import Decide
from foretaste.decide.significance import GROUP, STRONGEST, corrected
from foretaste.types.findings import Kind


def agreeing(groups: pl.DataFrame, members: pl.DataFrame, decide: Decide) -> pl.DataFrame:
    """The tested `groups` without those that are suspicious only for what was seen in other rows of their class.

    groups   as `suspects.significance` gives them
    members  as `suspects.members` gives them: the rows flagged in each suspicious group

    Looks are heard in the order of their p-values. One that shares half of its rows with those before it, or they
    theirs with it, agrees. Another is suspicious where its class would still be if those before it, and those that
    were acquitted, had seen nothing; all of them count as looks that were made.
    """
    told = groups.filter(
        "suspicious",
        pl.col("q_value") <= decide.fdr,
        ~pl.col("kind").is_in([str(Kind.LABEL), str(Kind.DUPLICATE)]),
        "names_rows",
    ).sort(*STRONGEST)
    rows = {tuple(key): frozenset(mine) for *key, mine in members.select(*GROUP, "rows").iter_rows()}
    acquitted = ~pl.col("suspicious") & (pl.col("p_value") <= decide.fdr)
    left = groups.with_columns(pl.when(acquitted).then(1.0).otherwise("p_value").alias("p_value"))
    alone = [key for part in told.partition_by("label") for key in _alone(part, left, rows, decide)]
    if not alone:
        return groups
    schema = {key: groups.schema[key] for key in GROUP}
    dropped = pl.DataFrame(alone, schema=schema, orient="row").with_columns(alone=True)
    out = groups.join(dropped, on=GROUP, how="left", maintain_order="left")
    return out.with_columns(pl.col("suspicious") & pl.col("alone").is_null()).drop("alone")


def _alone(
    part: pl.DataFrame, left: pl.DataFrame, rows: Mapping[tuple[object, ...], frozenset[int]], decide: Decide
) -> list[tuple[object, ...]]:
    """The suspicious groups of one class, the strongest first, that nothing but other rows' evidence suspects."""
    meant: frozenset[int] = frozenset()
    out, label = [], part["label"][0]
    for key in part.select(*GROUP).rows():
        mine = rows.get(key, frozenset())
        if len(mine & meant) < decide.corroboration.shared * min(len(mine), len(meant)):
            again = corrected(left).filter(label=label).join(part.filter(_is(key)), on=GROUP, how="semi")
            if again["q_value"][0] > decide.fdr:
                out.append(key)
                continue
        meant |= mine
        left = left.with_columns(pl.when(_is(key)).then(1.0).otherwise("p_value").alias("p_value"))
    return out


def _is(key: tuple[object, ...]) -> pl.Expr:
    """Whether a row of a table of groups is this one."""
    return pl.all_horizontal(pl.col(name) == value for name, value in zip(GROUP, key, strict=True))
