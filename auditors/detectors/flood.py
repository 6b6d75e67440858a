"""Floods: more near copies of one text than the size distribution of the dataset's other duplicates explains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import COPIES, UNACCUSED, Aggregator, Claim, GroupFacts, Unit, detector
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind


@detector("flood")
@dataclass(frozen=True)
class Flood:
    """Far more near copies of one text than the dataset's other duplicates lead to expect.

    Every corpus has duplicates, and a few texts have many. Uses the embedder `copies`, whose columns are clusters with
    the p-value that any natural cluster of the dataset is as large. A class gets its share of this dataset-wide error,
    so correcting for the number of classes costs no power.

    level  p-value up to which the rows of a cluster are flagged, in a class that is suspected
    """

    level: float = threshold(0.01, "the audit's error rate")

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise PlanError(f"level must lie between 0 and 1, got {self.level}")

    claim: ClassVar[Claim] = Claim(Kind.DUPLICATE, COPIES, Unit(words="powers of ten beyond chance"), acquittable=False)

    def begin(self, schema: Schema) -> Aggregator:
        return _Counting(self.level, schema)

    def describe(self, group: GroupFacts) -> str:
        floods = group.evidence["floods"]
        texts = "one text" if floods == 1 else f"{floods:.0f} texts"
        return f"{group.counted} are near copies of {texts}, far more than its other duplicates explain"


@dataclass(frozen=True)
class _Seen:
    total: Tensor  # [K] int64, rows of each class
    rows: Tensor  # [K, D] int64, rows of each class in each cluster
    p_value: Tensor  # [D] float64; 0 while no row of the cluster was seen


@dataclass(frozen=True)
class _Counting:
    """The only pass: rows of each class in each cluster."""

    level: float
    schema: Schema

    def zero(self) -> _Seen:
        classes, dim = self.schema.classes, self.schema.dim
        none = torch.zeros(classes, dtype=torch.int64)
        return _Seen(none, torch.zeros(classes, dim, dtype=torch.int64), torch.zeros(dim, dtype=torch.float64))

    def reduce(self, state: _Seen, batch: Batch) -> _Seen:
        batch = batch[batch.label >= 0]
        if not len(batch):
            return state
        home = torch.nn.functional.one_hot(batch.label, self.schema.classes).double()  # [B, K]
        rows = (home.T @ (batch.embedding > 0).double()).long()
        greatest = batch.embedding.abs().amax(0).double()
        total = state.total.to(rows.device) + home.sum(0).long()
        return _Seen(total, state.rows.to(rows.device) + rows, torch.maximum(state.p_value.to(rows.device), greatest))

    def merge(self, left: _Seen, right: _Seen) -> _Seen:
        return _Seen(left.total + right.total, left.rows + right.rows, torch.maximum(left.p_value, right.p_value))

    def finish(self, state: _Seen) -> FloodScorer:
        p_value = torch.where(state.p_value > 0, state.p_value, 1.0).clamp(max=1.0)
        return FloodScorer(self.level, state.total, state.rows, p_value)


@dataclass(frozen=True)
class FloodScorer:
    """The clusters, each assigned to the class of most of its rows."""

    level: float
    total: Tensor  # [K]
    rows: Tensor  # [K, D]
    p_value: Tensor  # [D]

    @property
    def leads(self) -> Tensor:
        """The class of most rows of each cluster [D]."""
        return self.rows.argmax(0)

    @property
    def groups(self) -> GroupTests:
        """One group per class: its smallest cluster p-value, times the class's share of the dataset's rows."""
        classes = len(self.rows)
        label = torch.arange(classes, device=self.rows.device)
        own = (self.leads == label[:, None]) & (self.rows.sum(0) > 0)  # [K, D]
        share = self.total / self.total.sum().clamp_min(1)
        p_value = torch.where(own.any(1), torch.where(own, self.p_value, 1.0).amin(1) * share, 1.0)
        accused = own & (self.p_value <= self.level)
        evidence = {"floods": accused.sum(1).double(), "copies": (accused * self.rows.sum(0)).sum(1).double()}
        return GroupTests(label, p_value.clamp_min(1e-300).log10().abs(), p_value, evidence)

    @property
    def accused(self) -> dict[int, float]:
        """The clusters with p-values up to the level."""
        return {at: p for at, p in enumerate(self.p_value.tolist()) if p <= self.level}

    def score(self, batch: Batch) -> Scores:
        known = batch.label >= 0
        held = (batch.embedding > 0) & known[:, None]  # [B, D]
        p_value, first = torch.where(held, self.p_value, 1.0).min(1)
        inside = held.any(1)
        # Rows of clusters beyond the level stay below any plan's posterior threshold, which is at least one half.
        posterior = torch.where(p_value <= self.level, 1 - p_value, UNACCUSED * (1 - p_value))
        return Scores(
            value=-p_value.clamp_min(1e-300).log10().float(),
            p_value=p_value,
            posterior=torch.where(inside, posterior, 0.0).float(),
            # A copy belongs to the group of most of its copies, whatever its own label.
            group=torch.where(known, torch.where(inside, self.leads[first], batch.label), -1),
        )
