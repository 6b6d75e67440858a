"""Contradicted labels: a class in whose rows a network that never saw them sees another class too often."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import Claim, Family, GroupFacts, Unit, detector
from foretaste.errors import NotApplicable
from foretaste.settings import threshold
from foretaste.stats.significance import binomial_tail
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind


@detector("contradicted-labels")
@dataclass(frozen=True)
class ContradictedLabels:
    """More contradicted labels in a class than an innocent one has, by a binomial test.

    most  share of rows whose label is contradicted in an innocent class
    """

    most: float = threshold(0.05, "an example: what a good network gets wrong on clean data")

    claim: ClassVar[Claim] = Claim(Kind.LABEL, Family("contradiction"), Unit("contradicted", "contradicted rows"))

    def begin(self, schema: Schema) -> Counting:
        if not schema.probs or not schema.labelled:
            raise NotApplicable("needs labels, and class probabilities of networks that never saw the rows")
        return Counting(self.most, schema.classes)

    def describe(self, group: GroupFacts) -> str:
        return (
            f"the labels of {group.evidence['contradicted']:,.0f} of {group.of:,} rows of {group.who} are contradicted"
        )


@dataclass(frozen=True)
class Counts:
    """State of the sweep: how many rows each class has, and how many of them are contradicted."""

    rows: Tensor  # [K] int64
    contradicted: Tensor  # [K] int64


@dataclass(frozen=True)
class Counting:
    """The only sweep."""

    most: float
    classes: int

    def zero(self) -> Counts:
        none = torch.zeros(self.classes, dtype=torch.int64)
        return Counts(none, none)

    def reduce(self, state: Counts, batch: Batch) -> Counts:
        known = batch.label[batch.label >= 0]
        against = batch.label[contradicted(batch)]
        return Counts(
            state.rows.to(known.device) + known.bincount(minlength=self.classes),
            state.contradicted.to(known.device) + against.bincount(minlength=self.classes),
        )

    def merge(self, left: Counts, right: Counts) -> Counts:
        return Counts(left.rows + right.rows, left.contradicted + right.contradicted)

    def finish(self, state: Counts) -> Contradicted:
        chance = torch.full(state.rows.shape, self.most, dtype=torch.float64, device=state.rows.device)
        p_value = binomial_tail(state.contradicted, state.rows, chance).clamp(0, 1)
        return Contradicted(p_value, state.contradicted.double())


@dataclass(frozen=True)
class Contradicted:
    """What was learned: a p-value for each class, and for each row how sure the network is of another class."""

    p_value: Tensor  # [K] float64
    count: Tensor  # [K] float64

    @property
    def groups(self) -> GroupTests:
        label = torch.arange(len(self.count), device=self.count.device)
        return GroupTests(label, self.count, self.p_value, {"contradicted": self.count})

    def score(self, batch: Batch) -> Scores:
        assert batch.prob is not None
        own = batch.prob.gather(1, batch.label.clamp_min(0)[:, None])[:, 0]
        return Scores(
            value=batch.prob.amax(1) - own,
            p_value=own.double(),
            posterior=torch.where(contradicted(batch), 1 - own, 0.0),
            group=batch.label,
        )


def contradicted(batch: Batch) -> Tensor:
    """Which rows [B] have a label that is not the most probable one."""
    assert batch.prob is not None
    return (batch.prob.argmax(1) != batch.label) & (batch.label >= 0)
