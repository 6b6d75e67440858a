"""Label issues: rows whose label is contradicted by their out-of-fold class probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from cleanlab.rank import get_label_quality_scores
from torch import Tensor

from foretaste.detectors.contract import LABEL, Aggregator, Claim, GroupFacts, Unit, detector
from foretaste.errors import NotApplicable
from foretaste.settings import threshold
from foretaste.stats import mixture, quantiles
from foretaste.stats.significance import binomial_tail
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind


@detector("label-issue")
@dataclass(frozen=True)
class LabelIssue:
    """Confident learning: rows that confidently belong to another class than their label says.

    Northcutt, Jiang & Chuang (JAIR 2021, arXiv 1911.00068), equations 1 and 2, on out-of-fold probabilities, scored by
    cleanlab's normalised margin. The number of labels with so low a probability is compared with the number expected if
    labels were drawn from the probabilities, which accounts for hard rows; only the excess is wrong labels. A class as
    a whole is suspected if far more of its rows confidently belong to one other class than vice versa, because honest
    confusion is symmetric.

    one_way  share of the rows confused between two classes, in both directions, that may go in one direction by honest
             confusion (null probability of a binomial test)
    """

    one_way: float = threshold(0.75, "3 to 1 is still honest confusion; not tuned")

    claim: ClassVar[Claim] = Claim(Kind.LABEL, LABEL, Unit("rows_out", "rows that belong to one other class"))

    def begin(self, schema: Schema) -> Aggregator:
        if not schema.probs:
            raise NotApplicable("needs out-of-fold class probabilities, which this embedder does not estimate")
        if not schema.labelled or schema.classes < 2:
            raise NotApplicable("needs labels of at least two classes")
        return _Thresholds(self, schema.classes)

    def describe(self, group: GroupFacts) -> str:
        out, other = group.evidence["rows_out"], group.classes[int(group.evidence["belongs_to"])]
        return f"{out:,.0f} rows labelled {group.label} confidently belong to {other}, hardly any the other way"


@dataclass(frozen=True)
class _Sums:
    count: Tensor  # [K] float64
    total: Tensor  # [K] float64, sum of the probability of the given label


@dataclass(frozen=True)
class _Thresholds:
    """First pass: the mean probability of each class over its own rows (equation 2)."""

    settings: LabelIssue
    classes: int

    def zero(self) -> _Sums:
        empty = torch.zeros(self.classes, dtype=torch.float64)
        return _Sums(empty, empty)

    def reduce(self, state: _Sums, batch: Batch) -> _Sums:
        prob, label = labelled(batch)
        own = prob.gather(1, label[:, None])[:, 0].double()
        count = torch.bincount(label, minlength=self.classes).double()
        total = torch.zeros(self.classes, dtype=torch.float64, device=own.device).index_add_(0, label, own)
        return _Sums(state.count.to(own.device) + count, state.total.to(own.device) + total)

    def merge(self, left: _Sums, right: _Sums) -> _Sums:
        return _Sums(left.count + right.count, left.total + right.total)

    def finish(self, state: _Sums) -> Aggregator:
        # A class without rows has no threshold, so no row may be assigned to it.
        return _Joint(self.settings, torch.where(state.count > 0, state.total / state.count.clamp_min(1), torch.inf))


@dataclass(frozen=True)
class _Counts:
    joint: Tensor  # [K, K] int64, rows labelled i that confidently belong to j
    quality: Tensor  # [K, BINS] int64, histogram of label quality over the rows of each class
    doubt: Tensor  # [K, BINS] int64, histogram of -log P(given label)
    expected: Tensor  # [K, BINS] float64, the same histogram if labels were drawn from the probabilities


@dataclass(frozen=True)
class _Joint:
    """Second pass: the confident joint (equation 1) and the distribution of label quality."""

    settings: LabelIssue
    threshold: Tensor  # [K]

    def zero(self) -> _Counts:
        classes = len(self.threshold)
        none = torch.zeros(classes, quantiles.BINS, dtype=torch.int64)
        return _Counts(torch.zeros(classes, classes, dtype=torch.int64), none, none, none.double())

    def reduce(self, state: _Counts, batch: Batch) -> _Counts:
        classes = len(self.threshold)
        prob, label = labelled(batch)
        belongs = confident(prob, self.threshold)
        sure = belongs >= 0
        joint = torch.bincount(label[sure] * classes + belongs[sure], minlength=classes**2).view(classes, classes)
        histogram = quantiles.histogram(quality(prob, label), label, classes)
        bin_ = quantiles.bin_of(doubt(prob))  # [B, K]
        given = bin_.gather(1, label[:, None])[:, 0]
        seen = torch.bincount(label * quantiles.BINS + given, minlength=classes * quantiles.BINS)
        cell = torch.arange(classes, device=label.device) * quantiles.BINS + bin_
        chance = torch.zeros(classes * quantiles.BINS, dtype=torch.float64, device=label.device)
        chance.index_add_(0, cell.flatten(), prob.double().flatten())
        return _Counts(
            state.joint.to(label.device) + joint,
            state.quality.to(label.device) + histogram,
            state.doubt.to(label.device) + seen.view(classes, -1),
            state.expected.to(label.device) + chance.view(classes, -1),
        )

    def merge(self, left: _Counts, right: _Counts) -> _Counts:
        return _Counts(
            left.joint + right.joint,
            left.quality + right.quality,
            left.doubt + right.doubt,
            left.expected + right.expected,
        )

    def finish(self, state: _Counts) -> Aggregator:
        # Pooled over classes, since one class has too few improbable labels for a density estimate.
        wrong = mixture.posterior(state.doubt.sum(0), state.expected.sum(0))
        joint = state.joint.double()
        return _Pairs(self.settings, self.threshold, state.quality, joint - joint.diagonal().diag(), wrong)


@dataclass(frozen=True)
class _Moves:
    count: Tensor  # [K, K] int64, rows labelled i whose label is probably wrong and that belong to j


@dataclass(frozen=True)
class _Pairs:
    """Third pass: probably wrong labels, by given class and the class that rows confidently belong to."""

    settings: LabelIssue
    threshold: Tensor  # [K]
    quality: Tensor  # [K, BINS]
    off: Tensor  # [K, K] float64, confident joint without its diagonal
    wrong: Tensor  # [BINS], posterior that a label of this -log probability is wrong

    def zero(self) -> _Moves:
        return _Moves(torch.zeros(self.off.shape, dtype=torch.int64))

    def reduce(self, state: _Moves, batch: Batch) -> _Moves:
        classes = len(self.threshold)
        prob, label = labelled(batch)
        belongs = confident(prob, self.threshold)
        own = prob.gather(1, label[:, None])[:, 0]
        moved = (belongs >= 0) & (belongs != label) & (self.wrong[quantiles.bin_of(doubt(own))] >= mixture.LIKELIER)
        count = torch.bincount(label[moved] * classes + belongs[moved], minlength=classes**2).view(classes, classes)
        return _Moves(state.count.to(count.device) + count)

    def merge(self, left: _Moves, right: _Moves) -> _Moves:
        return _Moves(left.count + right.count)

    def finish(self, state: _Moves) -> LabelScorer:
        moves = state.count.double()
        # Rows labelled i that belong to j, compared with rows labelled j that belong to i.
        p_value = binomial_tail(moves, moves + moves.T, torch.full_like(moves, self.settings.one_way))
        p_value = (p_value * (len(moves) - 1)).clamp(max=1.0)
        p_value.fill_diagonal_(1.0)
        return LabelScorer(self.threshold, self.quality, self.off, moves, p_value, self.wrong)


def labelled(batch: Batch) -> tuple[Tensor, Tensor]:
    """Probabilities [B, K] and labels [B] of the rows that have a label."""
    if batch.prob is None:
        raise ValueError("label-issue needs batches with probabilities")
    known = batch.label >= 0
    return batch.prob[known], batch.label[known]


def confident(prob: Tensor, threshold: Tensor) -> Tensor:
    """Class [B] that each row confidently belongs to: the most probable one at or above its threshold, or -1."""
    eligible = torch.where(prob.double() >= threshold - 1e-6, prob.double(), -1.0)
    value, index = eligible.max(1)
    return torch.where(value >= 0, index, -1)


def doubt(prob: Tensor) -> Tensor:
    """Negative log probabilities, of any shape."""
    return -prob.double().clamp_min(1e-12).log()


def quality(prob: Tensor, label: Tensor) -> Tensor:
    """cleanlab's normalised margin [B] in [0, 1]; small where the label is probably wrong."""
    if not len(label):
        return torch.zeros(0, dtype=torch.float64, device=prob.device)
    # Float32 probabilities may sum to 1 + 1e-7, which cleanlab refuses.
    array = prob.double().cpu().numpy()
    array = np.clip(array / array.sum(1, keepdims=True), 0.0, 1.0)
    found = get_label_quality_scores(label.cpu().numpy(), array, method="normalized_margin")
    return torch.from_numpy(np.asarray(found)).to(prob.device)


