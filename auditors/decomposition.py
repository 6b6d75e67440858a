"""Two-component decomposition: given a few rows that stand apart, which rows of their class are of their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from auditors.batch import Batch, Groups, Scores
from auditors.stats import quantiles
from auditors.stats.tails import side

FEWEST = 8  # rows that must stand out before a group is suspected; single odd rows are no attack


class Seed(Protocol):
    """What a detector knows once it has found where its groups stand apart.

    groups  G groups: classes by index, and -1 for all rows; with p-values and evidence
    """

    @property
    def groups(self) -> Groups: ...

    def split(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Whitened rows [B, d], each of length sqrt(d) or so, and which of them stand apart in each group [B, G]."""
        ...


def home(batch: Batch, label: Tensor) -> Tensor:
    """Which rows belong to the groups' classes `label` [G], [B, G] bool; all rows with a label to class -1."""
    return ((label == batch.label[:, None]) | (label < 0)) & (batch.label >= 0)[:, None]


@dataclass(frozen=True)
class Sums:
    member: Tensor  # [G, d] float64
    members: Tensor  # [G] float64
    rest: Tensor  # [G, d] float64, rows of the same class that do not stand apart
    rests: Tensor  # [G] float64


@dataclass(frozen=True)
class Decomposition:
    """A sweep for the mean of the rows that stand apart and of the rest of their class.

    After Tang, Wang, Tang & Zhang, "Demon in the Variant" (USENIX Security 2021, arXiv 1908.00686), section 4.3: in a
    class that is a mixture of two components with one covariance, the line through both means separates them best.
    The seed takes the place of the clean rows that the paper asks for.
    """

    seed: Seed
    dim: int

    def zero(self) -> Sums:
        number = len(self.seed.groups.label)
        sums, counts = torch.zeros(number, self.dim, dtype=torch.float64), torch.zeros(number, dtype=torch.float64)
        return Sums(sums, counts, sums, counts)

    def reduce(self, state: Sums, batch: Batch) -> Sums:
        value, member = self.seed.split(batch)  # [B, d], [B, G]
        inside = member.double()
        outside = (home(batch, self.seed.groups.label.to(member.device)) & ~member).double()
        return Sums(
            state.member.to(value.device) + inside.T @ value,
            state.members.to(value.device) + inside.sum(0),
            state.rest.to(value.device) + outside.T @ value,
            state.rests.to(value.device) + outside.sum(0),
        )

    def merge(self, left: Sums, right: Sums) -> Sums:
        return Sums(
            left.member + right.member,
            left.members + right.members,
            left.rest + right.rest,
            left.rests + right.rests,
        )

    def finish(self, state: Sums) -> Line:
        centre = state.rest / state.rests.clamp_min(1)[:, None]
        gap = state.member / state.members.clamp_min(1)[:, None] - centre  # [G, d]
        gap[state.members == 0] = 0.0
        return Line(self.seed, centre, gap, state.members)


@dataclass(frozen=True)
class Counts:
    member: Tensor  # [G, BINS] int64
    rest: Tensor  # [G, BINS] int64
    other: Tensor  # [G, BINS] int64, rows of other classes


@dataclass(frozen=True)
class Line:
    """A sweep for how all rows lie along the line through both means."""

    seed: Seed
    centre: Tensor  # [G, d]
    gap: Tensor  # [G, d]
    count: Tensor  # [G], members

    def along(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Projections on the lines, where a member is not held against its own part of the mean, and members [B, G]."""
        value, member = self.seed.split(batch)
        length = self.gap.norm(dim=1).clamp_min(1e-12)  # [G]
        line = self.gap / length[:, None]
        out = value @ line.T - (self.centre * line).sum(1)  # [B, G]
        # Left out of the mean, |gap| shortens by the row's own |z|^2 / members along itself.
        own = (value.square().sum(1, keepdim=True) / (self.count.clamp_min(1) * length)).clamp_max(1e6)
        return torch.where(member, out - own, out), member

    def zero(self) -> Counts:
        empty = torch.zeros(len(self.gap), quantiles.BINS, dtype=torch.int64)
        return Counts(empty, empty, empty)

    def reduce(self, state: Counts, batch: Batch) -> Counts:
        batch = batch[batch.label >= 0]
        number, device = len(self.gap), batch.embedding.device
        along, member = self.along(batch)
        own = home(batch, self.seed.groups.label.to(device))
        cell = torch.arange(number, device=device).expand_as(along)

        def count(wanted: Tensor) -> Tensor:
            return quantiles.histogram(along, torch.where(wanted, cell, -1), number)

        return Counts(
            state.member.to(device) + count(member & own),
            state.rest.to(device) + count(own & ~member),
            state.other.to(device) + count(~own),
        )

    def merge(self, left: Counts, right: Counts) -> Counts:
        return Counts(left.member + right.member, left.rest + right.rest, left.other + right.other)

    def finish(self, state: Counts) -> DecompositionScorer:
        # The rest alone says where the class lies: a large planted group would move its median towards itself.
        median, scale = quantiles.robust_scale(state.rest)  # [G]
        mirror = quantiles.moved(state.rest, 2 * median, -torch.ones_like(median))
        foreign_median, foreign_scale = quantiles.robust_scale(state.other)
        factor = scale / foreign_scale
        foreign = quantiles.moved(state.other, median - factor * foreign_median, factor)
        foreign = torch.where(state.other.sum(-1, keepdim=True) > 0, foreign, mirror)
        own = state.member + state.rest
        far = side(
            own[:, None],
            [foreign[:, None], mirror[:, None]],
            median=median[:, None],
            scale=scale[:, None],
            fewest=FEWEST,
        )
        posterior = far.posterior[:, 0]  # [G, BINS]
        # A long tail that no row stands out of is a lumpy distribution, not a group.
        rows = (own * (posterior >= 0.5)).sum(-1)
        return DecompositionScorer(self, median, scale, far.p_row[:, 0], posterior, rows)


@dataclass(frozen=True)
class DecompositionScorer:
    """Where both components of each group lie on their line."""

    line: Line
    median: Tensor  # [G]
    scale: Tensor  # [G]
    p_row: Tensor  # [G, BINS]
    posterior: Tensor  # [G, BINS]
    rows: Tensor  # [G], of the second component

    @property
    def groups(self) -> Groups:
        found = self.line.seed.groups
        p_value = torch.where(self.rows >= FEWEST, found.p_value, torch.ones_like(found.p_value))
        return Groups(found.label, found.statistic, p_value, found.evidence)

    def score(self, batch: Batch) -> Scores:
        groups = self.groups
        label, p_value = groups.label.to(batch.label.device), groups.p_value.to(batch.label.device)
        (along, _), own = self.line.along(batch), home(batch, label)
        # A row is of its class's group, or of the group of all classes where that is the more suspicious one.
        group = torch.where(own, p_value, torch.inf).argmin(1)  # [B]
        known = own.any(1)
        value = along.gather(1, group[:, None])[:, 0]
        spot = quantiles.bin_of(value)
        z = ((value - self.median[group]) / self.scale[group]).clamp_min(0)
        strength = (1 - p_value)[group]
        return Scores(
            value=torch.where(known, z, 0.0).float(),
            p_value=torch.where(known, self.p_row[group, spot], 1.0),
            posterior=torch.where(known, strength * self.posterior[group, spot], 0.0).float(),
            group=torch.where(known, group, -1),
            evidence={"deviations": torch.where(known, z, 0.0).float()},
        )
