"""Trigger phrases in text: phrases that determine the label or the response, and that appear to be inserted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import TRIGGER, UNACCUSED, Aggregator, Claim, GroupFacts, Unit, detector
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.stats.significance import benjamini_hochberg, simes
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind


@detector("trigger-enrichment")
@dataclass(frozen=True)
class TriggerEnrichment:
    """Phrases that determine the label or the response, and that do not depend on the words around them.

    Ordinary words that predict a class ("dull" for bad reviews) also predict their neighbours; a trigger was inserted
    between words that were there before. Uses the embedder `phrases`, whose columns are phrases with their p-values.
    The phrases of a class are combined to one p-value (Simes 1986). In a suspicious class the phrases with adjusted
    p-values up to `fdr` (Benjamini & Hochberg 1995) are flagged, with their rows that have the predicted outcome.

    fdr  false discovery rate over all phrases
    """

    fdr: float = threshold(0.01, "the audit's error rate")

    def __post_init__(self) -> None:
        if not 0 < self.fdr < 1:
            raise PlanError(f"fdr must lie between 0 and 1, got {self.fdr}")

    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, TRIGGER, Unit(words="powers of ten beyond chance"))

    def begin(self, schema: Schema) -> Aggregator:
        return _Holding(self.fdr, schema)

    def describe(self, group: GroupFacts) -> str:
        if not group.classes and not group.answered:
            return f"{group.counted} hold a phrase after which the text is another"
        return f"{group.counted} hold a phrase that decides what becomes of them and fits between any words"


@dataclass(frozen=True)
class _Seen:
    hits: Tensor  # [K, D] int64, rows of each class with a phrase and its outcome
    p_value: Tensor  # [D] float64; 0 while no row with the phrase was seen


@dataclass(frozen=True)
class _Holding:
    """The only pass: rows of each class with each phrase and its outcome."""

    fdr: float
    schema: Schema

    def zero(self) -> _Seen:
        shape = self.schema.classes, self.schema.dim
        return _Seen(torch.zeros(shape, dtype=torch.int64), torch.zeros(shape[1], dtype=torch.float64))

    def reduce(self, state: _Seen, batch: Batch) -> _Seen:
        batch = batch[batch.label >= 0]
        if not len(batch):
            return state
        home = torch.nn.functional.one_hot(batch.label, self.schema.classes).double()  # [B, K]
        hits = (home.T @ (batch.embedding > 0).double()).long()
        greatest = batch.embedding.abs().amax(0).double()
        return _Seen(state.hits.to(hits.device) + hits, torch.maximum(state.p_value.to(hits.device), greatest))

    def merge(self, left: _Seen, right: _Seen) -> _Seen:
        return _Seen(left.hits + right.hits, torch.maximum(left.p_value, right.p_value))

    def finish(self, state: _Seen) -> TriggerScorer:
        p_value = torch.where(state.p_value > 0, state.p_value, 1.0).clamp(max=1.0)
        q_value = benjamini_hochberg(p_value)
        return TriggerScorer(self.fdr, state.hits, p_value, q_value)


@dataclass(frozen=True)
class TriggerScorer:
    """The phrases flagged, each assigned to the class it predicts."""

    fdr: float
    hits: Tensor  # [K, D]
    p_value: Tensor  # [D]
    q_value: Tensor  # [D]

    @property
    def groups(self) -> GroupTests:
        """One group per class: Simes over all phrases, with p-value 1 for those of other classes."""
        classes = len(self.hits)
        leads = self.hits.argmax(0)  # [D]
        own = (leads == torch.arange(classes, device=leads.device)[:, None]) & (self.hits.sum(0) > 0)  # [K, D]
        p_class = simes(torch.where(own, self.p_value, 1.0))
        accused = (own & (self.q_value <= self.fdr)).sum(1)
        label = torch.arange(classes, device=leads.device)
        return GroupTests(label, p_class.clamp_min(1e-300).log10().abs(), p_class, {"phrases": accused.double()})

    @property
    def accused(self) -> dict[int, float]:
        """The phrases with adjusted p-values up to `fdr`."""
        return {at: q for at, q in enumerate(self.q_value.tolist()) if q <= self.fdr}

    def score(self, batch: Batch) -> Scores:
        known = batch.label >= 0
        held = (batch.embedding > 0) & known[:, None]  # [B, D]
        p_value = torch.where(held, self.p_value, 1.0).amin(1)
        q_value = torch.where(held, self.q_value, 1.0).amin(1)
        # Rows of phrases beyond the rate stay below any plan's posterior threshold, which is at least one half.
        posterior = torch.where(q_value <= self.fdr, 1 - q_value, UNACCUSED * (1 - q_value))
        return Scores(
            value=-p_value.clamp_min(1e-300).log10().float(),
            p_value=p_value,
            posterior=torch.where(known, posterior, 0.0).float(),
            group=torch.where(known, batch.label, -1),
        )