@dataclass(frozen=True)
class LabelScorer:
    """Posteriors of wrong labels, and tests for classes that are confused in one direction only."""

    threshold: Tensor  # [K]
    quality: Tensor  # [K, BINS]
    off: Tensor  # [K, K] float64, confident joint without its diagonal
    moves: Tensor  # [K, K] float64, those of them whose label is probably wrong
    p_pair: Tensor  # [K, K] float64, p-values of the directions
    wrong: Tensor  # [BINS], posterior that a label of this -log probability is wrong

    @property
    def groups(self) -> GroupTests:
        label = torch.arange(len(self.off), device=self.off.device)
        worst = self.p_pair.argmin(1)
        return GroupTests(
            label=label,
            statistic=-self.p_pair.amin(1).clamp_min(1e-300).log10(),
            p_value=self.p_pair.amin(1),
            evidence={"belongs_to": worst.double(), "rows_out": self.moves[label, worst]},
        )

    def score(self, batch: Batch) -> Scores:
        known = batch.label >= 0
        label = batch.label.clamp_min(0)
        assert batch.prob is not None
        score = quality(batch.prob, label)
        belongs = confident(batch.prob, self.threshold)
        below = self.quality.cumsum(1)[label, quantiles.bin_of(score)].double()
        p_value = below / self.quality.sum(1)[label].clamp_min(1)
        own = batch.prob.gather(1, label[:, None])[:, 0]
        elsewhere = (belongs >= 0) & (belongs != label) & known
        posterior = torch.where(elsewhere, self.wrong[quantiles.bin_of(doubt(own))], 0.0)
        return Scores(
            value=torch.where(known, 1 - score, 0.0).float(),
            p_value=torch.where(known, p_value.clamp(0, 1), torch.ones_like(p_value)),
            posterior=posterior.float(),
            group=torch.where(known, label, -1),
            evidence={"belongs_to": torch.where(known, belongs, -1).float(), "own_probability": own.float()},
        )
