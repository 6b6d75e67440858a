"""Natural clusters: a group whose rows resemble each other as a whole is a kind of content, not a planted pattern.

A trigger is put on content of all sorts: take what the group has in common out of its rows, and each lies among rows of
the content it was planted on. Those are rows of other classes where labels were changed too. Where they were not, any
row of the class is as near as another, so the group's own rows are neighbours as often as their number makes them.
Rows of a natural cluster (a way of writing a digit, frames of one video) lie in their own class and stay nearest to
each other. Nothing here needs to know which of these it is looking at.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import polars as pl
import torch
from torch import Tensor
from torch.nn.functional import normalize

from foretaste.decide.settings import NaturalClusters
from foretaste.decide.significance import GROUP
from foretaste.stats.neighbours import Neighbours
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Kind

K = TypeVar("K")


@dataclass(frozen=True)
class Candidate:
    """A suspicious group: its class (-1 = the whole dataset) and its rows, ascending."""

    label: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Sums:
    """Sums of n rows [D], of their squares [D], and n."""

    value: Tensor  # [D] float64
    square: Tensor  # [D] float64
    rows: Tensor  # [] int64

    @classmethod
    def of(cls, value: Tensor) -> Sums:
        wide = value.double()
        return cls(wide.sum(0), wide.square().sum(0), torch.tensor(len(value)))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.value + other.value, self.square + other.square, self.rows + other.rows)

    @property
    def mean(self) -> Tensor:
        return self.value / self.rows.clamp_min(1)

    @property
    def variance(self) -> Tensor:
        return (self.square / self.rows.clamp_min(1) - self.mean.square()).clamp_min(0)


@dataclass(frozen=True)
class Outline:
    """Sums of the plain content of a group and of the rest of its class, and the content of the looked-up rows."""

    inside: Sums
    outside: Sums
    query: Tensor  # [Q, D] float32
    row: Tensor  # [Q] int64

    def __add__(self, other: Outline) -> Outline:
        return Outline(
            self.inside + other.inside,
            self.outside + other.outside,
            torch.cat([self.query, other.query]),
            torch.cat([self.row, other.row]),
        )

    def free(self, flat: float) -> Tensor:
        """Coordinates [D] bool that the group has not made alike in all its rows, to `flat` of its variance."""
        alike: Tensor = self.inside.variance < flat * self.outside.variance
        return ~alike if bool((~alike).any()) else torch.ones_like(alike)

    def axis(self, free: Tensor) -> Tensor:
        """What the group has that the rest of its class has not, where it is `free` [D], as a unit vector [D]."""
        return normalize((self.inside.mean - self.outside.mean) * free, dim=0).float()


def looked_up(rows: Sequence[int], most: int) -> Tensor:
    """At most so many of the rows, evenly spread."""
    step = max(1, -(-len(rows) // most))
    return torch.tensor(rows[::step])


def drawn(row: Tensor, most: int, among: int) -> Tensor:
    """About `most` of so many rows, the same ones however they come: row numbers [B] to bool [B]."""
    return (row * 2654435761) % 2**32 < 2**32 * most / max(among, 1)


def without(value: Tensor, axis: Tensor) -> Tensor:
    """Rows [B, D] without their part along `axis` [D], at unit length: a strong pattern may leave little else."""
    return normalize(value - (value @ axis)[:, None] * axis, dim=1)


@dataclass(frozen=True)
class NeighbourShares:
    """Where the nearest neighbours of a group's rows and of the rest of its class lie. All are shares.

    inside    of the group's neighbours, in the group
    by_chance the same, were the group's rows any rows of the class
    own       of the group's neighbours outside it, in its class
    rest      of the neighbours outside the group of the rest of the class, in their class
    anywhere  of all rows outside the group, in its class
    """

    inside: float
    by_chance: float
    own: float
    rest: float
    anywhere: float

    def natural(self, settings: NaturalClusters) -> bool:
        """Whether the group is a kind of content."""
        if self.inside >= settings.copies:
            return True
        at_home = self.own >= (self.anywhere + self.rest) / 2
        return self.rest >= settings.telling and at_home and self.inside - self.by_chance >= settings.closer


def shares(found: Neighbours, query: Tensor, group: Candidate, dataset: Dataset) -> NeighbourShares:
    """What the neighbours `found` of the rows `query` [Q] say of a group."""
    members = torch.tensor(group.rows)
    near, label, asked = found.row.cpu(), found.label.cpu(), torch.isin(query.cpu(), members)
    inside, there = torch.isin(near, members), near >= 0
    mine = inside[asked & there.any(1)] if len(near) else inside
    if group.label < 0 or not len(mine):
        return NeighbourShares(_share(mine), 1.0, 0.0, 0.0, 1.0)
    size, rows = dataset.class_rows[group.label], len(members)
    own = (label == group.label) & there
    outside = there & ~inside
    return NeighbourShares(
        inside=_share(mine),
        by_chance=float(own[asked].double().mean()) * (rows - 1) / max(size - 1, 1),
        own=_share(own[asked][outside[asked]]),
        rest=_share(own[~asked][outside[~asked]]),
        anywhere=(size - rows) / max(dataset.rows - rows, 1),
    )


def _share(hit: Tensor) -> float:
    return float(hit.double().mean()) if hit.numel() else 0.0


def candidates(groups: pl.DataFrame, members: pl.DataFrame) -> dict[tuple[Hashable, ...], Candidate]:
    """The suspected or watched groups that may turn out to be natural clusters, by what names them (GROUP).

    `groups` are as decide.significance gives them, `members` as significance.members does.
    """
    mine = members.join(groups.filter("acquittable").select(*GROUP), on=GROUP, how="semi", maintain_order="left")
    return {
        tuple(key): Candidate(label, tuple(rows)) for *key, label, rows in mine.select(*GROUP, "label", "rows").rows()
    }


def acquitted(
    groups: pl.DataFrame,
    found: Mapping[tuple[Hashable, ...], Candidate],
    near: Mapping[tuple[Hashable, ...], NeighbourShares],
    dataset: Dataset,
    settings: NaturalClusters,
) -> tuple[pl.DataFrame, list[str]]:
    """The groups, of which those that are natural clusters are suspicious no more; a note says so of each class."""
    cleared = [key for key, one in near.items() if one.natural(settings)]
    if not cleared:
        return groups, []
    notes: dict[int, str] = {}
    for key in cleared:
        label, rows = found[key].label, found[key].rows
        who = f"class {dataset.classes[label]}" if label >= 0 and dataset.classes else "the dataset"
        inside, chance = near[key].inside, min(near[key].by_chance, near[key].inside)
        notes.setdefault(
            label,
            f"{len(rows)} rows of {who} stand apart, but even without what they share {inside:.0%} of their nearest "
            f"neighbours are among themselves, which chance makes {chance:.0%}: taken for a natural cluster "
            f"(row {rows[0]} is one of them).",
        )
    schema = {name: groups.schema[name] for name in GROUP}
    let_go = pl.DataFrame(cleared, schema=schema, orient="row").with_columns(natural=True)
    groups = groups.join(let_go, on=GROUP, how="left", maintain_order="left")
    innocent = pl.col("natural").fill_null(value=False) & (pl.col("kind") != str(Kind.LABEL))
    groups = groups.with_columns(pl.col("suspicious") & ~innocent, pl.col("watched") & ~innocent)
    return groups.drop("natural"), list(notes.values())
