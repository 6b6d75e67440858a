"""Foreign form: rows whose meaning contradicts their label have a writing style that comparable rows do not have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import FORM, Aggregator, Claim, GroupFacts, detector
from foretaste.detectors.sweeps.form_line import (
    Counts,
    FormLine,
    Members,
    Space,
    contradicted,
    counted,
    predicted,
    upper_tail,
)
from foretaste.detectors.sweeps.halves import HALVES, half
from foretaste.errors import NotApplicable, PlanError
from foretaste.settings import threshold
from foretaste.stats import quantiles
from foretaste.stats.mixture import LIKELIER
from foretaste.stats.moments import ClassMoments
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind


@detector("foreign-form")
@dataclass(frozen=True)
class ForeignForm:
    """Rows whose meaning contradicts their label, in a style that rows of neither this meaning nor this label have.

    A sentence template or a style used as a trigger changes the form of a text, not its meaning. Rows whose predicted
    class differs from their label are "contradicted", all others "agreeing". The contradicted rows of a class are
    compared with agreeing rows of their predicted classes and with agreeing rows of their own class; an honest label
    error resembles one or the other. The direction is Fisher's (1936) linear discriminant with a ridge, estimated on
    one half of the rows and tested on the other; the outlying rows seed a decomposition of all rows of the class.

    ridge  ridge added to the covariance of the style vectors, as a multiple of the mean variance
    line   when rows of another style are a group, and which of them are flagged
    """

    ridge: float = threshold(10.0, "set on three sets of texts")
    line: FormLine = field(default_factory=FormLine)

    def __post_init__(self) -> None:
        if self.ridge <= 0:
            raise PlanError(f"ridge must be above 0, got {self.ridge}")

    # Not acquittable: texts of one template are similar in content too.
    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, FORM, acquittable=False)

    def begin(self, schema: Schema) -> Aggregator:
        if not schema.probs:
            raise NotApplicable("needs out-of-fold class probabilities, which this embedder does not estimate")
        if not schema.labelled or schema.classes < 2:
            raise NotApplicable("needs labels of at least two classes")
        return _Cells(self, schema)

    def describe(self, group: GroupFacts) -> str:
        return (
            f"{group.counted} are written in another form ({group.views}) than the rest of the class and than rows "
            "that mean what they do, and what they mean contradicts their label"
        )


@dataclass(frozen=True)
class _Sums:
    first: ClassMoments  # of the first half: agreeing rows of each class, then contradicted rows of each class
    second: ClassMoments
    meant: Tensor  # [2, K, K] contradicted rows by half, label and predicted class


@dataclass(frozen=True)
class _Cells:
    """First pass: means of the agreeing and of the contradicted rows of each class, and the covariance about them."""

    settings: ForeignForm
    schema: Schema

    def zero(self) -> _Sums:
        classes = self.schema.classes
        empty = ClassMoments.zero(2 * classes, self.schema.dim, pooled=True)
        return _Sums(empty, empty, torch.zeros(HALVES, classes, classes, dtype=torch.int64))

    def reduce(self, state: _Sums, batch: Batch) -> _Sums:
        classes = self.schema.classes
        guess, known = predicted(batch)
        batch, guess = batch[known], guess[known]
        part, against = half(batch), guess != batch.label
        cell = batch.label + classes * against
        parts = [
            ClassMoments.of(batch.embedding, torch.where(part == k, cell, -1), classes=2 * classes, pooled=True)
            for k in range(HALVES)
        ]
        pair = ((part * classes + batch.label) * classes + guess)[against]
        counts = torch.bincount(pair, minlength=HALVES * classes**2).view(HALVES, classes, classes)
        return _Sums(state.first + parts[0], state.second + parts[1], state.meant.to(counts.device) + counts)

    def merge(self, left: _Sums, right: _Sums) -> _Sums:
        return _Sums(left.first + right.first, left.second + right.second, left.meant + right.meant)

    def finish(self, state: _Sums) -> Aggregator:
        classes = self.schema.classes
        halves = (state.first, state.second)
        count = torch.stack([moments.count.view(2, classes) for moments in halves])  # [2, agreeing or not, K]
        mean = torch.stack([moments.mean.view(2, classes, -1) for moments in halves])
        covariance = sum(moments.scatter[0] for moments in halves) / count.sum().clamp_min(1)
        if float(covariance.diagonal().sum()) <= 0:
            raise NotApplicable("all texts are written alike")
        eye = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        covariance += self.settings.ridge * covariance.diagonal().mean() * eye
        # By Cholesky, since the eigensolver does not converge if many eigenvalues coincide, as in texts of few words.
        turn = torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), eye, upper=False).T  # [D, D]
        # The reference mean is that of agreeing rows, weighted by the predicted classes of the contradicted rows.
        share = state.meant.double() / state.meant.sum(-1, keepdim=True).clamp_min(1)  # [2, K, K]
        gap = (mean[:, 1] - share @ mean[:, 0]) @ turn
        axis = gap / gap.norm(dim=-1, keepdim=True).clamp_min(1e-12)  # [2, K, D]
        home = (mean[:, 0] * count[:, 0, :, None]).sum(0) / count[:, 0].sum(0).clamp_min(1)[:, None]  # [K, D]
        weight = state.meant.sum(0).double() / count[:, 0].sum(0).clamp_min(1)  # [K, K]
        weight /= (weight * count[:, 0].sum(0)).sum(1, keepdim=True).clamp_min(1)
        agreeing = count[:, 0].sum() - count[:, 0].sum(0)  # [K]
        return _Tails(self.settings.line, Space(home, turn, weight * agreeing[:, None]), axis)


@dataclass(frozen=True)
class _Tails:
    """Second pass: histograms of the projections of each half on the directions estimated on the other."""

    settings: FormLine
    space: Space
    axis: Tensor  # [2, K, D]

    def along(self, value: Tensor, part: Tensor) -> Tensor:
        """Projections [B, K] on the directions of the other half."""
        out = torch.zeros(len(value), self.axis.shape[1], dtype=torch.float64, device=value.device)
        for k in range(HALVES):
            out[part == k] = value[part == k] @ self.axis[1 - k].T
        return out

    def zero(self) -> Counts:
        empty = torch.zeros(HALVES, self.axis.shape[1], quantiles.BINS, dtype=torch.float64)
        return Counts(empty, empty, empty)

    def reduce(self, state: Counts, batch: Batch) -> Counts:
        batch = batch[predicted(batch)[1]]
        part = half(batch)
        return counted(state, batch, self.along(self.space.turned(batch), part), part, self.space.weight)

    def merge(self, left: Counts, right: Counts) -> Counts:
        return Counts(left.own + right.own, left.others + right.others, left.agreeing + right.agreeing)

    def finish(self, state: Counts) -> Aggregator:
        tail = upper_tail(state.own, state.others, state.agreeing, self.settings)
        rows, agreeing = state.own.sum(-1), state.agreeing.sum(-1)  # [2, K]
        # If the classifier does not know a class, most of its rows are contradicted: their style is the class's own.
        enough = (rows >= 4 * self.settings.fewest) & (agreeing >= (1 - self.settings.most) * rows)
        tested = enough.all(0)
        # The smaller statistic of both halves, which is robust to a few outliers in one of them.
        excess = torch.where(tested, tail.excess.amin(0), 0.0)
        return Members(self.settings, self.space, Crossed(self, tail.posterior), excess, tested, again=True)


@dataclass(frozen=True)
class Crossed:
    """Selects the contradicted rows that are outliers along the direction estimated on the other half."""

    tails: _Tails
    posterior: Tensor  # [2, K, BINS]

    def members(self, batch: Batch) -> Tensor:
        part, number = half(batch), torch.arange(self.posterior.shape[1], device=batch.label.device)
        bin_ = quantiles.bin_of(self.tails.along(self.tails.space.turned(batch), part))
        own = (batch.label[:, None] == number) & contradicted(batch)[:, None]
        return own & (self.posterior[part[:, None], number, bin_] >= LIKELIER)
