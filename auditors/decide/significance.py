"""Which tested groups are suspicious: p-values are combined over the runs on a class and corrected over classes."""

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
    """The groups that one run tested, and the claim of its detector; `check` is the check's name in the plan."""

    check: str
    embedder: str
    kind: Kind
    family: str
    names_rows: bool
    acquittable: bool
    groups: GroupTests


def significance(tested: Sequence[RunTests], decide: Decide) -> pl.DataFrame:
    """The groups tested by all runs, each with the q-value of its class.

    Runs that make the same claim about a class test one hypothesis: their p-values are combined (Simes 1986) and
    corrected over the classes (Benjamini & Hochberg 1995). A group is suspicious if its class is significant at
    `decide.fdr` and so is its own, uncorrected p-value; decide/corroboration.py then compares the rows they flag.

    Columns: detector (the check's name), embedder, kind, family, names_rows, acquittable, group, label (class index, -1
    for all), statistic, p_value, tested, q_value, suspicious, watched (significant at `decide.watch` only), and
    evidence_NAME for the evidence of the detectors.
    """
    frames = []
    for run in tested:
        groups = run.groups
        frames.append(
            pl.DataFrame(
                {
                    "group": range(len(groups.label)),
                    "label": groups.label.cpu().numpy(),
                    "statistic": groups.statistic.double().cpu().numpy(),
                    "p_value": groups.p_value.double().cpu().numpy(),
                    "tested": True if groups.tested is None else groups.tested.cpu().numpy(),
                    **{f"evidence_{name}": value.double().cpu().numpy() for name, value in groups.evidence.items()},
                }
            ).with_columns(
                pl.lit(run.check).alias("detector"),
                pl.lit(run.embedder).alias("embedder"),
                pl.lit(str(run.kind)).alias("kind"),
                pl.lit(run.family).alias("family"),
                pl.lit(run.names_rows).alias("names_rows"),
                pl.lit(run.acquittable).alias("acquittable"),
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
    """The groups with the q_value of their class, from the p-values of all groups."""
    # Three claims are tested separately: wrong labels, near copies, and all other attacks.
    separate = [str(Kind.LABEL), str(Kind.DUPLICATE)]
    claim = pl.when(pl.col("kind").is_in(separate)).then("kind").otherwise(pl.lit(str(Kind.BACKDOOR)))
    whole = groups.drop("q_value", strict=False).with_columns(claim.alias("claim"))
    classes = pl.concat(
        part.with_columns(pl.Series("q_value", benjamini_hochberg(part["p_class"].to_torch()).numpy()))
        for part in jointly(whole, "label", "claim").partition_by("claim", maintain_order=True)
    )
    return whole.join(classes, on=["label", "claim"], how="left", maintain_order="left").drop("claim", "p_class")


def jointly(groups: pl.DataFrame, *by: str) -> pl.DataFrame:
    """One p-value `p_class` for all tests that agree in the columns `by` (Simes 1986), sorted by them."""
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
    "tested": pl.Boolean,
    "q_value": pl.Float64,
    "suspicious": pl.Boolean,
    "watched": pl.Boolean,
}


STRONGEST = ("q_value", "p_value", "detector", "embedder")  # sorts the tests of a class by strength
GROUP = ("detector", "embedder", "group")  # the key of a tested group


def members(groups: pl.DataFrame, scores: str, decide: Decide) -> pl.DataFrame:
    """The suspicious or watched groups (detector, embedder, group, label), each with its `rows`, ascending.

    Those are the rows whose `posterior`, listed beside them, reaches `decide.posterior`. Wrong labels are left out.
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
