"""Two-component decomposition: given a few rows that stand apart, which rows of their class are of their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from foretaste.settings import threshold
from foretaste.stats import quantiles
from foretaste.stats.mixture import LIKELIER
from foretaste.stats.tails import Side, side
from foretaste.types.batch import Batch, GroupTests, Scores


@dataclass(frozen=True)
class TwoComponent:
    """When the second component of a class is a group of its own.

    fewest  rows that must stand out before a group is suspected; classes of fewer than four times as many rows are not
            tested
    part    share of the class above which the second component is the class itself
    tail    share of the rows up to which the most extreme ones are compared with those of the nulls
    """

    fewest: int = threshold(8, "single odd rows are no attack; 12 planted rows in 8,000 were found with it")
    part: float = threshold(0.5, "most of a class is the class")
    tail: float = threshold(0.25, "not tuned")


@runtime_checkable
class Decomposes(Protocol):
    """A detector that decomposes its groups."""

    @property
    def decomposition(self) -> TwoComponent: ...


class Seed(Protocol):
    """What a detector knows once it has found where its groups stand apart."""

    @property
    def settings(self) -> TwoComponent: ...

    @property
    def trait(self) -> float:
        """Share of innocent rows to be expected among those that stand apart, above which nobody is suspected."""
        ...

    @property
    def label(self) -> Tensor:
        """Class index of each of the G groups, -1 for all rows [G] int64."""
        ...

    def judged(self, excess: Tensor) -> GroupTests:
        """The groups, given how much farther along its line each reaches than its nulls [G], in logarithms."""
        ...

    def split(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened rows [B, d], each of length sqrt(d) or so; which of them stand apart in each group [B, G] bool; and
        which are the likelier ones to begin with [B] bool.
        """
        ...


def home(batch: Batch, label: Tensor) -> Tensor:
    """Which rows belong to the groups' classes `label` [G], [B, G] bool; all rows with a label to class -1."""
    return ((label == batch.label[:, None]) | (label < 0)) & (batch.label >= 0)[:, None]


@dataclass(frozen=True)
class Sums:
    """Sums and numbers of rows."""

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
        number = len(self.seed.label)
        sums, counts = torch.zeros(number, self.dim, dtype=torch.float64), torch.zeros(number, dtype=torch.float64)
        return Sums(sums, counts, sums, counts)

    def reduce(self, state: Sums, batch: Batch) -> Sums:
        value, member, _ = self.seed.split(batch)  # [B, d], [B, G]
        inside = member.double()
        outside = (home(batch, self.seed.label.to(member.device)) & ~member).double()
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
    """Histograms of the rows that are less and more likely to begin with."""

    member: Tensor  # [2, G, BINS] int64
    rest: Tensor  # [2, G, BINS] int64
    other: Tensor  # [2, G, BINS] int64, rows of other classes


