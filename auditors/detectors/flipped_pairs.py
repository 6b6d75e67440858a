"""Flipped pairs: a class holds rows that look like rows of one other class drawn at random."""

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
from foretaste.stats.binormal import mixed, normal_scores, odds
from foretaste.stats.significance import gumbel_tail
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

MOST = 32  # classes: counts grow with the pairs


@detector("flipped-pairs")
@dataclass(frozen=True)
class FlippedPairs:
    """Rows of a class that a network which never saw them cannot tell from rows of one other class.

    Labels flipped from one class to one other (targeted flips, Tolpegin et al. 2020) leave rows that are draws from
    the one in the other. For each pair of classes every row of the second is ranked by the log odds of the second over
    the first among the rows of the first, and the share of foreign rows estimated (stats/binormal). Confusion between
    classes that look alike moves all rows of a class, flips only some, all the way. Pairs of very unequal classes are
    left out.

    fewest       rows of a class, for its share of foreign rows to be estimated
    outnumbered  times as many rows in one of the classes, from which on a pair is left out
    peers        other pairs that say which shares innocent pairs show, at least
    least_scale  how far the statistics of innocent pairs lie apart at least: most show no foreign rows at all, so their
                 quartile says nothing of the few that do, classes that are alike by nature
    weight       pairs that this counts as much as
    """

    fewest: int = threshold(20, "not tuned")
    outnumbered: float = threshold(4.0, "a fifth of 1,501 clean trucks looked like rows of a class of 42")
    peers: int = threshold(3, "not tuned")
    least_scale: float = threshold(
        1.0,
        "60 clean datasets of ten kinds, all variations of CIFAR-10 and digits: the largest ratio of a dataset had a "
        "median of 2.6, as 90 exponential values of scale .6 have, and lay once above 5, at 6.6",
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
    """The only sweep: by how much the rows of each class are taken for each other class rather than their own."""

    settings: FlippedPairs
    classes: int

    def zero(self) -> Tensor:
        """[K * K, BINS] int64: rows of class k by how much class j is more probable, at k * K + j."""
        return torch.zeros(self.classes**2, quantiles.BINS, dtype=torch.int64)

    def reduce(self, state: Tensor, batch: Batch) -> Tensor:
        batch = batch[batch.label >= 0]
        pair = batch.label[:, None] * self.classes + torch.arange(self.classes, device=batch.label.device)  # [B, K]
        return state.to(pair.device) + quantiles.histogram(margins(batch), pair, self.classes**2)

    def merge(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right

    def finish(self, state: Tensor) -> PairScorer:
        law, own = self.settings, state.view(self.classes, self.classes, quantiles.BINS)
        # How much less probable the second class is in rows of the first is the same margin, turned round.
        foreign = own.transpose(0, 1).flip(-1)
        rows = own.sum(-1)
        self_pair = torch.eye(self.classes, dtype=torch.bool, device=own.device)
        fewer, more = torch.minimum(rows, rows.T), torch.maximum(rows, rows.T)
        tested = (fewer >= law.fewest) & (law.outnumbered * fewer >= more) & ~self_pair
        normal = normal_scores(foreign.reshape(-1, quantiles.BINS))
        share, place, gain = (one.view(self.classes, self.classes) for one in mixed(normal, state, fewest=law.fewest))
        statistic = torch.where(tested, (2 * gain).sqrt(), 0.0)  # [K, K]
        p_value = torch.ones_like(statistic)
        if int(tested.sum()) > law.peers:
            reference = statistic[tested]
            p_value[tested] = gumbel_tail(reference, reference, least_scale=law.least_scale, weight=law.weight)
        source = p_value.argmin(1)  # [K]
        pick = torch.arange(self.classes, device=own.device), source
        return PairScorer(
            source=source,
            normal=normal.view(own.shape)[pick],
            share=share[pick],
            place=place[pick],
            rows=rows[pick],
            statistic=statistic[pick],
            p_value=(tested.sum(1).clamp_min(1) * p_value[pick]).clamp(max=1.0),
        )


def margins(batch: Batch) -> Tensor:
    """Log odds [B, K] of every class over the one the row is labelled with."""
    log = batch.log_prob
    return log - log.gather(1, batch.label[:, None])


@dataclass(frozen=True)
class PairScorer:
    """The class whose rows each class is most suspected to hold, and which rows those are."""

    source: Tensor  # [K] int64
    normal: Tensor  # [K, BINS]
    share: Tensor  # [K]
    place: Tensor  # [K]
    rows: Tensor  # [K] int64
    statistic: Tensor  # [K]
    p_value: Tensor  # [K]

    @property
    def groups(self) -> GroupTests:
        label = torch.arange(len(self.source), device=self.source.device)
        foreign = {"foreign_share": self.share, "foreign_rows": self.share * self.rows, "source": self.source.double()}
        # None of these classes is empty, but without a suspect there is nothing to say of one.
        suspect = self.statistic > 0
        return GroupTests(
            label, self.statistic, self.p_value, {name: torch.where(suspect, one, 0.0) for name, one in foreign.items()}
        )

    def score(self, batch: Batch) -> Scores:
        label = batch.label.clamp_min(0)
        known = batch.label >= 0
        source = self.source[label]
        margin = margins(Batch(batch.row, label, batch.embedding, batch.prob)).gather(1, source[:, None])[:, 0]
        spot = quantiles.bin_of(margin)
        suspect = known & (self.statistic[label] > 0)
        normal = torch.where(suspect, self.normal[label, spot], 0.0)
        native = 0.5 * torch.erfc((self.place[label] - normal) / math.sqrt(2))
        foreign = odds(self.normal, self.share, self.place)[label, spot]
        return Scores(
            value=-normal.float(),
            p_value=torch.where(suspect, native, 1.0).clamp(0, 1),
            posterior=torch.where(suspect, foreign, 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"belongs_to": torch.where(suspect, source, -1).float()},
        )
