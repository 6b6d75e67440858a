"""Suspicious groups that are natural clusters are let go, and the report says so."""

from __future__ import annotations

import os
from collections.abc import Mapping

import polars as pl

from foretaste.decide import natural_clusters, significance
from foretaste.embedders.contract import Encoder
from foretaste.pipeline.stages import Stages
from foretaste.pipeline.sweep import Outcome
from foretaste.types.findings import Kind


def acquit(
    stages: Stages, groups: pl.DataFrame, encoders: Mapping[str, Encoder | Outcome], folder: str
) -> tuple[pl.DataFrame, list[str]]:
    """Suspicious groups that are natural clusters are suspicious no more; a note says so of each class."""
    # Whether a phrase is the language's own, or copies are honest ones, is what these tests themselves tell, and
    # that texts of one template resemble each other in their words is what they are accused of.
    groups_tested = groups.filter(~pl.col("family").is_in(["trigger", "copies", "form"]))
    accused = significance.members(groups_tested, os.path.join(folder, "scores.parquet"), stages.plan.decide)
    candidates = {
        key: natural_clusters.Candidate(label, tuple(rows))
        for key, (label, rows) in enumerate(accused.select("label", "rows").rows())
    }
    found = list(stages.company(candidates, encoders).values())
    if not found:
        return groups, []
    cleared = accused.with_columns(
        pl.Series("share", [one.inside for one in found]),
        pl.Series("chance", [min(one.by_chance, one.inside) for one in found]),
        pl.Series("natural", [one.natural for one in found]),
    ).filter("natural")
    notes = []
    for one in cleared.unique("label", keep="first", maintain_order=True).iter_rows(named=True):
        label = one["label"]
        who = f"class {stages.dataset.classes[label]}" if label >= 0 and stages.dataset.classes else "the dataset"
        notes.append(
            f"{len(one['rows'])} rows of {who} stand apart, but even without what they share {one['share']:.0%} of "
            f"their nearest neighbours are among themselves, which chance makes {one['chance']:.0%}: taken for a "
            f"natural cluster (row {one['rows'][0]} is one of them)."
        )
    groups = groups.join(cleared.select(*significance.GROUP, natural=True), on=significance.GROUP, how="left")
    innocent = pl.col("natural").fill_null(False) & (pl.col("kind") != str(Kind.LABEL))
    groups = groups.with_columns(pl.col("suspicious") & ~innocent, pl.col("watched") & ~innocent)
    return groups.drop("natural"), notes
