"""Flipped pairs: a class contains rows that look like random rows of one other class."""

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

MOST = 32  # classes: the memory grows with the pairs


@detector("flipped-pairs")
@dataclass(frozen=True)
class FlippedPairs:
    """Rows of a class that an out-of-fold classifier cannot distinguish from rows of one other class.

    Labels flipped from one class to another (targeted flips, Tolpegin et al. 2020) put random rows of the first into
    the second. For each pair every row of the second class is ranked by the log odds of the second over the first among
    the rows of the first, and the share of such "foreign" rows is estimated (stats/binormal). Confusion between similar
    classes shifts all rows of a class a little, flips shift some of them fully.

    fewest       rows of both classes of a pair needed to estimate the share of rows that look like the other class
    outnumbered  ratio of the rows of two classes above which the pair is not tested
    peers        other tested pairs needed to estimate the null distribution, at least
    least_scale  lower bound of the scale of the Gumbel null distribution (of roots of likelihood ratios); most clean
                 pairs have no foreign rows, so the quartile underestimates the spread of the similar ones
    weight       weight of `least_scale` as a prior for the scale of the null distribution, in pairs
    """

    fewest: int = threshold(20, "not tuned")
    outnumbered: float = threshold(4.0, "a fifth of 1,501 clean trucks looked like rows of a class of 42")
    peers: int = threshold(3, "not tuned")
    least_scale: float = threshold(
        1.0,
        "60 clean datasets of ten kinds, all variations of CIFAR-10 and digits: the largest statistic of a dataset had "
        "a median of 2.6, as of 90 exponential values of scale .6, and once exceeded 5, at 6.6",
    )
    weight: float = threshold(100.0, "the same clean datasets")

    claim: ClassVar[Claim] = Claim(
        Kind.BACKDOOR, RELABELLING, Unit("foreign_rows", "rows that look like other classes"), names_rows=False
    )

    def begin(self, schema: Schema) -> Aggregator:
        if not schema.probs:
            raise NotApplicable("needs out-of-fold class probabilities, which this embedder does not estimate")
        if not schema.labelled or not self.peers < schema.classes <= MOST:
            raise NotApplicable(f"needs labels of {self.peers + 1} to {MOST} classes, whose pairs calibrate each other")
        return _Margins(self, schema.classes)

    def describe(self, group: GroupFacts) -> str:
        foreign, source = group.evidence["foreign_rows"], group.classes[int(group.evidence["source"])]
        return (
            f"{group.counted} stand apart ({group.views}): about {foreign:,.0f} look like rows of class {source} "
            "drawn at random, as flipped labels do; no other has so many"
        )


@dataclass(frozen=True)
class _Margins:
    """The only pass: distributions of the log odds of each class over the label's, by label."""

    settings: FlippedPairs
    classes: int

    def zero(self) -> Tensor:
        """[K * K, BINS] int64: at k * K + j the histogram, over rows of class k, of the log odds of class j over k."""
        return torch.zeros(self.classes**2, quantiles.BINS, dtype=torch.int64)

    def reduce(self, state: Tensor, batch: Batch) -> Tensor:
        batch = batch[batch.label >= 0]
        pair = batch.label[:, None] * self.classes + torch.arange(self.classes, device=batch.label.device)  # [B, K]
        return state.to(pair.device) + quantiles.histogram(margins(batch), pair, self.classes**2)

    def merge(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right

    def finish(self, state: Tensor) -> PairScorer:
        settings, own = self.settings, state.view(self.classes, self.classes, quantiles.BINS)
        # The reference of own[k, j], the same log odds over rows of class j, is own[j, k] mirrored.
        foreign = own.transpose(0, 1).flip(-1)
        rows = own.sum(-1)
        self_pair = torch.eye(self.classes, dtype=torch.bool, device=own.device)
        fewer, more = torch.minimum(rows, rows.T), torch.maximum(rows, rows.T)
        tested = (fewer >= settings.fewest) & (settings.outnumbered * fewer >= more) & ~self_pair
        normal = normal_scores(foreign.reshape(-1, quantiles.BINS))
        fit = mixed(normal, state, fewest=settings.fewest)  # [K * K]
        statistic = torch.where(tested, (2 * fit.gain.view_as(rows)).sqrt(), 0.0)  # [K, K]
        p_value = torch.ones_like(statistic)
        tested &= tested.sum() > settings.peers
        if bool(tested.any()):
            reference = statistic[tested]
            p_value[tested] = extreme_value_tail(
                reference, reference, least_scale=settings.least_scale, weight=settings.weight
            )
        source = p_value.argmin(1)  # [K]
        pick = torch.arange(self.classes, device=own.device), source
        return PairScorer(
            source=source,
            normal=normal.view(own.shape)[pick],
            fit=Binormal(*(value.view_as(rows)[pick] for value in fit)),
            rows=rows[pick],
            statistic=statistic[pick],
            tested=tested.any(1),
            p_value=(tested.sum(1).clamp_min(1) * p_value[pick]).clamp(max=1.0),
        )


def margins(batch: Batch) -> Tensor:
    """Log odds [B, K] of every class over the row's label."""
    log = batch.log_prob
    return log - log.gather(1, batch.label[:, None])


@dataclass(frozen=True)
class PairScorer:
    """The most suspicious source class of each class, and the posterior of each row."""

    source: Tensor  # [K] int64
    normal: Tensor  # [K, BINS], normal scores
    fit: Binormal  # [K]
    rows: Tensor  # [K] int64
    statistic: Tensor  # [K]
    p_value: Tensor  # [K]
    tested: Tensor  # [K] bool

    @property
    def groups(self) -> GroupTests:
        label = torch.arange(len(self.source), device=self.source.device)
        foreign = {
            "foreign_share": self.fit.share,
            "foreign_rows": self.fit.share * self.rows,
            "source": self.source.double(),
        }
        # A class whose best pair has the statistic 0 has no suspected source.
        suspect = self.statistic > 0
        return GroupTests(
            label,
            self.statistic,
            self.p_value,
            {name: torch.where(suspect, value, 0.0) for name, value in foreign.items()},
            tested=self.tested,
        )

    def score(self, batch: Batch) -> Scores:
        label = batch.label.clamp_min(0)
        known = batch.label >= 0
        source = self.source[label]
        margin = margins(Batch(batch.row, label, batch.embedding, batch.prob)).gather(1, source[:, None])[:, 0]
        bin_ = quantiles.bin_of(margin)
        suspect = known & (self.statistic[label] > 0)
        normal = torch.where(suspect, self.normal[label, bin_], 0.0)
        native = 0.5 * torch.erfc((self.fit.mean[label] - normal) / self.fit.spread[label] / math.sqrt(2))
        foreign = self.fit.odds(self.normal)[label, bin_]
        return Scores(
            value=-normal.float(),
            p_value=torch.where(suspect, native, 1.0).clamp(0, 1),
            posterior=torch.where(suspect, foreign, 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"belongs_to": torch.where(suspect, source, -1).float()},
        )
