"""The difference of two manifests: rows added, removed, changed, relabelled, replaced, re-ordered.

Rows are matched by id where both have ids, else by content, duplicates one to one.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from foretaste.dataset import manifest
from foretaste.dataset.manifest import Manifest
from foretaste.errors import PlanError
from foretaste.stats.significance import hypergeometric_tail

PAYLOAD = ("payload_high", "payload_low")
TARGET = ("target_high", "target_low")
PLACE = ("row", "file", "row_group", "row_in_group")


class Change(StrEnum):
    """What happened to a row. A row may have several changes, as changed and re-ordered."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"  # same id, different content
    RELABELLED = "relabelled"  # same content, different label
    REPLACED = "replaced"  # same path or URL, different bytes behind it
    REORDERED = "re-ordered"  # moved relative to the other rows


FRESH = (Change.ADDED, Change.CHANGED, Change.RELABELLED, Change.REPLACED)


@dataclass(frozen=True)
class Difference:
    """Counts of every change, examples of each with both positions, and the changed files by name."""

    old: int
    new: int
    same: int
    by: str  # "id" or "content"
    counts: Mapping[Change, int]
    examples: Mapping[Change, list[dict[str, Any]]]
    files: Mapping[str, Any] = field(default_factory=dict)
    fresh: pl.Series = field(default_factory=lambda: pl.Series("row", dtype=pl.Int64))  # new or changed rows of `new`

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows in the same order, however named, split and compressed their files are."""
        return not any(self.counts.values())


def difference(old: Manifest, new: Manifest, *, top: int = 10) -> Difference:
    """Compare two manifests; `top` examples of each change.

    Raises PlanError where they were not made in the same way, or one has ids and the other none.
    """
    _must_compare(old, new)
    ids = "id" in _names(old)
    pairs = _by_id(old, new) if ids else _by_content(old, new)
    both = pl.col("row").is_not_null() & pl.col("row_new").is_not_null()
    content = pl.all_horizontal(*(pl.col(name) == pl.col(f"{name}_new") for name in PAYLOAD))
    label = pl.col("label").eq_missing(pl.col("label_new"))
    # Without `fetch` the digests behind URLs are null, which does not mean that the URL's content is gone.
    known = pl.all_horizontal(*(pl.col(f"{name}{side}").is_not_null() for name in TARGET for side in ("", "_new")))
    asked = new.facts["fetched"] or not old.facts["fetched"]
    gone = pl.col(TARGET[0]).is_not_null() & pl.col(f"{TARGET[0]}_new").is_null() & pl.lit(value=asked)
    other = pl.any_horizontal(*(pl.col(name) != pl.col(f"{name}_new") for name in TARGET))
    pairs = pairs.select(
        "row",
        "row_new",
        pl.col("row").is_null().alias(Change.ADDED),
        pl.col("row_new").is_null().alias(Change.REMOVED),
        (both & ~content).alias(Change.CHANGED),
        (both & content & ~label).alias(Change.RELABELLED),
        (both & content & ((known & other) | gone)).fill_null(value=False).alias(Change.REPLACED),
    ).sort("row", "row_new", nulls_last=True)
    matched = pairs["row"].is_not_null() & pairs["row_new"].is_not_null()
    reordered = np.zeros(len(pairs), dtype=np.bool_)
    reordered[matched.to_numpy()] = out_of_order(pairs.filter(matched)["row_new"].to_numpy())
    pairs = pairs.with_columns(pl.Series(Change.REORDERED, reordered))
    changed = pl.any_horizontal(*map(pl.col, Change))
    return Difference(
        old=_length(old),
        new=_length(new),
        same=int(pairs.select((~changed).sum()).item()),
        by="id" if ids else "content",
        counts={change: int(pairs[change].sum()) for change in Change},
        examples={change: _examples(pairs.filter(pl.col(change)).head(top), old, new) for change in Change},
        files=_files(old.facts["files"], new.facts["files"]),
        fresh=pairs.filter(pl.any_horizontal(*map(pl.col, FRESH)))["row_new"].alias("row"),
    )


def within(old: Manifest, root: str, names: Sequence[str]) -> Difference:
    """The difference restricted to the files `names` below `root`; no other file is read.

    Raises DataError where a file can no longer be read, PlanError as `difference` does.
    """
    with TemporaryDirectory() as folder:
        path = os.path.join(folder, manifest.NAME)
        manifest.of_dataset([f"{root}/{name}" for name in names], path, request=manifest.request(old.facts["roles"]))
        new = manifest.stored(path)
        assert new is not None
        part = Manifest(old.place, old.facts, old.rows.filter(pl.col("file").is_in(list(names))))
        return difference(part, new, top=0)


@dataclass(frozen=True)
class Concentration:
    """How many rows an audit flagged among those that are new or changed ("fresh"), and among the others.

    p_value  of Fisher's one-sided exact test that fresh rows are not flagged more often than others
    """

    fresh: int
    flagged_fresh: int
    others: int
    flagged_others: int
    p_value: float


def concentration(found: Difference, samples: str) -> Concentration:
    """Whether the rows flagged in the newer audit's samples.parquet concentrate among those that are new or changed."""
    rows = pl.scan_parquet(samples).select("row", "flagged")
    fresh = pl.col("row").is_in(found.fresh.implode())
    counts = rows.select(fresh.alias("fresh"), "flagged").group_by("fresh", "flagged").len().collect()
    seen = {(is_fresh, flagged): number for is_fresh, flagged, number in counts.rows()}
    hits, misses = seen.get((True, True), 0), seen.get((True, False), 0)
    others, rest = seen.get((False, True), 0), seen.get((False, False), 0)
    whole = hits + misses + others + rest
    p_value = hypergeometric_tail(hits, hits + misses, hits + others, whole)
    return Concentration(hits + misses, hits, others + rest, others, p_value)


