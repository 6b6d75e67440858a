"""Spectral signatures: a poisoned class has a direction with a heavy tail of few rows on one side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import SPECTRAL, Aggregator, Claim, GroupFacts, Unit, detector
from foretaste.detectors.sweeps.two_component import Decomposition, TwoComponent
from foretaste.detectors.sweeps.whitening import Whitening
from foretaste.errors import NotApplicable, PlanError
from foretaste.settings import threshold
from foretaste.stats import mixture, quantiles
from foretaste.stats.moments import ClassMoments
from foretaste.stats.significance import extreme_value_fit, extreme_value_maximum, extreme_value_tail
from foretaste.stats.sparse import product, sparse
from foretaste.stats.spectrum import spatial_sign, top_directions
from foretaste.stats.tails import Side, chosen, side
from foretaste.types.batch import Batch, GroupTests
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

SCATTER_BYTES = 2**29  # of all class scatter matrices: with many classes fewer dimensions are kept


@detector("spectral-signature")
@dataclass(frozen=True)
class SpectralSignature:
    """Outliers on one side of a top principal direction of their class, farther out than other classes along it.

    Tran, Li & Madry (NeurIPS 2018, arXiv 1811.00636, algorithm 1), centred. With `whiten` the rows are first whitened
    by the pooled within-class covariance and projected on the sphere, so that variation common to all classes cannot
    hide that of one class. A class is suspected if its m-th most extreme row (m = 8, 16, ...) is farther out than that
    of the other classes along the same direction, and than its own on the other side.

    The outlying rows seed a two-component decomposition of the class, which gives the posteriors of its rows.

    rank           top principal directions tested in each class
    whiten         whether to whiten by the pooled within-class covariance first
    least_scale    lower bound of the scale of the extreme value distribution that is the null distribution of the
                   statistic, a log ratio of extremes
    shape          its shape: 0 for a Gumbel distribution, larger for a heavier tail
    trait          expected share of clean rows among the outlying ones above which the pattern is a natural trait, and
                   the class is not suspected
    whitening      regularisation of the whitening
    decomposition  when the second component of a class may be a planted group
    """

    rank: int = threshold(12, "not tuned")
    whiten: bool = True
    least_scale: float = threshold(0.1, "set on CIFAR-10 and digits")
    shape: float = threshold(0.0, "the usual law of maxima; the default plans have the shapes that clean datasets have")
    trait: float = threshold(0.1, "not tuned")
    whitening: Whitening = field(default_factory=Whitening)
    decomposition: TwoComponent = field(default_factory=TwoComponent)

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise PlanError(f"rank must be at least 1, got {self.rank}")
        if self.shape < 0:
            raise PlanError(f"shape must be at least 0, got {self.shape}")

    claim: ClassVar[Claim] = Claim(
        Kind.BACKDOOR, SPECTRAL, Unit("times_farther_out", "times as far out as the other classes")
    )

    def begin(self, schema: Schema) -> Aggregator:
        if schema.classes < 2:
            raise NotApplicable("needs at least two classes: how far out is far is what the other classes say")
        if schema.rows < 4 * self.decomposition.fewest:
            raise NotApplicable(f"needs at least {4 * self.decomposition.fewest} rows, the dataset has {schema.rows}")
        return _Within(self, schema)

    def describe(self, group: GroupFacts) -> str:
        return (
            f"{group.counted} share a pattern: along one direction ({group.views}) the class reaches "
            f"{group.evidence['times_farther_out']:.1f} times farther out than the other classes do"
        )


@dataclass(frozen=True)
class _Within:
    """First pass: class means and the pooled within-class covariance."""

    settings: SpectralSignature
    schema: Schema

    def zero(self) -> ClassMoments:
        return ClassMoments.zero(self.schema.classes, self.schema.dim, pooled=True)

    def reduce(self, state: ClassMoments, batch: Batch) -> ClassMoments:
        return state + ClassMoments.of(batch.embedding, batch.label, classes=self.schema.classes, pooled=True)

    def merge(self, left: ClassMoments, right: ClassMoments) -> ClassMoments:
        return left + right

    def finish(self, state: ClassMoments) -> Aggregator:
        rows, limit = float(state.count.sum()), int((SCATTER_BYTES / 8 / self.schema.classes) ** 0.5)
        if self.settings.whiten:
            turn = self.settings.whitening.turn(state.scatter[0], rows, limit=limit).contiguous()
        else:
            # Only a change of unit: projections are then in standard deviations of the average coordinate.
            spread = float(state.scatter[0].diagonal().mean()) / max(rows, 1.0)
            turn = torch.full_like(state.mean[0, :limit], max(spread, 1e-300) ** -0.5)
        if turn.shape[-1] == 0:
            raise NotApplicable(f"the embeddings do not vary within classes, or {rows:.0f} rows are too few to tell")
        if turn.shape[-1] == 1 or effective_dimensions(state.scatter[0]) < 1 + 2 * self.settings.whitening.floor:
            raise NotApplicable("needs two dimensions: where rows vary along a single one, no direction is a pattern")
        return _Class(self.settings, self.schema, state.mean, turn)


@dataclass(frozen=True)
class _Class:
    """Second pass: the covariance of each class after whitening."""

    settings: SpectralSignature
    schema: Schema
    mean: Tensor  # [K, D]
    turn: Tensor  # whitening matrix [D, d], or factors [d] of the first d coordinates

    @property
    def dim(self) -> int:
        return self.turn.shape[-1]

    def turned(self, batch: Batch) -> Tensor:
        label = batch.label.clamp_min(0)
        if self.turn.ndim == 1:
            return (batch.embedding[:, : self.dim].double() - self.mean[:, : self.dim][label]) * self.turn
        if sparse(batch.embedding):
            value = product(batch.embedding, self.turn) - (self.mean @ self.turn)[label]  # [B, d]
        else:
            value = (batch.embedding.double() - self.mean[label]) @ self.turn
        return spatial_sign(value) if self.settings.whiten else value

    def zero(self) -> ClassMoments:
        return ClassMoments.zero(self.schema.classes, self.dim, pooled=False)

    def reduce(self, state: ClassMoments, batch: Batch) -> ClassMoments:
        classes = self.schema.classes
        if self.turn.ndim == 2:
            return state + ClassMoments.of(self.turned(batch), batch.label, classes=classes, pooled=False)
        # Moments are taken before centring and scaling, which would make sparse word counts dense.
        found = ClassMoments.of(batch.embedding[:, : self.dim], batch.label, classes=classes, pooled=False)
        mean = torch.where(found.count[:, None] > 0, (found.mean - self.mean[:, : self.dim]) * self.turn, 0.0)
        return state + ClassMoments(found.count, mean, found.scatter * self.turn[:, None] * self.turn)

    def merge(self, left: ClassMoments, right: ClassMoments) -> ClassMoments:
        return left + right

    def finish(self, state: ClassMoments) -> Aggregator:
        covariance = state.scatter / state.count.clamp_min(1)[:, None, None]
        return _Tails(self, state.mean, top_directions(covariance, self.settings.rank))


@dataclass(frozen=True)
class _Counts:
    own: Tensor  # [K, r, BINS] int64, rows of the class along its own directions
    other: Tensor  # [K, r, BINS] int64, rows of all other classes along the same directions


@dataclass(frozen=True)
class _Tails:
    """Third pass: histograms of the projections of all rows on the directions of every class."""

    frame: _Class
    centre: Tensor  # [K, d]
    axis: Tensor  # [K, d, r]

    @property
    def shape(self) -> tuple[int, int]:
        return self.axis.shape[0], self.axis.shape[2]

    def zero(self) -> _Counts:
        empty = torch.zeros(*self.shape, quantiles.BINS, dtype=torch.int64)
        return _Counts(empty, empty)

    def reduce(self, state: _Counts, batch: Batch) -> _Counts:
        classes, rank = self.shape
        batch = batch[batch.label >= 0]
        value = self.frame.turned(batch) - self.centre[batch.label]  # [B, d]
        along = torch.einsum("bd,kdr->bkr", value, self.axis)  # [B, K, r]
        cell = torch.arange(classes * rank, device=along.device).view(1, classes, rank).expand_as(along)
        home = (torch.arange(classes, device=along.device) == batch.label[:, None])[..., None]  # [B, K, 1]
        own = quantiles.histogram(along, torch.where(home, cell, -1), classes * rank).view_as(state.own)
        everyone = quantiles.histogram(along, cell, classes * rank).view_as(state.own)
        return _Counts(state.own.to(own) + own, state.other.to(own) + everyone - own)

    def merge(self, left: _Counts, right: _Counts) -> _Counts:
        return _Counts(left.own + right.own, left.other + right.other)

    def finish(self, state: _Counts) -> Aggregator:
        settings = self.frame.settings
        group, shape = settings.decomposition, settings.shape
        sides = [(state.own, state.other), (state.own.flip(-1), state.other.flip(-1))]
        tail, first = chosen([upper_tail(*counts, group) for counts in sides])
        tested = state.own.sum(-1)[:, 0] >= 4 * group.fewest  # [K]
        reference = tail.excess[tested].flatten()
        p_value = torch.ones_like(tail.excess)
        null = tail.excess.new_zeros(2, len(tested))
        if len(reference):
            # Extremes of fewer rows vary more, so the null distribution of a small class is widened.
            rows = state.own.sum(-1)[:, :1][tested].double()  # [T, 1]
            narrow = (rows / rows.median()).sqrt().clamp(max=1.0)
            level = reference.median()
            p_value[tested] = extreme_value_tail(
                level + narrow * (tail.excess[tested] - level), reference, least_scale=settings.least_scale, shape=shape
            )
            fitted = extreme_value_fit(reference, least_scale=settings.least_scale, shape=shape)
            location, spread = extreme_value_maximum(*fitted, shape, p_value.shape[1])
            null[:, tested] = torch.stack([level + (location - level) / narrow, spread / narrow])[..., 0]
        best = p_value.argmin(1)  # [K]
        pick = torch.arange(len(best), device=best.device), best
        return Decomposition(
            SpectralSeed(
                frame=self.frame,
                centre=self.centre,
                axis=self.axis[pick[0], :, best] * torch.where(first[pick], 1.0, -1.0)[:, None],
                posterior=mixture.posterior(tail.own[pick], tail.expected[pick]),
                excess=torch.where(tested, tail.excess[pick], 0.0),
                p_value=(p_value.shape[1] * p_value[pick]).clamp(max=1.0),
                null=null,
            ),
            self.axis.shape[1],
        )


def effective_dimensions(scatter: Tensor) -> float:
    """Participation ratio of the eigenvalues of a scatter matrix [D, D]: 1 for one direction, D for a sphere."""
    return float(scatter.diagonal().sum().square() / scatter.square().sum().clamp_min(1e-300))


def upper_tail(own: Tensor, other: Tensor, settings: TwoComponent) -> Side:
    """The upper tails of `own` [K, r, BINS]; nulls: `other` with location and scale of `own`, and `own` mirrored."""
    median, scale = quantiles.robust_scale(own)
    foreign_median, foreign_scale = quantiles.robust_scale(other)
    factor = scale / foreign_scale
    foreign = quantiles.moved(other, median - factor * foreign_median, factor)
    mirror = quantiles.moved(own, 2 * median, -torch.ones_like(median))
    where = {"median": median, "scale": scale}
    return side(own, [foreign, mirror], **where, fewest=settings.fewest, most=settings.tail)


@dataclass(frozen=True)
class SpectralSeed:
    """The most significant direction of each class, and the outlying rows along it."""

    frame: _Class
    centre: Tensor  # [K, d]
    axis: Tensor  # [K, d], with the sign that makes the suspicious side positive
    posterior: Tensor  # [K, BINS]
    excess: Tensor  # [K]
    p_value: Tensor  # [K]
    null: Tensor  # [2, K], location and scale of the class's null distribution; 0 where untested

    @property
    def settings(self) -> TwoComponent:
        return self.frame.settings.decomposition

    @property
    def trait(self) -> float:
        return self.frame.settings.trait

    @property
    def label(self) -> Tensor:
        return torch.arange(len(self.axis), device=self.axis.device)

    def tests(self, excess: Tensor) -> GroupTests:
        # The excess after decomposition does not distinguish natural clusters from planted groups.
        del excess
        location, scale = self.null
        evidence = {
            "times_farther_out": self.excess.exp(),
            "null_place": location,
            "null_scale": scale,
            "null_shape": torch.full_like(scale, self.frame.settings.shape),
        }
        return GroupTests(self.label, self.excess, self.p_value, evidence, tested=scale > 0)

    def split(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        label = batch.label.clamp_min(0)
        value = self.frame.turned(batch) - self.centre[label]  # [B, d]
        along = torch.einsum("bd,bd->b", value, self.axis[label])
        apart = (self.posterior[label, quantiles.bin_of(along)] >= mixture.LIKELIER) & (batch.label >= 0)
        member = torch.nn.functional.one_hot(label, len(self.axis)).bool() & apart[:, None]
        return value, member, torch.zeros_like(apart)
