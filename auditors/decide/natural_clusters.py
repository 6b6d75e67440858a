"""Natural clusters: a group whose rows resemble each other in their whole content is not a planted pattern.

A trigger is planted on varied content. Once the pattern that a group shares is projected out, the nearest neighbours of
a poisoned row are rows with the same content: rows of other classes if the label was changed, any rows of its own class
if it was not (clean-label), and then rows of the group only as often as its size predicts. Rows of a natural cluster
(one way to write a digit, frames of one video) lie in their own class and remain nearest to each other. One test of the
neighbours covers all three cases.
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
    """A group that may be a natural cluster: its class (-1 = the whole dataset) and its rows, ascending."""

    label: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Sums:
    """Sum of n rows [D], sum of their squares [D], and n: mergeable over shards."""

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
    """Moments of the content of a group and of the rest of its class, and the content of the sampled query rows."""

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
        """Coordinates [D] bool whose variance in the group is at least `flat` of that in the rest of its class.

        All of them where there is no such coordinate.
        """
        overwritten: Tensor = self.inside.variance < flat * self.outside.variance
        return ~overwritten if bool((~overwritten).any()) else torch.ones_like(overwritten)

    def axis(self, free: Tensor) -> Tensor:
        """Unit vector [D] from the mean of the rest of the class to the group's, in the `free` [D] coordinates."""
        return normalize((self.inside.mean - self.outside.mean) * free, dim=0).float()


def evenly_spaced(rows: Sequence[int], most: int) -> Tensor:
    """At most `most` of the rows, at equal steps."""
    step = max(1, -(-len(rows) // most))
    return torch.tensor(rows[::step])


def hash_sampled(row: Tensor, most: int, among: int) -> Tensor:
    """A sample of about `most` of `among` rows that does not depend on shards: row numbers [B] to bool [B]."""
    return (row * 2654435761) % 2**32 < 2**32 * most / max(among, 1)


def projected_out(value: Tensor, axis: Tensor) -> Tensor:
    """Rows [B, D] without their component along `axis` [D], normalised: a strong pattern may leave little else."""
    return normalize(value - (value @ axis)[:, None] * axis, dim=1)


@dataclass(frozen=True)
class NeighbourShares:
    """Where the nearest neighbours of a group's rows, and of the rest of its class, lie. All are shares.

    inside     neighbours of the group's rows that lie in the group
    by_chance  the same, expected if the group were a random subset of its class
    own        neighbours of the group's rows outside the group that lie in its class
    rest       the same for the neighbours of the other rows of the class
    anywhere   rows outside the group that are of its class
    """

    inside: float
    by_chance: float
    own: float
    rest: float
    anywhere: float

    def natural(self, settings: NaturalClusters) -> bool:
        """Whether the group is a natural cluster."""
        if self.inside >= settings.copies:
            return True
        in_own_class = self.own >= (self.anywhere + self.rest) / 2
        return self.rest >= settings.telling and in_own_class and self.inside - self.by_chance >= settings.closer


def shares(found: Neighbours, query: Tensor, group: Candidate, dataset: Dataset) -> NeighbourShares:
    """The shares of a group from the neighbours `found` of the rows `query` [Q]."""
    members = torch.tensor(group.rows)
    near, label, in_group = found.row.cpu(), found.label.cpu(), torch.isin(query.cpu(), members)
    inside, exists = torch.isin(near, members), near >= 0
    of_group = inside[in_group & exists.any(1)] if len(near) else inside
    if group.label < 0 or not len(of_group):
        return NeighbourShares(_share(of_group), 1.0, 0.0, 0.0, 1.0)
    size, rows = dataset.class_rows[group.label], len(members)
    own = (label == group.label) & exists
    outside = exists & ~inside
    return NeighbourShares(
        inside=_share(of_group),
        by_chance=float(own[in_group].double().mean()) * (rows - 1) / max(size - 1, 1),
        own=_share(own[in_group][outside[in_group]]),
        rest=_share(own[~in_group][outside[~in_group]]),
        anywhere=(size - rows) / max(dataset.rows - rows, 1),
    )


def _share(hit: Tensor) -> float:
    return float(hit.double().mean()) if hit.numel() else 0.0


def candidates(groups: pl.DataFrame, members: pl.DataFrame) -> dict[tuple[Hashable, ...], Candidate]:
    """The suspicious or watched groups that may be natural clusters, by their key (GROUP).

    `groups` are as significance.significance returns them, `members` as significance.members does.
    """
    found = members.join(groups.filter("acquittable").select(*GROUP), on=GROUP, how="semi", maintain_order="left")
    return {
        tuple(key): Candidate(label, tuple(rows)) for *key, label, rows in found.select(*GROUP, "label", "rows").rows()
    }


def acquitted(
    groups: pl.DataFrame,
    found: Mapping[tuple[Hashable, ...], Candidate],
    near: Mapping[tuple[Hashable, ...], NeighbourShares],
    dataset: Dataset,
    settings: NaturalClusters,
) -> tuple[pl.DataFrame, list[str]]:
    """`groups`, where natural clusters are neither suspicious nor watched any more, and a note for each such class."""
    cleared = [key for key, group in near.items() if group.natural(settings)]
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
    natural = pl.DataFrame(cleared, schema=schema, orient="row").with_columns(natural=True)
    groups = groups.join(natural, on=GROUP, how="left", maintain_order="left")
    innocent = pl.col("natural").fill_null(value=False) & (pl.col("kind") != str(Kind.LABEL))
    groups = groups.with_columns(pl.col("suspicious") & ~innocent, pl.col("watched") & ~innocent)
    return groups.drop("natural"), list(notes.values())
