"""Natural clusters: a group whose rows resemble each other as a whole is a kind of content, not a planted pattern.

A trigger is put on content of all sorts: take what the group has in common out of its rows, and each is nearest to rows
outside the group, of the content it was planted on. Rows of a natural cluster (a way of writing a digit, frames of one
video) stay nearest to each other. Nothing here needs to know which of the two it is looking at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from auditors.stats.neighbours import Neighbours
from auditors.sweep import read_shard, stored
from auditors.values import Dataset, Shard

K = 5
MOST = 256  # rows of a group whose neighbours are looked up
# Natural clusters of one dataset of digits: 0.76 and more. Planted groups among photographs and digits: below 0.51,
# unless the pattern covers four fifths of the picture. Other natural clusters are not measured; some score far lower.
NATURAL = 0.6


@dataclass(frozen=True)
class Candidate:
    """A suspicious group: its class (-1 = the whole dataset) and its rows, ascending."""

    label: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Outline:
    """Sums of the plain content of a group and of the rest of its class, and the content of the looked-up rows."""

    inside: Tensor  # [D] float64
    outside: Tensor  # [D] float64
    counts: Tensor  # [2] int64, rows inside and outside
    query: Tensor  # [Q, D] float32
    row: Tensor  # [Q] int64

    def __add__(self, other: Outline) -> Outline:
        return Outline(
            self.inside + other.inside,
            self.outside + other.outside,
            self.counts + other.counts,
            torch.cat([self.query, other.query]),
            torch.cat([self.row, other.row]),
        )

    @property
    def axis(self) -> Tensor:
        """What the group has that the rest of its class has not, as a unit vector [D]."""
        gap = self.inside / self.counts[0].clamp_min(1) - self.outside / self.counts[1].clamp_min(1)
        return normalize(gap, dim=0).float()


def looked_up(rows: Sequence[int]) -> Tensor:
    """At most MOST of the rows, evenly spread."""
    step = max(1, -(-len(rows) // MOST))
    return torch.tensor(rows[::step])


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
            wanted = torch.isin(batch.row, looked_up(one.rows))
            part = Outline(
                batch.embedding[inside].double().sum(0),
                batch.embedding[outside].double().sum(0),
                torch.stack([inside.sum(), outside.sum()]),
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
            axis, row = one.axis.to(device), one.row.to(device)
            query = without(one.query.to(device), axis)
            part = Neighbours.among(query, row, without(batch.embedding, axis), batch.row, K)
            out[key] = out[key] + part if key in out else part
    return out


def without(value: Tensor, axis: Tensor) -> Tensor:
    """Rows [B, D] without their part along `axis` [D], at unit length: a strong pattern may leave little else."""
    return normalize(value - (value @ axis)[:, None] * axis, dim=1)


def cohesion(found: Neighbours, rows: Sequence[int]) -> float:
    """Share of the neighbours that belong to the group itself."""
    return float(torch.isin(found.row.cpu(), torch.tensor(rows)).double().mean()) if len(found.row) else 0.0
