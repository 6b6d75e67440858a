"""Doubted signatures: rows whose label is doubted share a direction that no other rows have."""

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
from foretaste.stats.significance import extreme_value_tail
from foretaste.stats.spectrum import spatial_sign, top_directions
from foretaste.stats.tails import Side, chosen, side
from foretaste.types.batch import Batch, GroupTests
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

SCATTER_BYTES = 2**29


@detector("doubted-signature")
@dataclass(frozen=True)
class DoubtedSignature:
    """A pattern shared by rows whose label is doubted (by out-of-fold probabilities), which no other rows have.

    Rows with a trigger and a false label get a low out-of-fold probability of their label: they are "doubted", all
    others "believed". The doubted rows of each class, and all doubted rows together (all-to-all attacks), are whitened
    by the believed rows and tested along their top directions, as in spectral signatures (Tran, Li & Madry 2018, arXiv
    1811.00636), with sample splitting. Natural reasons for doubt also occur in the doubted rows of other classes or in
    the believed rows of the class, which are the null distributions. The outlying rows seed a two-component
    decomposition of all rows of the class.

    rank           top directions tested in each group
    doubt          ratio of the highest class probability to that of the label above which a label is doubted
    most           largest share of a group's doubted rows that may be planted: tails are compared up to it
    least_scale    lower bound of the scale of the Gumbel null distribution of the statistic, a sum of log ratios of
                   extremes
    weight         weight of `least_scale` as a prior for the scale of the null distribution, in classes
    peers          tested classes needed to estimate the null distribution; with fewer a fixed one is used, as it is for
                   the group of all doubted rows
    alone_place    median of the fixed null distribution for fewer than `peers` classes and for all doubted rows
    alone_scale    scale of the fixed null distribution (Gumbel) for fewer than `peers` classes and for all doubted rows
    trait          expected share of clean rows among the outlying ones above which the pattern is a natural trait, and
                   the group is not suspected
    whitening      regularisation of the whitening
    decomposition  when the second component of a class may be a planted group
    """

    rank: int = threshold(6, "not tuned")
    doubt: float = threshold(2.0, "not tuned")
    most: float = threshold(0.5, "a pattern of most of the doubted rows is the reason for the doubt")
    least_scale: float = threshold(0.1, "clean datasets of ten kinds, all variations of CIFAR-10 and digits")
    weight: float = threshold(20.0, "the same clean datasets")
    peers: int = threshold(3, "not tuned")
    alone_place: float = threshold(0.4, "the same clean datasets")
    alone_scale: float = threshold(0.2, "the same clean datasets")
    trait: float = threshold(0.25, "large groups, such as warped rows, overlap more with clean rows")
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
        # In the group of all classes only doubted rows are tested, so its size is not that of the dataset.
        whose = f"{group.rows:,} rows of {group.who}" if group.label is None else group.counted
        return (
            f"{whose} share a pattern ({group.views}) that goes with labels a network which never saw them does not "
            "believe; other doubted rows do not show it, nor do believed ones"
        )


def doubted(batch: Batch, doubt: float) -> Tensor:
    """Which rows [B] have a label `doubt` times less probable than the most probable class."""
    if batch.prob is None:
        raise ValueError("doubted-signature needs batches with probabilities")
    own = batch.prob.gather(1, batch.label.clamp_min(0)[:, None])[:, 0]
    return (batch.prob.amax(1) > doubt * own) & (batch.label >= 0)


