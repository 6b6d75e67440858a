"""How rows lie on the line to those that are written in another form than rows of their meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from foretaste.detectors.contract import Aggregator
from foretaste.settings import threshold
from foretaste.stats import quantiles
from foretaste.stats.mixture import LIKELIER
from foretaste.stats.significance import gumbel_tail
from foretaste.stats.tails import Side, side
from foretaste.types.batch import Batch, GroupTests, Scores


@dataclass(frozen=True)
class FormLine:
    """When rows of another form are a group, and which of them are accused.

    fewest  contradicted rows that must stand out; classes with fewer than four times as many are not tested
    most    share of a class's contradicted rows that may be planted, for the comparison of tails
    tail    share of its agreeing rows up to which the most extreme ones are compared
    trait   share of honest rows among those that stand apart, above which nobody is accused
    alone   posterior from which on a row is accused by its form alone
    place   where the statistic lies in clean texts: datasets of two classes have no peers
    scale   how far it scatters there
    """

    fewest: int = threshold(8, "as for spectral-signature")
    most: float = threshold(0.5, "most of the contradicted rows are honest mistakes")
    tail: float = threshold(0.25, "not tuned")
    trait: float = threshold(0.25, "as for doubted-signature")
    alone: float = threshold(2 / 3, "not tuned")
    place: float = threshold(0.03, "classes of clean texts; of how many corpora was not recorded")
    scale: float = threshold(0.06, "the same clean texts")


def meant(batch: Batch) -> tuple[Tensor, Tensor]:
    """The class that each row's content speaks for [B], and whether it speaks for any [B] bool."""
    if batch.prob is None:
        raise ValueError("foreign-form needs batches with probabilities")
    top, at = batch.prob.max(1)
    return at, (top > batch.prob.amin(1)) & (batch.label >= 0)


def contradicted(batch: Batch) -> Tensor:
    """Which rows [B] have a label that their content speaks against."""
    at, known = meant(batch)
    return known & (at != batch.label)


@dataclass(frozen=True)
class Space:
    """Where rows lie by how they are written, so that honest ones scatter alike in all directions.

    home    [K, D] mean of the agreeing rows of each class
    turn    [D, D]
    weight  [K, K] of an agreeing row of each class in the comparison with each class
    """

    home: Tensor
    turn: Tensor
    weight: Tensor

    def turned(self, batch: Batch) -> Tensor:
        return (batch.embedding.double() - self.home.mean(0)) @ self.turn  # [B, D]

    def centred(self, batch: Batch) -> Tensor:
        """Rows [B, D] about the rows of their meaning: what is left when their meaning is taken out."""
        at, known = meant(batch)
        about = torch.where(known, at, batch.label.clamp_min(0))
        return (batch.embedding.double() - self.home[about]) @ self.turn


@dataclass(frozen=True)
class Counts:
    """How the rows of each class lie along a direction, as histograms [..., K, BINS]."""

    own: Tensor  # [2, K, BINS] of each half: contradicted rows of the class
    others: Tensor  # agreeing rows of other classes, weighted as the contradicted rows' meanings
    agreeing: Tensor  # agreeing rows of the class


def counted(state: Counts, batch: Batch, along: Tensor, part: Tensor, weight: Tensor) -> Counts:
    """Counts with those of a batch added, by its projections [B, K], in which `part` [B] each row is counted.

    `weight` [K, K] is that of an agreeing row of each class in the comparison with each class. A row that nobody read
    for its meaning counts as agreeing.
    """
    classes = along.shape[1]
    number = torch.arange(classes, device=along.device).expand_as(along)
    cell = part[:, None] * classes + number
    own, against = batch.label[:, None] == number, contradicted(batch)[:, None]
    parts = state.own.numel() // quantiles.BINS

    def count(wanted: Tensor) -> Tensor:
        return quantiles.histogram(along, torch.where(wanted, cell, -1), parts).view_as(state.own)

    # Each class is counted by itself, so that weights multiply whole numbers, whatever the order of the rows.
    others = torch.zeros_like(state.others, device=along.device)
    for k in torch.bincount(batch.label[~against[:, 0]], minlength=classes).nonzero()[:, 0].tolist():
        others += weight[:, k, None] * count(~against & ~own & (batch.label == k)[:, None])
    return Counts(
        state.own.to(along.device) + count(own & against),
        state.others.to(along.device) + others,
        state.agreeing.to(along.device) + count(own & ~against),
    )


def held(own: Tensor, others: Tensor, agreeing: Tensor, settings: FormLine) -> Side:
    """The upper tail of the contradicted rows against both kinds of honest rows, where those lie."""
    median, scale = quantiles.robust_scale(others)
    return side(own, [others, agreeing], median=median, scale=scale, fewest=settings.fewest, most=settings.most)


class Finder(Protocol):
    """What says which rows of each class stand apart."""

    def members(self, batch: Batch) -> Tensor:
        """[B, K] bool."""
        ...


@dataclass(frozen=True)
class Gap:
    """By how much the rows that stand apart differ from rows of their meaning."""

    total: Tensor  # [K, D] of the members, each about the rows of its meaning
    count: Tensor  # [K]


@dataclass(frozen=True)
class Members:
    """A sweep for how the rows that stand apart differ from rows of their meaning."""

    settings: FormLine
    space: Space
    finder: Finder
    excess: Tensor  # [K], of the weaker half
    tested: Tensor  # [K] bool
    again: bool

    def zero(self) -> Gap:
        classes, dim = self.space.home.shape
        return Gap(torch.zeros(classes, dim, dtype=torch.float64), torch.zeros(classes, dtype=torch.float64))

    def reduce(self, state: Gap, batch: Batch) -> Gap:
        inside = self.finder.members(batch).double()
        device = inside.device
        total = state.total.to(device) + inside.T @ self.space.centred(batch)
        return Gap(total, state.count.to(device) + inside.sum(0))

    def merge(self, left: Gap, right: Gap) -> Gap:
        return Gap(left.total + right.total, left.count + right.count)

    def finish(self, state: Gap) -> Aggregator:
        return Line(self, state.total / state.count.clamp_min(1)[:, None], state.count)


