"""Spectral signatures: a poisoned class has a direction along which few rows stand far out on one side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from auditors.batch import Batch, Groups, Scores
from auditors.contract import Aggregator, detector
from auditors.errors import NotApplicable, PlanError
from auditors.stats import mixture, quantiles
from auditors.stats.moments import ClassMoments
from auditors.stats.significance import gumbel_tail
from auditors.stats.spectrum import spatial_sign, top_directions, whitening
from auditors.values import Kind, Schema

SCATTER_BYTES = 2**31  # of the class scatters together: many classes get fewer dimensions each
FEWEST = 12  # rows that must stand out before a group is suspected; single odd rows are no attack
# Innocent classes are not alike to better than this, in the logarithm of their extremes.
LEAST_SCALE = 0.1


@detector("spectral-signature")
@dataclass(frozen=True)
class SpectralSignature:
    """Rows far out along the top directions of their centred class, on one side, as in no other class.

    Tran, Li & Madry (NeurIPS 2018, arXiv 1811.00636, algorithm 1), centred. With `whiten` the rows are first whitened
    by the pooled within-class covariance and put on the unit sphere, so that what all classes have in common
    cannot hide what one class has alone. A class is suspected when its m-th most extreme row (m = 12, 24, ...) is
    farther out than that of the other classes along the same direction and than its own on the other side.

    rank    directions examined in each class
    whiten  whiten by the pooled within-class covariance first
    """

    rank: int = 6
    whiten: bool = True

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise PlanError(f"rank must be at least 1, got {self.rank}")

    kind: ClassVar[Kind] = Kind.BACKDOOR
    family: ClassVar[str] = "spectral"

    def begin(self, schema: Schema) -> Aggregator:
        if self.whiten and schema.classes < 2:
            raise NotApplicable("whitening needs at least two classes: one class whitened by itself shows nothing")
        if schema.rows < 4 * FEWEST:
            raise NotApplicable(f"needs at least {4 * FEWEST} rows, the dataset has {schema.rows}")
        return _Within(self, schema)


@dataclass(frozen=True)
class _Within:
    """First sweep: class means and the pooled within-class covariance."""

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
            turn = whitening(state.scatter[0], rows, limit=limit)
        else:
            # Only the unit changes: projections are then measured in standard deviations of the average coordinate.
            spread = float(state.scatter[0].diagonal().mean()) / max(rows, 1.0)
            turn = torch.eye(self.schema.dim, dtype=torch.float64, device=state.mean.device)
            turn = turn[:, :limit] / max(spread, 1e-300) ** 0.5
        if turn.shape[1] == 0:
            raise NotApplicable(f"the embeddings do not vary within classes, or {rows:.0f} rows are too few to tell")
        return _Class(self.settings, self.schema, state.mean, turn)


@dataclass(frozen=True)
class _Class:
    """Second sweep: the covariance of each class after the turn."""

    settings: SpectralSignature
    schema: Schema
    mean: Tensor  # [K, D]
    turn: Tensor  # [D, d]

    def turned(self, batch: Batch) -> Tensor:
        centred = batch.embedding.double() - self.mean[batch.label.clamp_min(0)]  # [B, D]
        value = centred @ self.turn  # [B, d]
        return spatial_sign(value) if self.settings.whiten else value

    def zero(self) -> ClassMoments:
        return ClassMoments.zero(self.schema.classes, self.turn.shape[1], pooled=False)

    def reduce(self, state: ClassMoments, batch: Batch) -> ClassMoments:
        return state + ClassMoments.of(self.turned(batch), batch.label, classes=self.schema.classes, pooled=False)

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
    """Third sweep: how every row lies along the directions of every class."""

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

    def finish(self, state: _Counts) -> SpectralScorer:
        sides = [side(state.own, state.other), side(state.own.flip(-1), state.other.flip(-1))]
        first = sides[0].excess >= sides[1].excess  # [K, r]
        chosen = Side(
            *(torch.where(first if a.ndim == 2 else first[..., None], a, b) for a, b in zip(*sides, strict=True))
        )
        tested = state.own.sum(-1)[:, 0] >= 4 * FEWEST  # [K]
        reference = chosen.excess[tested].flatten()
        p_value = torch.ones_like(chosen.excess)
        if len(reference):
            p_value[tested] = gumbel_tail(chosen.excess[tested], reference, least_scale=LEAST_SCALE)
        # A long tail that no row stands out of is a lumpy distribution, not a group.
        lying = torch.where(first[..., None], state.own, state.own.flip(-1))
        members = (lying * (chosen.posterior >= 0.5)).sum(-1)  # [K, r]
        p_value[members < FEWEST] = 1.0
        return SpectralScorer(
            frame=self.frame,
            centre=self.centre,
            axis=self.axis * torch.where(first, 1.0, -1.0)[:, None, :],
            median=chosen.median,
            scale=chosen.scale,
            excess=torch.where(tested[:, None], chosen.excess, torch.zeros_like(chosen.excess)),
            p_axis=p_value,
            p_row=chosen.p_row,
            posterior=chosen.posterior,
            tested=tested,
        )


class Side(NamedTuple):
    """One side of every direction, the suspicious one to the right; values are in units of the projection."""

    median: Tensor  # [K, r]
    scale: Tensor  # [K, r]
    excess: Tensor  # [K, r], log of how much farther out the class reaches than its null
    p_row: Tensor  # [K, r, BINS], probability of lying so far out in an innocent class
    posterior: Tensor  # [K, r, BINS], that a row in this bin is no innocent one


def side(own: Tensor, other: Tensor) -> Side:
    """Hold the upper tails of `own` [K, r, BINS] against those of `other` and against its own lower tails."""
    median, scale = quantiles.robust_scale(own)
    foreign_median, foreign_scale = quantiles.robust_scale(other)
    factor = scale / foreign_scale
    foreign = quantiles.moved(other, median - factor * foreign_median, factor)
    mirror = quantiles.moved(own, 2 * median, -torch.ones_like(median))
    rows = own.sum(-1).double()  # [K, r]

    excess = torch.zeros_like(median)
    count = FEWEST
    while count <= float(rows.max()) / 4:
        at = 1 - count / rows.clamp_min(count)
        out = (quantiles.quantile(own, at) - median) / scale
        null = (torch.maximum(quantiles.quantile(foreign, at), quantiles.quantile(mirror, at)) - median) / scale
        # The quartile of a Gaussian lies at 0.67; a null below that is an artefact of a lumpy distribution.
        ratio = (out.clamp_min(0.67) / null.clamp_min(0.67)).log()
        excess = torch.where(rows >= 4 * count, torch.maximum(excess, ratio), excess)
        count *= 2

    share = [quantiles.tail(one) / one.sum(-1, keepdim=True).clamp_min(1).double() for one in (foreign, mirror)]
    null_tail = torch.maximum(*share)  # [K, r, BINS]
    density = null_tail - torch.nn.functional.pad(null_tail[..., 1:], (0, 1))
    return Side(
        median,
        scale,
        excess,
        null_tail.clamp_min(1 / (2 * other.sum(-1, keepdim=True) + 2).double()),
        mixture.posterior(own, density * rows[..., None]),
    )


@dataclass(frozen=True)
class SpectralScorer:
    """What each class's directions look like, as lookup tables over the projection."""

    frame: _Class
    centre: Tensor  # [K, d]
    axis: Tensor  # [K, d, r], turned so that the suspicious side is the positive one
    median: Tensor  # [K, r]
    scale: Tensor  # [K, r]
    excess: Tensor  # [K, r]
    p_axis: Tensor  # [K, r]
    p_row: Tensor  # [K, r, BINS]
    posterior: Tensor  # [K, r, BINS]
    tested: Tensor  # [K] bool

    @property
    def groups(self) -> Groups:
        classes, rank = self.p_axis.shape
        best = self.p_axis.argmin(1)
        return Groups(
            label=torch.arange(classes, device=best.device),
            statistic=self.excess.amax(1),
            p_value=(rank * self.p_axis.amin(1)).clamp(max=1.0),
            evidence={"times_farther_out": self.excess.amax(1).exp(), "direction": best.double()},
        )

    def score(self, batch: Batch) -> Scores:
        known = batch.label >= 0
        label = batch.label.clamp_min(0)
        rank = self.axis.shape[2]
        value = self.frame.turned(batch) - self.centre[label]  # [B, d]
        along = torch.stack([torch.einsum("bd,bd->b", value, self.axis[label, :, j]) for j in range(rank)], 1)  # [B, r]
        spot = quantiles.bin_of(along)
        cell = (label[:, None], torch.arange(rank, device=label.device)[None, :], spot)
        z = (along - self.median[label]) / self.scale[label]
        weight = self.excess[label] / self.excess[label].amax(1, keepdim=True).clamp_min(1e-9)
        strength = 1 - (rank * self.p_axis[label]).clamp(max=1.0)
        posterior = (strength * self.posterior[cell]).amax(1)
        p_value = (rank * self.p_row[cell].amin(1)).clamp(max=1.0)
        return Scores(
            value=((weight * z.clamp_min(0) ** 2).amax(1) * known).float(),
            p_value=torch.where(known, p_value, torch.ones_like(p_value)),
            posterior=(posterior * known).float(),
            group=torch.where(known, label, -1),
            evidence={"deviations": torch.where(known, z.amax(1), 0.0).float()},
        )
