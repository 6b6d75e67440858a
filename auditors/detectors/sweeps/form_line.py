"""Decomposition of a class by style, along the line from rows of the same meaning to the outlying rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from foretaste.detectors.contract import Aggregator
from foretaste.settings import threshold
from foretaste.stats import quantiles
from foretaste.stats.mixture import LIKELIER
from foretaste.stats.significance import extreme_value_tail
from foretaste.stats.tails import Side, side
from foretaste.types.batch import Batch, GroupTests, Scores


@dataclass(frozen=True)
class FormLine:
    """When rows of another style are a group, and which of them are flagged.

    fewest  outlying rows needed to suspect a class; classes with under four times as many contradicted rows in either
            half are not tested
    most    largest share of a class's contradicted rows that may be planted: tails are compared up to it
    tail    share of a class's agreeing rows, the most extreme ones, whose quantiles are compared with the null's
    trait   expected share of clean rows among the outlying ones above which no row is flagged
    alone   posterior from which on a row is flagged although its meaning agrees with its label
    place   median of the statistic's null distribution, from clean texts: two classes are too few to estimate it
    scale   scale of the statistic's null distribution (Gumbel), from clean texts
    """

    fewest: int = threshold(8, "as for spectral-signature")
    most: float = threshold(0.5, "most of the contradicted rows are honest label errors")
    tail: float = threshold(0.25, "not tuned")
    trait: float = threshold(0.25, "as for doubted-signature")
    alone: float = threshold(2 / 3, "not tuned")
    place: float = threshold(0.03, "classes of clean texts; the number of corpora was not recorded")
    scale: float = threshold(0.06, "the same clean texts")


def predicted(batch: Batch) -> tuple[Tensor, Tensor]:
    """The most probable class of each labelled row by its meaning [B], and whether there is one [B] bool."""
    if batch.prob is None:
        raise ValueError("foreign-form needs batches with probabilities")
    top, at = batch.prob.max(1)
    return at, (top > batch.prob.amin(1)) & (batch.label >= 0)


def contradicted(batch: Batch) -> Tensor:
    """Which rows [B] have a label that differs from their predicted class."""
    at, known = predicted(batch)
    return known & (at != batch.label)


@dataclass(frozen=True)
class Space:
    """The whitened space of style vectors.

    home    [K, D] mean of the agreeing rows of each class
    turn    [D, D] whitening matrix
    weight  [K, K] at [k, j], weight of an agreeing row of class j in the comparison with class k
    """

    home: Tensor
    turn: Tensor
    weight: Tensor

    def turned(self, batch: Batch) -> Tensor:
        return (batch.embedding.double() - self.home.mean(0)) @ self.turn  # [B, D]

    def centred(self, batch: Batch) -> Tensor:
        """Rows [B, D] minus the mean of the agreeing rows of their predicted class."""
        at, known = predicted(batch)
        about = torch.where(known, at, batch.label.clamp_min(0))
        return (batch.embedding.double() - self.home[about]) @ self.turn


@dataclass(frozen=True)
class Counts:
    """Histograms [..., K, BINS] of the projections of rows on the direction of each class."""

    own: Tensor  # [2, K, BINS] of each half: contradicted rows of the class
    others: Tensor  # agreeing rows of other classes, weighted by the predicted classes of the contradicted rows
    agreeing: Tensor  # agreeing rows of the class


def counted(state: Counts, batch: Batch, along: Tensor, part: Tensor, weight: Tensor) -> Counts:
    """`state` plus the counts of a batch, from its projections `along` [B, K], each row in the histogram `part` [B].

    `weight` [K, K] is that of Space. A row without a predicted class counts as agreeing.
    """
    classes = along.shape[1]
    number = torch.arange(classes, device=along.device).expand_as(along)
    cell = part[:, None] * classes + number
    own, against = batch.label[:, None] == number, contradicted(batch)[:, None]
    parts = state.own.numel() // quantiles.BINS

    def count(wanted: Tensor) -> Tensor:
        return quantiles.histogram(along, torch.where(wanted, cell, -1), parts).view_as(state.own)

    # Classes are counted separately, so that weights multiply integers and sums do not depend on the order of rows.
    others = torch.zeros_like(state.others, device=along.device)
    for k in torch.bincount(batch.label[~against[:, 0]], minlength=classes).nonzero()[:, 0].tolist():
        others += weight[:, k, None] * count(~against & ~own & (batch.label == k)[:, None])
    return Counts(
        state.own.to(along.device) + count(own & against),
        state.others.to(along.device) + others,
        state.agreeing.to(along.device) + count(own & ~against),
    )


def upper_tail(own: Tensor, others: Tensor, agreeing: Tensor, settings: FormLine) -> Side:
    """The upper tail of the contradicted rows `own`; nulls: agreeing rows of other classes, and of the class."""
    median, scale = quantiles.robust_scale(others)
    return side(own, [others, agreeing], median=median, scale=scale, fewest=settings.fewest, most=settings.most)


class Finder(Protocol):
    """Selects the outlying rows of each class."""

    def members(self, batch: Batch) -> Tensor:
        """The outlying rows [B, K] bool."""
        ...


@dataclass(frozen=True)
class Gap:
    """Sum over the outlying rows ("members") of their difference from agreeing rows of their predicted class."""

    total: Tensor  # [K, D]
    count: Tensor  # [K]


@dataclass(frozen=True)
class Members:
    """The pass that estimates the mean difference of the outlying rows from rows of their predicted class."""

    settings: FormLine
    space: Space
    finder: Finder
    excess: Tensor  # [K], the smaller of both halves
    tested: Tensor  # [K] bool
    again: bool  # whether to repeat it with the outlying rows found along the line

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
    """The pass that counts the projections of all rows on the line from rows of the same meaning to the members."""

    found: Members
    gap: Tensor  # [K, D]
    count: Tensor  # [K] members

    def along(self, batch: Batch) -> Tensor:
        """Projections [B, K], of members leave-one-out."""
        space = self.found.space
        length = self.gap.norm(dim=1).clamp_min(1e-12)  # [K]
        out = space.turned(batch) @ (self.gap / length[:, None]).T
        # Leaving a member z out of the members' mean reduces its projection by about |z|^2 / (members * |gap|).
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
        against = upper_tail(state.own, state.others, state.agreeing, settings)
        # Meaning shifts rows along the line. The nulls of the class's agreeing rows are therefore the rows of other
        # classes with the location and scale of the agreeing rows, and the agreeing rows mirrored.
        median, scale = quantiles.robust_scale(state.agreeing)
        location, spread = against.median, against.scale
        foreign = quantiles.moved(state.others, median - scale / spread * location, scale / spread)
        mirror = quantiles.moved(state.agreeing, 2 * median, -torch.ones_like(median))
        where = {"median": median, "scale": scale}
        agreeing = side(state.agreeing, [foreign, mirror], **where, fewest=settings.fewest, most=settings.tail)
        tails = (agreeing, against)
        posterior = torch.stack([tail.posterior for tail in tails])  # [2, K, BINS]
        # A style that clean rows have as well, only less often, is a natural trait.
        second = posterior >= LIKELIER
        rows = torch.stack([(tail.own * second[k]).sum(-1) for k, tail in enumerate(tails)]).sum(0)
        clean = torch.stack([(tail.expected * second[k]).sum(-1) for k, tail in enumerate(tails)]).sum(0)
        enough = (rows >= settings.fewest) & (clean <= settings.trait * rows)
        scorer = FormScorer(
            self,
            torch.stack([tail.median for tail in tails]),
            torch.stack([tail.scale for tail in tails]),
            torch.stack([tail.p_row for tail in tails]),
            posterior,
            enough,
            self.found.excess,
        )
        if not self.found.again:
            return scorer
        return Members(settings, self.found.space, scorer, scorer.excess, self.found.tested & enough, again=False)


@dataclass(frozen=True)
class FormScorer:
    """Distributions of agreeing and contradicted rows of each class on its line, and the posteriors of rows."""

    line: Line
    median: Tensor  # [2, K] of agreeing and of contradicted rows
    scale: Tensor  # [2, K]
    p_row: Tensor  # [2, K, BINS]
    posterior: Tensor  # [2, K, BINS]
    enough: Tensor  # [K] bool
    excess: Tensor  # [K]

    def members(self, batch: Batch) -> Tensor:
        number = torch.arange(len(self.excess), device=batch.label.device)
        kind, bin_ = contradicted(batch).long()[:, None], quantiles.bin_of(self.line.along(batch))
        return (batch.label[:, None] == number) & (self.posterior[kind, number, bin_] >= LIKELIER)

    @property
    def groups(self) -> GroupTests:
        """The statistic is the tail excess of the contradicted rows along the direction estimated on the other half."""
        tested = self.line.found.tested & self.enough
        settings = self.line.found.settings
        p_value = extreme_value_tail(self.excess, self.excess.new_tensor([settings.place]), least_scale=settings.scale)
        label = torch.arange(len(self.excess), device=self.excess.device)
        p_value = torch.where(tested, p_value, 1.0)
        return GroupTests(label, self.excess, p_value, {"times_farther_out": self.excess.exp()}, tested=tested)

    def score(self, batch: Batch) -> Scores:
        known, label = batch.label >= 0, batch.label.clamp_min(0)
        kind = contradicted(batch).long()
        value = self.line.along(batch).gather(1, label[:, None])[:, 0]
        bin_ = quantiles.bin_of(value)
        z = ((value - self.median[kind, label]) / self.scale[kind, label]).clamp_min(0)
        strength = 1 - self.groups.p_value[label]
        posterior = self.posterior[kind, label, bin_]
        # The only evidence against a row whose meaning agrees with its label is its style, so it needs more of it.
        alone = self.line.found.settings.alone
        posterior = torch.where((kind == 0) & (posterior < alone), posterior * 0.49 / alone, posterior)
        return Scores(
            value=torch.where(known, z, 0.0).float(),
            p_value=torch.where(known, self.p_row[kind, label, bin_], 1.0),
            posterior=torch.where(known, strength * posterior, 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"contradicted": torch.where(known, kind.float(), 0.0)},
        )
