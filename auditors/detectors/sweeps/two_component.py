"""Two-component decomposition: from a few outlying rows of a class (the seed) to all rows of the same component."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    """When the second component of a class may be a planted group.

    fewest  rows of the second component needed to suspect a group; classes with under four times as many rows are not
            tested
    part    largest share of its class that a second component may have
    tail    share of the rows, the most extreme ones, whose quantiles are compared with those of the null distributions
    """

    fewest: int = threshold(8, "single outliers are no attack; 12 planted rows in 8,000 were found with it")
    part: float = threshold(0.5, "a component with most of the rows is the class itself")
    tail: float = threshold(0.25, "not tuned")


@runtime_checkable
class Decomposes(Protocol):
    """A detector that applies the decomposition to its groups."""

    @property
    def decomposition(self) -> TwoComponent: ...


class Seed(Protocol):
    """What a detector has found before the decomposition: outlying rows of each group, and its tests."""

    @property
    def settings(self) -> TwoComponent: ...

    @property
    def trait(self) -> float:
        """Expected share of clean rows in the second component above which no group is suspected."""
        ...

    @property
    def label(self) -> Tensor:
        """Class index of each of the G groups, -1 for the group of all rows [G] int64."""
        ...

    def tests(self, excess: Tensor) -> GroupTests:
        """The group tests, given the excess of each group's tail along its line over the nulls [G] (log ratios)."""
        ...

    def split(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Whitened rows [B, d] of length about sqrt(d), the outlying rows of each group [B, G] bool, and the rows with
        the higher prior probability of being planted [B] bool.
        """
        ...


def home(batch: Batch, label: Tensor) -> Tensor:
    """Which rows belong to the groups' classes `label` [G], [B, G] bool; to class -1 all rows with a label."""
    return ((label == batch.label[:, None]) | (label < 0)) & (batch.label >= 0)[:, None]


@dataclass(frozen=True)
class Sums:
    """Sums and counts of the outlying rows ("members") and of the rest of their class."""

    member: Tensor  # [G, d] float64, sum
    members: Tensor  # [G] float64, count
    rest: Tensor  # [G, d] float64, sum
    rests: Tensor  # [G] float64, count


@dataclass(frozen=True)
class Decomposition:
    """The pass that estimates the means of the outlying rows and of the rest of their class.

    After Tang, Wang, Tang & Zhang, "Demon in the Variant" (USENIX Security 2021, arXiv 1908.00686), section 4.3: two
    components of equal covariance (whitened here) are best separated along the line through their means. The seed
    replaces the clean reference rows that the paper needs.
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
    """Histograms along the line, of rows with lower and higher prior probability."""

    member: Tensor  # [2, G, BINS] int64
    rest: Tensor  # [2, G, BINS] int64, other rows of the class
    other: Tensor  # [2, G, BINS] int64, rows of other classes


@dataclass(frozen=True)
class Line:
    """The pass that counts the projections of all rows on the line through both means."""

    seed: Seed
    centre: Tensor  # [G, d]
    gap: Tensor  # [G, d]
    count: Tensor  # [G], members

    def along(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Projections [B, G] (of members leave-one-out), members [B, G], and 1 for rows of higher prior [B]."""
        value, member, likely = self.seed.split(batch)
        length = self.gap.norm(dim=1).clamp_min(1e-12)  # [G]
        line = self.gap / length[:, None]
        out = value @ line.T - (self.centre * line).sum(1)  # [B, G]
        # Leaving a member z out of the members' mean reduces its projection by about |z|^2 / (members * |gap|).
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
        # Location and scale are those of the rest, since a large planted group would shift the class's median.
        settings = self.seed.settings
        rest, other = state.rest.sum(0), state.other.sum(0)
        median, scale = quantiles.robust_scale(rest)  # [G]
        foreign_median, foreign_scale = quantiles.robust_scale(other)
        factor = scale / foreign_scale

        def upper_tail(own: Tensor, rest: Tensor, other: Tensor) -> Side:
            mirror = quantiles.moved(rest, 2 * median, -torch.ones_like(median))
            foreign = quantiles.moved(other, median - factor * foreign_median, factor)
            foreign = torch.where(other.sum(-1, keepdim=True) > 0, foreign, mirror)
            nulls = [foreign[:, None], mirror[:, None]]
            where = {"median": median[:, None], "scale": scale[:, None]}
            return side(own[:, None], nulls, **where, fewest=settings.fewest, most=settings.tail)

        own = state.member + state.rest  # [2, G, BINS]
        whole = upper_tail(own.sum(0), rest, other)
        tails = [upper_tail(own[k], state.rest[k], state.other[k]) for k in range(2)]
        posterior = torch.stack([tail.posterior[:, 0] for tail in tails])  # [2, G, BINS]
        # A heavy tail without rows of the second component is no group. A second component that other classes have as
        # well, only less often, is a natural trait, as a high income is in every class of a table.
        second = posterior >= LIKELIER
        rows = (own * second).sum((0, 2))  # [G]
        few = (rows >= settings.fewest) & (rows <= settings.part * own.sum((0, 2)))
        clean = sum((tail.expected[:, 0] * second[k]).sum(-1) for k, tail in enumerate(tails)) / rows.clamp_min(1)
        rows = torch.where(clean <= self.seed.trait, rows, 0)
        moved = median - factor * foreign_median
        return DecompositionScorer(
            self, median, scale, moved, factor, whole.p_row[:, 0], posterior, rows, whole.excess[:, 0], few
        )


@dataclass(frozen=True)
class DecompositionScorer:
    """The positions of both components of each group on their line, and the posteriors of rows."""

    line: Line
    median: Tensor  # [G]
    scale: Tensor  # [G]
    moved: Tensor  # [G], offset of the affine map that gives rows of other classes the location and scale of the rest
    factor: Tensor  # [G], its factor
    p_row: Tensor  # [G, BINS]
    posterior: Tensor  # [2, G, BINS], of rows with lower and higher prior probability
    rows: Tensor  # [G], of the second component
    excess: Tensor  # [G], log ratio of the class's extreme quantiles to those of its nulls
    few: Tensor  # [G] bool, whether the second component is a small part of the group

    def apart(self, batch: Batch) -> Tensor:
        """Which rows are in the second component of each group, if it is a small part of it [B, G] bool.

        Includes rows of other classes at the same position.
        """
        along, _, likely = self.line.along(batch)
        group = torch.arange(len(self.few), device=along.device)
        own = home(batch, self.line.seed.label.to(along.device))
        along = torch.where(own, along, self.moved + self.factor * along)
        second = self.posterior[likely[:, None], group, quantiles.bin_of(along)] >= LIKELIER  # [B, G]
        return second & self.few & (batch.label >= 0)[:, None]

    @property
    def groups(self) -> GroupTests:
        found = self.line.seed.tests(self.excess)
        p_value = torch.where(
            self.rows >= self.line.seed.settings.fewest, found.p_value, torch.ones_like(found.p_value)
        )
        return replace(found, p_value=p_value)

    def score(self, batch: Batch) -> Scores:
        groups = self.groups
        label, p_value = groups.label.to(batch.label.device), groups.p_value.to(batch.label.device)
        (along, _, likely), own = self.line.along(batch), home(batch, label)
        # A row belongs to its class's group, or to the group of all classes if that has the smaller p-value.
        group = torch.where(own, p_value, torch.inf).argmin(1)  # [B]
        known = own.any(1)
        value = along.gather(1, group[:, None])[:, 0]
        bin_ = quantiles.bin_of(value)
        z = ((value - self.median[group]) / self.scale[group]).clamp_min(0)
        strength = (1 - p_value)[group]
        return Scores(
            value=torch.where(known, z, 0.0).float(),
            p_value=torch.where(known, self.p_row[group, bin_], 1.0),
            posterior=torch.where(known, strength * self.posterior[likely, group, bin_], 0.0).float(),
            group=torch.where(known, group, -1),
            evidence={"deviations": torch.where(known, z, 0.0).float()},
        )