@dataclass(frozen=True)
class _Believed:
    """First pass: mean and covariance of the believed rows."""

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
    """Second pass: second moments of the doubted rows of each class and half."""

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
        # About the believed rows' mean, because a pattern on most of the doubted rows shifts their own mean.
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
    """Third pass: histograms of the projections of each half on the directions estimated on the other."""

    frame: _Doubted
    axis: Tensor  # [K + 1, 2, d, r]

    def along(self, batch: Batch) -> Tensor:
        """Projections [B, K + 1, r] on the directions of the other half."""
        value, part = self.frame.turned(batch), half(batch)
        out = torch.zeros(len(batch), len(self.axis), self.axis.shape[3], dtype=torch.float64, device=value.device)
        for k in range(HALVES):
            out[part == k] = torch.einsum("bd,gdr->bgr", value[part == k], self.axis[:, 1 - k])
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
        right = upper_tail(state.own, state.others, state.believed, settings)
        left = upper_tail(state.own.flip(-1), state.others.flip(-1), state.believed.flip(-1), settings)
        tail, first = chosen([right, left])
        doubted, believed = (count.sum(-1)[..., 0] for count in (state.own, state.believed))  # [2, K + 1]
        # If the classifier does not know a class, most of its rows are doubted, and their pattern is the class itself.
        tested = (doubted >= 4 * settings.decomposition.fewest) & (believed >= (1 - settings.most) * doubted)
        excess, best = tail.excess.max(2, keepdim=True)  # [2, K + 1, 1]
        # The smaller statistic of both halves, which is robust to a few outliers in one of them.
        both = tested.all(0)  # [K + 1]
        weaker = torch.where(both, excess[..., 0].amin(0), 0.0)
        sign = torch.where(first, 1.0, -1.0).double().gather(2, best)  # [2, K + 1, 1]
        # The best direction on half k was estimated on half 1 - k, hence the flip.
        where = best.flip(0).transpose(0, 1)[:, :, None].expand(-1, -1, self.axis.shape[2], -1)  # [K + 1, 2, d, 1]
        bins = best[..., None].expand(-1, -1, -1, quantiles.BINS)  # [2, K + 1, 1, BINS]
        return Decomposition(
            DoubtedSeed(
                frame=self.frame,
                axis=self.axis.gather(3, where)[..., 0] * sign.flip(0).transpose(0, 1),
                posterior=mixture.posterior(*(count.gather(2, bins)[:, :, 0] for count in (tail.own, tail.expected))),
                excess=weaker,
                tested=both,
            ),
            self.axis.shape[2],
        )


def upper_tail(own: Tensor, others: Tensor, believed: Tensor, settings: DoubtedSignature) -> Side:
    """The upper tails of the doubted rows `own`; nulls: doubted rows of other classes, and believed rows."""
    median, scale = quantiles.robust_scale(others)
    where = {"median": median, "scale": scale}
    return side(own, [others, believed], **where, fewest=settings.decomposition.fewest, most=settings.most)


@dataclass(frozen=True)
class DoubtedSeed:
    """The most significant direction of each group and half, and the outlying doubted rows along it."""

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

    def tests(self, excess: Tensor) -> GroupTests:
        """The statistic is the tail excess of the doubted rows plus that of all rows along the decomposition's line."""
        statistic = torch.where(self.tested, self.excess + excess, 0.0)
        reference = statistic[:-1][self.tested[:-1]]
        settings = self.frame.settings
        p_value = extreme_value_tail(
            statistic, statistic.new_tensor([settings.alone_place]), least_scale=settings.alone_scale
        )
        if len(reference) >= settings.peers:
            p_value[:-1] = extreme_value_tail(
                statistic[:-1], reference, least_scale=settings.least_scale, weight=settings.weight
            )
        p_value[~self.tested] = 1.0
        evidence = {"times_farther_out": excess.exp()}
        return GroupTests(self.label, statistic, p_value, evidence, tested=self.tested)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        value, part = self.frame.turned(batch), half(batch)
        along = torch.zeros(len(batch), len(self.axis), dtype=torch.float64, device=value.device)
        for k in range(HALVES):
            along[part == k] = value[part == k] @ self.axis[:, 1 - k].T
        group = torch.arange(len(self.axis), device=value.device)
        apart = self.posterior[part[:, None], group, quantiles.bin_of(along)] >= mixture.LIKELIER
        doubt = doubted(batch, self.frame.settings.doubt)
        return value, apart & home(batch, self.label) & doubt[:, None], doubt
