"""Which of the tested groups are suspected: all looks at a class are one hypothesis, corrected over classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import torch

from foretaste.decide.settings import Decide
from foretaste.stats.significance import benjamini_hochberg, simes
from foretaste.types.batch import GroupTests
from foretaste.types.findings import Kind


@dataclass(frozen=True)
class RunTests:
    """The groups that one run tested, and what its detector claims of them; `check` is the check's name in the plan."""

    check: str
    embedder: str
    kind: Kind
    family: str
    names_rows: bool
    acquittable: bool
    groups: GroupTests


def significance(tested: Sequence[RunTests], decide: Decide) -> pl.DataFrame:
    """Every group that any run tested, with the false discovery rate at which its class is suspected.

    All runs that make one claim of one class test one hypothesis (Simes 1986), and the classes are corrected for each
    other (Benjamini & Hochberg 1995). In a suspected class the runs that would suspect it by themselves say which rows
    are meant, as far as they agree (decide/corroboration.py).

    Columns: detector (the check's name), embedder, kind, family, names_rows, acquittable, group, label (class index, -1
    for all), statistic, p_value, q_value, suspicious, watched (not quite suspicious), and evidence_NAME for what the
    detectors say of their groups.
    """
    frames = []
    for one in tested:
        groups = one.groups
        frames.append(
            pl.DataFrame(
                {
                    "group": range(len(groups.label)),
                    "label": groups.label.cpu().numpy(),
                    "statistic": groups.statistic.double().cpu().numpy(),
                    "p_value": groups.p_value.double().cpu().numpy(),
                    **{f"evidence_{name}": value.double().cpu().numpy() for name, value in groups.evidence.items()},
                }
            ).with_columns(
                pl.lit(one.check).alias("detector"),
                pl.lit(one.embedder).alias("embedder"),
                pl.lit(str(one.kind)).alias("kind"),
                pl.lit(one.family).alias("family"),
                pl.lit(one.names_rows).alias("names_rows"),
                pl.lit(one.acquittable).alias("acquittable"),
            )
        )
    if not frames:
        return pl.DataFrame(schema=_NOTHING_TESTED)
    whole = pl.concat(frames, how="diagonal_relaxed").with_columns(pl.col("group").cast(pl.Int64))
    whole = corrected(whole)
    alone = pl.col("p_value") <= decide.fdr
    return whole.with_columns(
        ((pl.col("q_value") <= decide.fdr) & alone).alias("suspicious"),
        ((pl.col("q_value") > decide.fdr) & (pl.col("q_value") <= decide.watch) & alone).alias("watched"),
    )


def corrected(groups: pl.DataFrame) -> pl.DataFrame:
    """The groups with the q_value of their class, from all their p-values."""
    # Wrong labels, copies and all other attacks are claims of their own.
    own = [str(Kind.LABEL), str(Kind.DUPLICATE)]
    claim = pl.when(pl.col("kind").is_in(own)).then("kind").otherwise(pl.lit(str(Kind.BACKDOOR)))
    whole = groups.drop("q_value", strict=False).with_columns(claim.alias("claim"))
    classes = pl.concat(
        part.with_columns(pl.Series("q_value", benjamini_hochberg(part["p_class"].to_torch()).numpy()))
        for part in jointly(whole, "label", "claim").partition_by("claim", maintain_order=True)
    )
    return whole.join(classes, on=["label", "claim"], how="left", maintain_order="left").drop("claim", "p_class")


def jointly(groups: pl.DataFrame, *by: str) -> pl.DataFrame:
    """One p-value `p_class` for all tests that agree in the columns `by` (Simes 1986), in order."""
    lists = groups.group_by(*by).agg("p_value").sort(*by)
    joint = [float(simes(torch.tensor(p_values, dtype=torch.float64))) for p_values in lists["p_value"].to_list()]
    return lists.select(*by, pl.Series("p_class", joint, dtype=pl.Float64))


_NOTHING_TESTED = {
    "detector": pl.String,
    "embedder": pl.String,
    "kind": pl.String,
    "family": pl.String,
    "names_rows": pl.Boolean,
    "acquittable": pl.Boolean,
    "group": pl.Int64,
    "label": pl.Int64,
    "statistic": pl.Float64,
    "p_value": pl.Float64,
    "q_value": pl.Float64,
    "suspicious": pl.Boolean,
    "watched": pl.Boolean,
}


# The order in which what was tested speaks for a class.
STRONGEST = ("q_value", "p_value", "detector", "embedder")
# What names a group that was tested.
GROUP = ("detector", "embedder", "group")


def members(groups: pl.DataFrame, scores: str, decide: Decide) -> pl.DataFrame:
    """The suspected or watched groups (detector, embedder, group, label) with the `rows` flagged in each, ascending.

    `posterior` are those of these rows.
    """
    accused = groups.filter((pl.col("suspicious") | pl.col("watched")) & (pl.col("kind") != str(Kind.LABEL)))
    named = [pl.col("detector").cast(pl.String), pl.col("embedder").cast(pl.String), "group", "row", "posterior"]
    return (
        pl.scan_parquet(scores)
        .select(named)
        .filter(pl.col("posterior") >= decide.posterior)
        .join(accused.select(*GROUP, "label").lazy(), on=GROUP)
        .group_by(*GROUP, "label")
        .agg(pl.col("row").sort().alias("rows"), pl.col("posterior").sort_by("row"))
        .sort("label", *GROUP)
        .collect()
    )
