"""Doubted signatures: rows whose label is doubted share a pattern that no other rows have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import CONTRAST, Aggregator, Claim, GroupFacts, detector
from foretaste.detectors.sweeps.halves import HALVES, half
from foretaste.detectors.sweeps.two_component import Decomposition, TwoComponent, home
from foretaste.detectors.sweeps.whitening import Whitening
from foretaste.errors import NotApplicable, PlanError
from foretaste.settings import threshold
from foretaste.stats import mixture, quantiles
from foretaste.stats.moments import ClassMoments
from foretaste.stats.significance import gumbel_tail
from foretaste.stats.spectrum import spatial_sign, top_directions
from foretaste.stats.tails import Side, chosen, side
from foretaste.types.batch import Batch, GroupTests
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

SCATTER_BYTES = 2**29


@detector("doubted-signature")
@dataclass(frozen=True)
class DoubtedSignature:
    """A pattern shared by rows whose label is doubted, which neither other doubted rows nor believed rows show.

    A trigger with a false label sits on rows that a network which never saw them takes for another class. Among
    the doubted rows of a class, and among all doubted rows (all-to-all attacks), the top directions after whitening by
    the believed rows are searched as in spectral signatures (Tran, Li & Madry 2018, arXiv 1811.00636). Directions are
    learned on one half of the rows and tested on the other. A natural reason for doubt shows in the doubted rows of
    other classes or in the believed rows of the class too; what shows in neither is suspicious. The rows that stand out
    there seed a two-component decomposition of all rows of the class.

    rank           directions examined in each group
    doubt          a label is doubted when another class is so many times more probable
    most           share of a group's doubted rows that may be planted, for the comparison of tails
    least_scale    how far innocent classes lie apart at least, in the logarithm of their extremes
    weight         classes that this counts as much as
    peers          classes with doubted rows that calibrate each other; where there are fewer, and for all doubted rows
                   together, the next two stand for them
    alone_place    where the statistic lies in clean data
    alone_scale    how far it scatters there
    trait          share of innocent rows among those that stand apart, above which what they show is a trait
    whitening      what whitening leaves out
    decomposition  when the rows that stand apart are a group
    """

    rank: int = threshold(6, "not tuned")
    doubt: float = threshold(2.0, "not tuned")
    most: float = threshold(0.5, "most of the doubted rows are the doubt itself")
    least_scale: float = threshold(0.1, "clean datasets of ten kinds, all variations of CIFAR-10 and digits")
    weight: float = threshold(20.0, "the same clean datasets")
    peers: int = threshold(3, "not tuned")
    alone_place: float = threshold(0.4, "the same clean datasets")
    alone_scale: float = threshold(0.2, "the same clean datasets")
    trait: float = threshold(0.25, "of a large group, such as warped rows, more lies where innocent rows do")
    whitening: Whitening = field(default_factory=Whitening)
    decomposition: TwoComponent = field(default_factory=TwoComponent)

    def __post_init__(self) -> None:
        if self.rank < 1 or self.doubt < 1:
            raise PlanError(f"rank and doubt must be at least 1, got {self.rank} and {self.doubt}")

    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, CONTRAST)

    def begin(self, schema: Schema) -> Aggregator:
        if not schema.probs:
            raise NotApplicable(
                "needs out-of-fold class probabilities, which the plan's [decide] beliefs does not give"
            )
        if not schema.labelled or schema.classes < 2:
            raise NotApplicable("needs labels of at least two classes")
        return _Believed(self, schema)

    def describe(self, group: GroupFacts) -> str:
        # Of all classes together only the doubted rows were looked at.
        whose = f"{group.rows:,} rows of {group.who}" if group.label is None else group.counted
        return (
            f"{whose} share a pattern ({group.views}) that goes with labels a network which never saw them does not "
            "believe; other doubted rows do not show it, nor do believed ones"
        )


def doubted(batch: Batch, doubt: float) -> Tensor:
    """Which rows [B] have a label that another class outweighs `doubt` times."""
    if batch.prob is None:
        raise ValueError("doubted-signature needs batches with probabilities")
    own = batch.prob.gather(1, batch.label.clamp_min(0)[:, None])[:, 0]
    return (batch.prob.amax(1) > doubt * own) & (batch.label >= 0)


@dataclass(frozen=True)
class _Believed:
    """First sweep: mean and covariance of the rows whose label is believed."""

    settings: DoubtedSignature
    schema: Schema

    def zero(self) -> ClassMoments:
        return ClassMoments.zero(1, self.schema.dim, pooled=True)

    def reduce(self, state: ClassMoments, batch: Batch) -> ClassMoments:
        out = doubted(batch, self.settings.doubt) | (batch.label < 0)
        return state + ClassMoments.of(batch.embedding, -out.long(), classes=1, pooled=True)

    def merge(self, left: ClassMoments, right: ClassMoments) -> ClassMoments:
        return left + right

    def finish(self, state: ClassMoments) -> Aggregator:
        groups = HALVES * self.schema.classes
        limit = int((SCATTER_BYTES / 8 / groups) ** 0.5)
        turn = self.settings.whitening.turn(state.scatter[0], float(state.count.sum()), limit=limit)
        if turn.shape[1] == 0:
            raise NotApplicable("the believed rows do not vary, or there are too few of them to tell")
        return _Doubted(self.settings, self.schema, state.mean[0], turn)


@dataclass(frozen=True)
class _Doubted:
    """Second sweep: second moments of the doubted rows of each class and half."""

    settings: DoubtedSignature
    schema: Schema
    mean: Tensor  # [D]
    turn: Tensor  # [D, d]

    def turned(self, batch: Batch) -> Tensor:
        return spatial_sign((batch.embedding.double() - self.mean) @ self.turn)  # [B, d]

    def zero(self) -> ClassMoments:
        return ClassMoments.zero(HALVES * self.schema.classes, self.turn.shape[1], pooled=False)

    def reduce(self, state: ClassMoments, batch: Batch) -> ClassMoments:
        batch = batch[doubted(batch, self.settings.doubt)]
        groups = HALVES * self.schema.classes
        return state + ClassMoments.of(
            self.turned(batch), batch.label * HALVES + half(batch), classes=groups, pooled=False
        )

    def merge(self, left: ClassMoments, right: ClassMoments) -> ClassMoments:
        return left + right

    def finish(self, state: ClassMoments) -> Aggregator:
        classes, dim = self.schema.classes, self.turn.shape[1]
        # About the believed rows' mean: a pattern on most of the doubted rows shows in their mean more than around it.
        square = state.scatter + state.count[:, None, None] * torch.einsum("gd,ge->gde", state.mean, state.mean)
        square, count = square.view(classes, HALVES, dim, dim), state.count.view(classes, HALVES)
        square = torch.cat([square, square.sum(0, keepdim=True)])  # [K + 1, 2, d, d], the last of all classes
        count = torch.cat([count, count.sum(0, keepdim=True)])
        covariance = (square / count.clamp_min(1)[..., None, None]).flatten(0, 1)
        axis = top_directions(covariance, self.settings.rank).view(classes + 1, HALVES, dim, -1)
        return _Tails(self, axis)


@dataclass(frozen=True)
class _Counts:
    own: Tensor  # [K + 1, r, BINS] int64 of each half: doubted rows of the group
    others: Tensor  # doubted rows of all other classes; believed rows for the group of all classes
    believed: Tensor  # believed rows of the group


@dataclass(frozen=True)
class _Tails:
    """Third sweep: how all rows of one half lie along the directions learned on the other."""

    frame: _Doubted
    axis: Tensor  # [K + 1, 2, d, r]

    def along(self, batch: Batch) -> Tensor:
        """Projections [B, K + 1, r] on the directions of the other half."""
        value, side_ = self.frame.turned(batch), half(batch)
        out = torch.zeros(len(batch), len(self.axis), self.axis.shape[3], dtype=torch.float64, device=value.device)
        for k in range(HALVES):
            out[side_ == k] = torch.einsum("bd,gdr->bgr", value[side_ == k], self.axis[:, 1 - k])
        return out

    def zero(self) -> _Counts:
        groups, rank = len(self.axis), self.axis.shape[3]
        empty = torch.zeros(HALVES, groups, rank, quantiles.BINS, dtype=torch.int64)
        return _Counts(empty, empty, empty)

    def reduce(self, state: _Counts, batch: Batch) -> _Counts:
        groups, rank = len(self.axis), self.axis.shape[3]
        batch = batch[batch.label >= 0]
        device = batch.embedding.device
        along, doubt = self.along(batch), doubted(batch, self.frame.settings.doubt)[:, None, None]
        cell = (half(batch)[:, None, None] * groups + torch.arange(groups, device=device)[None, :, None]) * rank
        cell = cell + torch.arange(rank, device=device)  # [B, K + 1, r]
        home = torch.arange(groups, device=device) == batch.label[:, None]
        home[:, -1] = True
        home = home[..., None]

        def count(wanted: Tensor) -> Tensor:
            index = torch.where(wanted, cell, -1)
            return quantiles.histogram(along, index, HALVES * groups * rank).view_as(state.own)

        believed = count(~doubt & home)
        others = count(doubt & ~home)
        others[:, -1] = believed[:, -1]
        return _Counts(
            state.own.to(device) + count(doubt & home),
            state.others.to(device) + others,
            state.believed.to(device) + believed,
        )

    def merge(self, left: _Counts, right: _Counts) -> _Counts:
        return _Counts(left.own + right.own, left.others + right.others, left.believed + right.believed)

    def finish(self, state: _Counts) -> Aggregator:
        settings = self.frame.settings
        right = held(state.own, state.others, state.believed, settings)
        left = held(state.own.flip(-1), state.others.flip(-1), state.believed.flip(-1), settings)
        far, first = chosen([right, left])
        doubted, believed = (count.sum(-1)[..., 0] for count in (state.own, state.believed))  # [2, K + 1]
        # Of a class that the network does not know nearly all rows are doubted: what they share is the class itself.
        tested = (doubted >= 4 * settings.decomposition.fewest) & (believed >= (1 - settings.most) * doubted)
        excess, best = far.excess.max(2, keepdim=True)  # [2, K + 1, 1]
        # What one half shows by chance or by a few odd rows the other does not: the weaker half speaks for both.
        both = tested.all(0)  # [K + 1]
        weaker = torch.where(both, excess[..., 0].amin(0), 0.0)
        sign = torch.where(first, 1.0, -1.0).double().gather(2, best)  # [2, K + 1, 1]
        # Directions of one half are tested on the other, so the best ones change sides.
        where = best.flip(0).transpose(0, 1)[:, :, None].expand(-1, -1, self.axis.shape[2], -1)  # [K + 1, 2, d, 1]
        bins = best[..., None].expand(-1, -1, -1, quantiles.BINS)  # [2, K + 1, 1, BINS]
        return Decomposition(
            DoubtedSeed(
                frame=self.frame,
                axis=self.axis.gather(3, where)[..., 0] * sign.flip(0).transpose(0, 1),
                posterior=mixture.posterior(*(one.gather(2, bins)[:, :, 0] for one in (far.own, far.expected))),
                excess=weaker,
                tested=both,
            ),
            self.axis.shape[2],
        )


def held(own: Tensor, others: Tensor, believed: Tensor, settings: DoubtedSignature) -> Side:
    """The upper tails of the doubted rows against both kinds of innocent rows, where those lie."""
    median, scale = quantiles.robust_scale(others)
    where = {"median": median, "scale": scale}
    return side(own, [others, believed], **where, fewest=settings.decomposition.fewest, most=settings.most)


@dataclass(frozen=True)
class DoubtedSeed:
    """The most suspicious directions of each group, and which doubted rows stand apart along them."""

    frame: _Doubted
    axis: Tensor  # [K + 1, 2, d]
    posterior: Tensor  # [2, K + 1, BINS]
    excess: Tensor  # [K + 1], of the weaker half
    tested: Tensor  # [K + 1] bool

    @property
    def settings(self) -> TwoComponent:
        return self.frame.settings.decomposition

    @property
    def trait(self) -> float:
        return self.frame.settings.trait

    @property
    def label(self) -> Tensor:
        label = torch.arange(len(self.axis), device=self.axis.device)
        label[-1] = -1
        return label

    def judged(self, excess: Tensor) -> GroupTests:
        """How far out the doubted rows reach, and how well all rows of the class fall apart there, together."""
        statistic = torch.where(self.tested, self.excess + excess, 0.0)
        reference = statistic[:-1][self.tested[:-1]]
        law = self.frame.settings
        p_value = gumbel_tail(statistic, statistic.new_tensor([law.alone_place]), least_scale=law.alone_scale)
        if len(reference) >= law.peers:
            p_value[:-1] = gumbel_tail(statistic[:-1], reference, least_scale=law.least_scale, weight=law.weight)
        p_value[~self.tested] = 1.0
        return GroupTests(self.label, statistic, p_value, {"times_farther_out": excess.exp()})

    def split(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        value, side_ = self.frame.turned(batch), half(batch)
        along = torch.zeros(len(batch), len(self.axis), dtype=torch.float64, device=value.device)
        for k in range(HALVES):
            along[side_ == k] = value[side_ == k] @ self.axis[:, 1 - k].T
        group = torch.arange(len(self.axis), device=value.device)
        apart = self.posterior[side_[:, None], group, quantiles.bin_of(along)] >= mixture.LIKELIER
        doubt = doubted(batch, self.frame.settings.doubt)
        return value, apart & home(batch, self.label) & doubt[:, None], doubt
