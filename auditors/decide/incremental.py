"""What came since an earlier audit, looked at harder: odd rows that arrived together are hardly odd by chance."""

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
    """What changed between an earlier audit or manifest, `place`, and the rows audited now."""

    place: str
    found: Difference
    fresh: frozenset[int]  # rows added, changed, relabelled or replaced
    fresh_of: dict[str | None, int]  # their number by class


def earlier(place: str) -> Manifest:
    """The manifest of an earlier audit. Raises PlanError where the place is none, DataError where it cannot be read."""
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


def sharpened(groups: pl.DataFrame, scores: str, dataset: Dataset, recency: Recency, decide: Decide) -> pl.DataFrame:
    """Groups that are only watched are accused where the rows that stand out in them came with the change.

    Which rows of an innocent class stand out has nothing to do with when they came, so that more of them are new than
    `decide.fdr` allows by chance (Fisher's exact test within the class, corrected for as many looks as watch the class)
    happens in watch * fdr of clean datasets. Where a whole source arrived at once, new rows differ for honest reasons:
    at worst all that is watched is accused, which chance alone brings about in `decide.watch` of clean datasets. Adds
    how many rows stand out, and how many of those arrived, to the evidence of every suspicious or watched group.
    """
    rows = []
    looks = dict(groups.filter("watched")["label"].value_counts().rows())
    for one in members(groups, scores, decide).iter_rows(named=True):
        label = one["label"]
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        whole = dataset.class_rows[label] if name is not None else dataset.rows
        fresh = recency.fresh_of.get(name, 0) if name is not None else len(recency.fresh)
        arrived = len(recency.fresh.intersection(one["rows"]))
        chance = hypergeometric_tail(arrived, len(one["rows"]), fresh, whole)
        chance *= max(looks.get(label, 1), 1)
        rows.append([one[key] for key in GROUP] + [len(one["rows"]), arrived, chance])
    schema = {key: groups.schema[key] for key in GROUP}
    told = pl.DataFrame(
        rows, orient="row", schema=schema | {STAND_OUT: pl.Int64, ARRIVED: pl.Int64, "chance": pl.Float64}
    )
    together = pl.col("watched") & (pl.col("chance") <= decide.fdr).fill_null(value=False)
    return (
        groups.join(told, on=GROUP, how="left", maintain_order="left")
        .with_columns((pl.col("suspicious") | together), pl.col("watched") & ~together)
        .drop("chance")
    )


def note(recency: Recency, flagged: pl.DataFrame) -> str:
    """What changed, and how much of it is flagged, in a sentence. `flagged` has the column row."""
    counts = recency.found.counts
    changed = ", ".join(f"{counts[one]} {one}" for one in (*FRESH,) if counts[one]) or "no row added or changed"
    hits = len(recency.fresh.intersection(flagged["row"].to_list()))
    return f"Since {recency.place}: {changed}; {hits} of the {len(flagged)} flagged rows are among them."
