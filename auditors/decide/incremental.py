"""A more sensitive test for rows that were added or changed since an earlier audit.

Rows that stand out in their class by chance are no more likely to be new than others. Where they are, the two tests
together are stronger evidence than either.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import polars as pl

from foretaste.dataset import manifest
from foretaste.dataset.diff import FRESH, Difference, difference
from foretaste.dataset.manifest import Manifest
from foretaste.decide.settings import Decide
from foretaste.decide.significance import GROUP, members
from foretaste.errors import PlanError
from foretaste.stats.significance import hypergeometric_tail
from foretaste.types.dataset import Dataset

ARRIVED = "evidence_arrived"
STAND_OUT = "evidence_stand_out"


@dataclass(frozen=True)
class Recency:
    """The difference between an earlier audit or manifest, `place`, and the rows audited now."""

    place: str
    found: Difference
    fresh: frozenset[int]  # rows added, changed, relabelled or replaced
    fresh_of: dict[str | None, int]  # their number by class name


def earlier(place: str) -> Manifest:
    """The manifest at `place`. Raises PlanError where there is none, DataError where it cannot be read."""
    found = manifest.stored(place)
    if found is None:
        raise PlanError(f"--since must name an audit's folder or a manifest, and {place} is neither")
    return found


def since(old: Manifest, folder: str) -> Recency:
    """Compare with the audit in `folder`. Raises PlanError where the two cannot be compared."""
    new = manifest.stored(os.path.join(folder, manifest.NAME))
    assert new is not None
    found = difference(old, new, top=0)
    labels = new.rows.filter(pl.col("row").is_in(found.fresh.implode())).select("label").collect()["label"]
    counts = labels.cast(pl.String).value_counts()
    return Recency(old.place, found, frozenset(found.fresh.to_list()), dict(counts.rows()))


def promoted(groups: pl.DataFrame, scores: str, dataset: Dataset, recency: Recency, decide: Decide) -> pl.DataFrame:
    """`groups`, where a watched group is suspicious if the rows flagged in it are new more often than chance allows.

    Fisher's exact test within the class, Bonferroni-corrected for the runs that watch the class, at level `decide.fdr`.
    In an innocent class which rows stand out is independent of their age, so both tests reject in watch * fdr of clean
    datasets. Where new rows differ for an innocent reason, such as a new source, at worst every watched group becomes
    suspicious, which chance does in `decide.watch` of clean datasets. Adds the numbers of rows that stand out, and of
    new ones among them, to the evidence of every suspicious or watched group.
    """
    rows = []
    watching = dict(groups.filter("watched")["label"].value_counts().rows())
    for group in members(groups, scores, decide).iter_rows(named=True):
        label = group["label"]
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        class_rows = dataset.class_rows[label] if name is not None else dataset.rows
        fresh = recency.fresh_of.get(name, 0) if name is not None else len(recency.fresh)
        arrived = len(recency.fresh.intersection(group["rows"]))
        p_value = hypergeometric_tail(arrived, len(group["rows"]), fresh, class_rows)
        p_value *= max(watching.get(label, 1), 1)
        rows.append([group[key] for key in GROUP] + [len(group["rows"]), arrived, p_value])
    schema = {key: groups.schema[key] for key in GROUP}
    tests = pl.DataFrame(
        rows, orient="row", schema=schema | {STAND_OUT: pl.Int64, ARRIVED: pl.Int64, "p_fresh": pl.Float64}
    )
    promoted = pl.col("watched") & (pl.col("p_fresh") <= decide.fdr).fill_null(value=False)
    return (
        groups.join(tests, on=GROUP, how="left", maintain_order="left")
        .with_columns((pl.col("suspicious") | promoted), pl.col("watched") & ~promoted)
        .drop("p_fresh")
    )


def note(recency: Recency, flagged: pl.DataFrame) -> str:
    """A sentence on what changed and how much of it is flagged. `flagged` has the column row."""
    counts = recency.found.counts
    changed = ", ".join(f"{counts[one]} {one}" for one in (*FRESH,) if counts[one]) or "no row added or changed"
    hits = len(recency.fresh.intersection(flagged["row"].to_list()))
    return f"Since {recency.place}: {changed}; {hits} of the {len(flagged)} flagged rows are among them."
