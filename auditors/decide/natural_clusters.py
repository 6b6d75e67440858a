"""Natural clusters: a group whose rows resemble each other as a whole is a kind of content, not a planted pattern.

A trigger is put on content of all sorts: take what the group has in common out of its rows, and each lies among rows of
the content it was planted on. Those are rows of other classes where labels were changed too. Where they were not, any
row of the class is as near as another, so the group's own rows are neighbours as often as their number makes them.
Rows of a natural cluster (a way of writing a digit, frames of one video) lie in their own class and stay nearest to
each other. Nothing here needs to know which of these it is looking at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foretaste.pipeline.sweep import read_shard, stored
from foretaste.stats.neighbours import Neighbours
from foretaste.types.findings import Dataset, Shard

K = 5
MOST = 256  # rows of a group, and of the rest of its class, whose neighbours are looked up
COPIES = 0.6  # share of neighbours inside the group from which on its rows are near copies of each other
TOLD = 0.5  # share of neighbours in their own class from which on neighbours tell classes apart at all
# Share of neighbours inside the group beyond what its number of rows makes of it. Ways to write a digit, 14 groups of 6
# draws: 11 above 0.1, up to 0.22. Planted on rows of one class of the same digits, 60 groups: patches of up to 8 of 32
# pixels, blends of up to 0.3, signals and perturbations at most 0.06; patches of 12 pixels and blends of a half 0.1.
CLOSER = 0.1
FLAT = 0.25  # of the variance of the class: what a pattern has overwritten has less, and makes its rows alike


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

    @property
    def free(self) -> Tensor:
        """Coordinates [D] bool that the group has not made alike in all its rows."""
        flat: Tensor = self.inside.variance < FLAT * self.outside.variance
        return ~flat if bool((~flat).any()) else torch.ones_like(flat)

    @property
    def axis(self) -> Tensor:
        """What the group has that the rest of its class has not, where it is free, as a unit vector [D]."""
        return normalize((self.inside.mean - self.outside.mean) * self.free, dim=0).float()


def looked_up(rows: Sequence[int]) -> Tensor:
    """At most MOST of the rows, evenly spread."""
    step = max(1, -(-len(rows) // MOST))
    return torch.tensor(rows[::step])


def drawn(row: Tensor, among: int) -> Tensor:
    """About MOST of so many rows, the same ones however they come: row numbers [B] to bool [B]."""
    return (row * 2654435761) % 2**32 < 2**32 * MOST / max(among, 1)


def outline_shard(
    shard: Shard, *, groups: Mapping[int, Candidate], dataset: Dataset, folder: str, digest: str
) -> dict[int, Outline]:
    """The outline of every group in one shard."""
    out: dict[int, Outline] = {}
    members = {key: torch.tensor(one.rows) for key, one in groups.items()}
    for batch in read_shard(stored(folder, dataset, shard, digest), shard, device=torch.device("cpu")):
        for key, one in groups.items():
            inside = torch.isin(batch.row, members[key])
            outside = ~inside if one.label < 0 else ~inside & (batch.label == one.label)
            rest = dataset.class_rows[one.label] if one.label >= 0 else dataset.rows
            wanted = torch.isin(batch.row, looked_up(one.rows)) | (outside & drawn(batch.row, rest))
            part = Outline(
                Sums.of(batch.embedding[inside]),
                Sums.of(batch.embedding[outside]),
                batch.embedding[wanted],
                batch.row[wanted],
            )
            out[key] = out[key] + part if key in out else part
    return out


def neighbours_shard(
    shard: Shard, *, outlines: Mapping[int, Outline], dataset: Dataset, folder: str, digest: str, device: torch.device
) -> dict[int, Neighbours]:
    """The nearest rows of one shard to the rows of every group, once the group's own pattern is taken out of all."""
    out: dict[int, Neighbours] = {}
    for batch in read_shard(stored(folder, dataset, shard, digest), shard, device=device):
        for key, one in outlines.items():
            axis, free, row = one.axis.to(device), one.free.to(device), one.row.to(device)
            query, value = without(one.query.to(device) * free, axis), without(batch.embedding * free, axis)
            part = Neighbours.among(query, row, value, batch.row, batch.label, K)
            out[key] = out[key] + part if key in out else part
    return out


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

    @property
    def natural(self) -> bool:
        """Whether the group is a kind of content."""
        if self.inside >= COPIES:
            return True
        at_home = self.own >= (self.anywhere + self.rest) / 2
        return self.rest >= TOLD and at_home and self.inside - self.by_chance >= CLOSER


def neighbour_shares(found: Neighbours, query: Tensor, group: Candidate, dataset: Dataset) -> NeighbourShares:
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
