"""Which runs on a suspicious class corroborate each other, and which are suspicious only through others' evidence.

The p-values of all runs on a class are combined, so strong evidence for some of its rows makes every run on the class
suspicious. That evidence is about those rows only: a run that flags other rows must be significant without it.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from foretaste.decide.settings import Decide
from foretaste.decide.significance import GROUP, STRONGEST, corrected
from foretaste.types.findings import Kind


def corroborated(groups: pl.DataFrame, members: pl.DataFrame, decide: Decide) -> pl.DataFrame:
    """`groups`, where those that are suspicious only through evidence about other rows are suspicious no more.

    groups   as `significance.significance` returns them
    members  as `significance.members` returns them: the rows flagged in each suspicious group

    The groups of a class are taken in the order of their p-values. A group stays suspicious if its rows and those
    accepted so far overlap by `corroboration.shared` of the smaller set. Otherwise the class is tested again with the
    p-values of the groups accepted so far, and of the acquitted ones, set to 1, so that the number of tests stays the
    same; the group stays suspicious if the class is still significant.
    """
    ranked = groups.filter(
        "suspicious",
        pl.col("q_value") <= decide.fdr,
        ~pl.col("kind").is_in([str(Kind.LABEL), str(Kind.DUPLICATE)]),
        "names_rows",
    ).sort(*STRONGEST)
    rows = {tuple(key): frozenset(flagged) for *key, flagged in members.select(*GROUP, "rows").iter_rows()}
    acquitted = ~pl.col("suspicious") & (pl.col("p_value") <= decide.fdr)
    remaining = groups.with_columns(pl.when(acquitted).then(1.0).otherwise("p_value").alias("p_value"))
    keys = [key for part in ranked.partition_by("label") for key in _uncorroborated(part, remaining, rows, decide)]
    if not keys:
        return groups
    schema = {key: groups.schema[key] for key in GROUP}
    dropped = pl.DataFrame(keys, schema=schema, orient="row").with_columns(uncorroborated=True)
    out = groups.join(dropped, on=GROUP, how="left", maintain_order="left")
    return out.with_columns(pl.col("suspicious") & pl.col("uncorroborated").is_null()).drop("uncorroborated")


def _uncorroborated(
    part: pl.DataFrame, remaining: pl.DataFrame, rows: Mapping[tuple[object, ...], frozenset[int]], decide: Decide
) -> list[tuple[object, ...]]:
    """The suspicious groups of one class, in order of strength, whose only evidence is about other rows.

    remaining  all tested groups, whose p-values are the evidence not yet attributed to any rows
    """
    accepted: frozenset[int] = frozenset()
    out, label = [], part["label"][0]
    for key in part.select(*GROUP).rows():
        flagged = rows.get(key, frozenset())
        if len(flagged & accepted) < decide.corroboration.shared * min(len(flagged), len(accepted)):
            again = corrected(remaining).filter(label=label).join(part.filter(_is(key)), on=GROUP, how="semi")
            if again["q_value"][0] > decide.fdr:
                out.append(key)
                continue
        accepted |= flagged
        remaining = remaining.with_columns(pl.when(_is(key)).then(1.0).otherwise("p_value").alias("p_value"))
    return out


def _is(key: tuple[object, ...]) -> pl.Expr:
    """Selects the group with this key (GROUP) from a table of groups."""
    return pl.all_horizontal(pl.col(name) == value for name, value in zip(GROUP, key, strict=True))