def out_of_order(place: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which of N distinct positions are outside a longest increasing subsequence: the fewest that must have moved.

    Patience sorting (Fredman 1975): N log N steps, and none if everything is in order.
    """
    out = np.zeros(len(place), dtype=np.bool_)
    falls = np.flatnonzero(np.diff(place) < 0)
    if not len(falls):
        return out
    # A prefix that is already in its final place, and a suffix, need no sorting.
    low = np.minimum.accumulate(place[::-1])[::-1]
    high = np.maximum.accumulate(place)
    start = int(np.argmax(place != low)) if (place != low).any() else 0
    stop = len(place) - int(np.argmax((place != high)[::-1]))
    ends: list[int] = []  # smallest last element of an increasing subsequence of each length
    length = np.zeros(stop - start, dtype=np.int64)
    for at, value in enumerate(place[start:stop].tolist()):
        if not ends or value > ends[-1]:
            length[at] = len(ends)
            ends.append(value)
        else:
            length[at] = found = bisect_left(ends, value)
            ends[found] = value
    wanted, before = len(ends) - 1, int(place[start:stop].max()) + 1
    out[start:stop] = True
    for at in range(stop - start - 1, -1, -1):
        if length[at] == wanted and place[start + at] < before:
            out[start + at], before, wanted = False, int(place[start + at]), wanted - 1
    return out


def _must_compare(old: Manifest, new: Manifest) -> None:
    for what in ("recipe", "roles"):
        before, after = old.facts[what], new.facts[what]
        if what == "roles":
            before, after = ({key: roles[key] for key in ("modality", "payload")} for roles in (before, after))
        if before != after:
            raise PlanError(
                f"{old.place} and {new.place} must have the same {what} of rows to be compared, "
                f"got {before} and {after}"
            )
    if ("id" in _names(old)) != ("id" in _names(new)):
        having, lacking = (old, new) if "id" in _names(old) else (new, old)
        raise PlanError(
            f"rows are compared by id where both sides have one: {having.place} has ids, {lacking.place} has none"
        )


def _names(manifest: Manifest) -> list[str]:
    return manifest.rows.collect_schema().names()


def _length(manifest: Manifest) -> int:
    return int(manifest.rows.select(pl.len()).collect().item())


def _side(manifest: Manifest, *more: str) -> pl.DataFrame:
    return manifest.rows.select("row", *more, pl.col("label").cast(pl.Categorical), *PAYLOAD, *TARGET).collect()


def _numbered(rows: pl.DataFrame, *key: str) -> pl.DataFrame:
    """With `turn`, the number of earlier rows of the same key, so that duplicates match one to one."""
    return rows.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).over(*key).alias("turn"))


def _joined(old: pl.DataFrame, new: pl.DataFrame, *key: str) -> pl.DataFrame:
    on = [*key, "turn"]
    joined = _numbered(old, *key).join(
        _numbered(new, *key), on=on, how="full", nulls_equal=True, suffix="_new", coalesce=False
    )
    return joined.drop("turn", "turn_new")


def _by_id(old: Manifest, new: Manifest) -> pl.DataFrame:
    before, after = _side(old, "id"), _side(new, "id")
    if before["id"].dtype != after["id"].dtype:
        before, after = (side.with_columns(pl.col("id").cast(pl.String)) for side in (before, after))
    return _joined(before, after, "id").drop("id", "id_new")


def _by_content(old: Manifest, new: Manifest) -> pl.DataFrame:
    """Match rows by content and label first, then the remaining ones by content alone."""
    pairs = _joined(_side(old), _side(new), *PAYLOAD, "label")
    here, there = pl.col("row").is_not_null(), pl.col("row_new").is_not_null()
    mine = [name for name in pairs.columns if not name.endswith("_new")]
    left = pairs.filter(~there).select(mine)
    right = pairs.filter(~here).select(pl.col(f"{name}_new").alias(name) for name in mine)
    return pl.concat([pairs.filter(here & there), _joined(left, right, *PAYLOAD).select(pairs.columns)])


def _examples(found: pl.DataFrame, old: Manifest, new: Manifest) -> list[dict[str, Any]]:
    """Position, id and label of rows in both manifests."""
    sides = {}
    for name, rows, held in (("old", found["row"], old), ("new", found["row_new"], new)):
        named = [column for column in (*PLACE, "id", "label") if column in _names(held)]
        wanted = rows.drop_nulls().to_list()
        table = held.rows.filter(pl.col("row").is_in(wanted)).select(named).collect()
        sides[name] = {row["row"]: row for row in table.iter_rows(named=True)}
    return [
        {"old": sides["old"].get(before), "new": sides["new"].get(after)}
        for before, after in found.select("row", "row_new").rows()
    ]


def _files(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, Any]:
    """Files added, removed, changed and renamed. Renamed: the same bytes under another name, also when swapped."""
    was = {digest: name for name, digest in old.items()}
    renamed = {was[digest]: name for name, digest in new.items() if digest in was and name not in _holding(old, digest)}
    moved = {*renamed, *renamed.values()}
    return {
        "added": sorted(name for name in new if name not in old and name not in moved),
        "removed": sorted(name for name in old if name not in new and name not in moved),
        "changed": sorted(name for name in new if name in old and old[name] != new[name] and name not in moved),
        "renamed": renamed,
    }


def _holding(files: Mapping[str, str], digest: str) -> set[str]:
    return {name for name, other in files.items() if other == digest}