@dataclass(frozen=True)
class Line:
    """A sweep for how all rows lie along the line through both means."""

    seed: Seed
    centre: Tensor  # [G, d]
    gap: Tensor  # [G, d]
    count: Tensor  # [G], members

    def along(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Projections [B, G], where no member is held against itself, members [B, G] and likelier rows [B]."""
        value, member, likely = self.seed.split(batch)
        length = self.gap.norm(dim=1).clamp_min(1e-12)  # [G]
        line = self.gap / length[:, None]
        out = value @ line.T - (self.centre * line).sum(1)  # [B, G]
        # Left out of the mean, |gap| shortens by the row's own |z|^2 / members along itself.
        own = (value.square().sum(1, keepdim=True) / (self.count.clamp_min(1) * length)).clamp_max(1e6)
        return torch.where(member, out - own, out), member, likely.long()

    def zero(self) -> Counts:
        empty = torch.zeros(2, len(self.gap), quantiles.BINS, dtype=torch.int64)
        return Counts(empty, empty, empty)

    def reduce(self, state: Counts, batch: Batch) -> Counts:
        batch = batch[batch.label >= 0]
        number, device = len(self.gap), batch.embedding.device
        along, member, likely = self.along(batch)
        own = home(batch, self.seed.label.to(device))
        cell = likely[:, None] * number + torch.arange(number, device=device)

        def count(wanted: Tensor) -> Tensor:
            return quantiles.histogram(along, torch.where(wanted, cell, -1), 2 * number).view_as(state.rest)

        return Counts(
            state.member.to(device) + count(member & own),
            state.rest.to(device) + count(own & ~member),
            state.other.to(device) + count(~own),
        )

    def merge(self, left: Counts, right: Counts) -> Counts:
        return Counts(left.member + right.member, left.rest + right.rest, left.other + right.other)

    def finish(self, state: Counts) -> DecompositionScorer:
        # The rest alone says where the class lies: a large planted group would move its median towards itself.
        settings = self.seed.settings
        rest, other = state.rest.sum(0), state.other.sum(0)
        median, scale = quantiles.robust_scale(rest)  # [G]
        foreign_median, foreign_scale = quantiles.robust_scale(other)
        factor = scale / foreign_scale

        def held(own: Tensor, rest: Tensor, other: Tensor) -> Side:
            mirror = quantiles.moved(rest, 2 * median, -torch.ones_like(median))
            foreign = quantiles.moved(other, median - factor * foreign_median, factor)
            foreign = torch.where(other.sum(-1, keepdim=True) > 0, foreign, mirror)
            nulls = [foreign[:, None], mirror[:, None]]
            where = {"median": median[:, None], "scale": scale[:, None]}
            return side(own[:, None], nulls, **where, fewest=settings.fewest, most=settings.tail)

        own = state.member + state.rest  # [2, G, BINS]
        whole = held(own.sum(0), rest, other)
        parts = [held(own[k], state.rest[k], state.other[k]) for k in range(2)]
        posterior = torch.stack([one.posterior[:, 0] for one in parts])  # [2, G, BINS]
        # A long tail that no row stands out of is a lumpy distribution, not a group. What other classes show as well,
        # only less often, is a trait: there are rich people in every class.
        apart = posterior >= LIKELIER
        rows = (own * apart).sum((0, 2))  # [G]
        few = (rows >= settings.fewest) & (rows <= settings.part * own.sum((0, 2)))
        innocent = sum((one.expected[:, 0] * apart[k]).sum(-1) for k, one in enumerate(parts)) / rows.clamp_min(1)
        rows = torch.where(innocent <= self.seed.trait, rows, 0)
        moved = median - factor * foreign_median
        return DecompositionScorer(
            self, median, scale, moved, factor, whole.p_row[:, 0], posterior, rows, whole.excess[:, 0], few
        )


@dataclass(frozen=True)
class DecompositionScorer:
    """Where both components of each group lie on their line."""

    line: Line
    median: Tensor  # [G]
    scale: Tensor  # [G]
    moved: Tensor  # [G], where 0 of the rows of other classes comes to lie once these lie as the group's rest does
    factor: Tensor  # [G], how much they are stretched for that
    p_row: Tensor  # [G, BINS]
    posterior: Tensor  # [2, G, BINS], of rows that are less and more likely to begin with
    rows: Tensor  # [G], of the second component
    excess: Tensor  # [G], log of how much farther out the class reaches than its nulls
    few: Tensor  # [G] bool, whether the second component is a small part of the group

    def apart(self, batch: Batch) -> Tensor:
        """Which rows lie where the second component of each group is, if it is a small part of it [B, G] bool.

        Rows of other classes are told as well.
        """
        along, _, likely = self.line.along(batch)
        group = torch.arange(len(self.few), device=along.device)
        own = home(batch, self.line.seed.label.to(along.device))
        along = torch.where(own, along, self.moved + self.factor * along)
        second = self.posterior[likely[:, None], group, quantiles.bin_of(along)] >= LIKELIER  # [B, G]
        return second & self.few & (batch.label >= 0)[:, None]

    @property
    def groups(self) -> GroupTests:
        found = self.line.seed.judged(self.excess)
        p_value = torch.where(
            self.rows >= self.line.seed.settings.fewest, found.p_value, torch.ones_like(found.p_value)
        )
        return GroupTests(found.label, found.statistic, p_value, found.evidence)

    def score(self, batch: Batch) -> Scores:
        groups = self.groups
        label, p_value = groups.label.to(batch.label.device), groups.p_value.to(batch.label.device)
        (along, _, likely), own = self.line.along(batch), home(batch, label)
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
            posterior=torch.where(known, strength * self.posterior[likely, group, spot], 0.0).float(),
            group=torch.where(known, group, -1),
            evidence={"deviations": torch.where(known, z, 0.0).float()},
        )