@dataclass(frozen=True)
class Line:
    """A sweep for how all rows lie along the line from the rows of their meaning to the rows that stand apart."""

    found: Members
    gap: Tensor  # [K, D]
    count: Tensor  # [K] members

    def along(self, batch: Batch) -> Tensor:
        """Projections [B, K], where no member is held against itself."""
        space = self.found.space
        length = self.gap.norm(dim=1).clamp_min(1e-12)  # [K]
        out = space.turned(batch) @ (self.gap / length[:, None]).T
        # Left out of the mean, |gap| shortens by the row's own |z|^2 / members along itself.
        own = space.centred(batch).square().sum(1, keepdim=True) / (self.count.clamp_min(1) * length)
        return torch.where(self.found.finder.members(batch), out - own.clamp_max(1e6), out)

    def zero(self) -> Counts:
        empty = torch.zeros(len(self.gap), quantiles.BINS, dtype=torch.float64)
        return Counts(empty, empty, empty)

    def reduce(self, state: Counts, batch: Batch) -> Counts:
        batch = batch[batch.label >= 0]
        return counted(state, batch, self.along(batch), torch.zeros_like(batch.label), self.found.space.weight)

    def merge(self, left: Counts, right: Counts) -> Counts:
        return Counts(left.own + right.own, left.others + right.others, left.agreeing + right.agreeing)

    def finish(self, state: Counts) -> Aggregator | FormScorer:
        settings = self.found.settings
        against = held(state.own, state.others, state.agreeing, settings)
        # Where a row of this meaning and another label lies, an agreeing row of the class may not: its meaning shifts
        # it along the line. Its nulls are the rows of other classes about their own middle, and its class's mirror.
        median, scale = quantiles.robust_scale(state.agreeing)
        place, spread = against.median, against.scale
        foreign = quantiles.moved(state.others, median - scale / spread * place, scale / spread)
        mirror = quantiles.moved(state.agreeing, 2 * median, -torch.ones_like(median))
        where = {"median": median, "scale": scale}
        agreeing = side(state.agreeing, [foreign, mirror], **where, fewest=settings.fewest, most=settings.tail)
        parts = (agreeing, against)
        posterior = torch.stack([one.posterior for one in parts])  # [2, K, BINS]
        # What honest rows show as well, only less often, is a trait, and accuses nobody.
        apart = posterior >= LIKELIER
        rows = torch.stack([(one.own * apart[k]).sum(-1) for k, one in enumerate(parts)]).sum(0)
        innocent = torch.stack([(one.expected * apart[k]).sum(-1) for k, one in enumerate(parts)]).sum(0)
        enough = (rows >= settings.fewest) & (innocent <= settings.trait * rows)
        scorer = FormScorer(
            self,
            torch.stack([one.median for one in parts]),
            torch.stack([one.scale for one in parts]),
            torch.stack([one.p_row for one in parts]),
            posterior,
            enough,
            self.found.excess,
        )
        if not self.found.again:
            return scorer
        return Members(settings, self.found.space, scorer, scorer.excess, self.found.tested & enough, again=False)


@dataclass(frozen=True)
class FormScorer:
    """Where agreeing and contradicted rows of each class lie on its line, and from where on they are foreign."""

    line: Line
    median: Tensor  # [2, K] of agreeing and of contradicted rows
    scale: Tensor  # [2, K]
    p_row: Tensor  # [2, K, BINS]
    posterior: Tensor  # [2, K, BINS]
    enough: Tensor  # [K] bool
    excess: Tensor  # [K]

    def members(self, batch: Batch) -> Tensor:
        number = torch.arange(len(self.excess), device=batch.label.device)
        kind, spot = contradicted(batch).long()[:, None], quantiles.bin_of(self.line.along(batch))
        return (batch.label[:, None] == number) & (self.posterior[kind, number, spot] >= LIKELIER)

    @property
    def groups(self) -> GroupTests:
        """How far out the contradicted rows reach along the direction that the other half of them showed."""
        tested = self.line.found.tested & self.enough
        law = self.line.found.settings
        p_value = gumbel_tail(self.excess, self.excess.new_tensor([law.place]), least_scale=law.scale)
        label = torch.arange(len(self.excess), device=self.excess.device)
        p_value = torch.where(tested, p_value, 1.0)
        return GroupTests(label, self.excess, p_value, {"times_farther_out": self.excess.exp()})

    def score(self, batch: Batch) -> Scores:
        known, label = batch.label >= 0, batch.label.clamp_min(0)
        kind = contradicted(batch).long()
        value = self.line.along(batch).gather(1, label[:, None])[:, 0]
        spot = quantiles.bin_of(value)
        z = ((value - self.median[kind, label]) / self.scale[kind, label]).clamp_min(0)
        strength = 1 - self.groups.p_value[label]
        posterior = self.posterior[kind, label, spot]
        # Nothing but its form speaks against a row that means what its label says.
        alone = self.line.found.settings.alone
        posterior = torch.where((kind == 0) & (posterior < alone), posterior * 0.49 / alone, posterior)
        return Scores(
            value=torch.where(known, z, 0.0).float(),
            p_value=torch.where(known, self.p_row[kind, label, spot], 1.0),
            posterior=torch.where(known, strength * posterior, 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"contradicted": torch.where(known, kind.float(), 0.0)},
        )
