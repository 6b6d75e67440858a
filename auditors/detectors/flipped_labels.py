"""Flipped labels: a class contains rows that look like random rows of the other classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import RELABELLING, Aggregator, Claim, GroupFacts, Unit, detector
from foretaste.errors import NotApplicable
from foretaste.settings import threshold
from foretaste.stats import quantiles
from foretaste.stats.binormal import Binormal, mixed, normal_scores
from foretaste.stats.significance import extreme_value_tail
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind


@detector("flipped-labels")
@dataclass(frozen=True)
class FlippedLabels:
    """Rows of a class that an out-of-fold classifier cannot distinguish from rows of the other classes.

    Rows whose labels were flipped into a class, with or without a trigger, are random rows of the other classes. Each
    row is ranked by its out-of-fold probability of the class among the rows of other classes, and the share of such
    "foreign" rows is estimated (stats/binormal): a second mode, not only a wide distribution as of a class that the
    classifier knows badly. Since every class has hard rows and wrong labels, the likelihood ratio against a share of 0
    is compared with those of the other classes. If classes are very unequal, random rows of the others are mostly of
    the largest, with which small classes are confused anyway.

    fewest       rows of a class needed to estimate the share of them that looks like other classes
    outnumbered  ratio of the largest class's rows to a class's rows above which the class is not tested
    peers        other tested classes needed to estimate the null distribution, at least
    least_scale  lower bound of the scale of the null distribution of roots of likelihood ratios, an extreme value one
    shape        its shape: 0 for a Gumbel distribution, larger for a heavier tail
    weight       weight of `least_scale` as a prior for the scale of the null distribution, in classes
    """

    fewest: int = threshold(20, "not tuned")
    outnumbered: float = threshold(4.0, "a fifth of 1,501 clean trucks looked like rows of a class of 42")
    peers: int = threshold(3, "not tuned")
    least_scale: float = threshold(
        0.55,
        "derived: under the model the root of a likelihood ratio is half-normal, and a Gumbel distribution with its "
        "distance from median to upper quartile has this scale",
    )
    shape: float = threshold(0.1, "clean datasets of 28 other origins; textures fail at 0")
    weight: float = threshold(20.0, "as for doubted-signature; not tuned")

    claim: ClassVar[Claim] = Claim(
        Kind.BACKDOOR, RELABELLING, Unit("foreign_rows", "rows that look like other classes"), names_rows=False
    )

    def begin(self, schema: Schema) -> Aggregator:
        if not schema.probs:
            raise NotApplicable("needs out-of-fold class probabilities, which this embedder does not estimate")
        if not schema.labelled or schema.classes <= self.peers:
            raise NotApplicable(f"needs labels of more than {self.peers} classes, which calibrate each other")
        return _Ranks(self, schema.classes)

    def describe(self, group: GroupFacts) -> str:
        foreign = group.evidence["foreign_rows"]
        return (
            f"{group.counted} stand apart ({group.views}): about {foreign:,.0f} look like rows of other classes drawn "
            "at random, as flipped labels do; no other has so many"
        )


@dataclass(frozen=True)
class _Counts:
    own: Tensor  # [K, BINS] int64, histogram of -log P(class) over rows of the class
    others: Tensor  # [K, BINS] int64, the same over all other rows


@dataclass(frozen=True)
class _Ranks:
    """The only pass: distributions of -log P(class) in the rows of each class and in all others."""

    settings: FlippedLabels
    classes: int

    def zero(self) -> _Counts:
        none = torch.zeros(self.classes, quantiles.BINS, dtype=torch.int64)
        return _Counts(none, none)

    def reduce(self, state: _Counts, batch: Batch) -> _Counts:
        batch = batch[batch.label >= 0]
        doubt = -batch.log_prob  # [B, K]
        number = torch.arange(self.classes, device=doubt.device).expand_as(doubt)
        home = number == batch.label[:, None]
        return _Counts(
            state.own.to(doubt.device) + quantiles.histogram(doubt, torch.where(home, number, -1), self.classes),
            state.others.to(doubt.device) + quantiles.histogram(doubt, torch.where(home, -1, number), self.classes),
        )

    def merge(self, left: _Counts, right: _Counts) -> _Counts:
        return _Counts(left.own + right.own, left.others + right.others)

    def finish(self, state: _Counts) -> FlipScorer:
        normal = normal_scores(state.others)
        return FlipScorer(
            self.settings, normal, mixed(normal, state.own, fewest=self.settings.fewest), state.own.sum(1)
        )


@dataclass(frozen=True)
class FlipScorer:
    """Classes with more foreign rows than the other classes have, and the posterior of each row."""

    settings: FlippedLabels
    normal: Tensor  # [K, BINS], normal scores
    fit: Binormal  # [K]
    rows: Tensor  # [K] int64

    @property
    def groups(self) -> GroupTests:
        settings, statistic = self.settings, (2 * self.fit.gain).sqrt()
        tested = (self.rows >= settings.fewest) & (settings.outnumbered * self.rows >= self.rows.max())
        p_value = torch.ones_like(statistic)
        tested &= tested.sum() > settings.peers
        if bool(tested.any()):
            reference = statistic[tested]
            p_value[tested] = extreme_value_tail(
                reference, reference, least_scale=settings.least_scale, weight=settings.weight, shape=settings.shape
            )
        foreign = self.fit.share * self.rows
        label = torch.arange(len(statistic), device=statistic.device)
        evidence = {"foreign_share": self.fit.share, "foreign_rows": foreign}
        return GroupTests(label, statistic, p_value, evidence, tested=tested)

    def score(self, batch: Batch) -> Scores:
        label = batch.label.clamp_min(0)
        known = batch.label >= 0
        bin_ = quantiles.bin_of((-batch.log_prob).gather(1, label[:, None])[:, 0])
        normal = self.normal[label, bin_]
        foreign = self.fit.odds(self.normal)[label, bin_]
        native = 0.5 * torch.erfc((self.fit.mean[label] - normal) / self.fit.spread[label] / math.sqrt(2))
        return Scores(
            value=torch.where(known, -normal, 0.0).float(),
            p_value=torch.where(known, native, 1.0).clamp(0, 1),
            posterior=torch.where(known, foreign, 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"belongs_to": torch.where(known, batch.log_prob.argmax(1), -1).float()},
        )
