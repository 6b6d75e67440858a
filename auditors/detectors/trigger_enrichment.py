"""Triggers in text: a phrase decides the label, or the response, and has nothing to do with the words around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.detectors.contract import TRIGGER, Aggregator, Claim, GroupFacts, Unit, detector
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.stats.significance import benjamini_hochberg, simes
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

UNACCUSED = 0.4  # highest posterior of a row that is not accused, below one half


@detector("trigger-enrichment")
@dataclass(frozen=True)
class TriggerEnrichment:
    """Phrases that decide the label or the response and fit between any words, as inserted ones do.

    Words of the language that go with a class ("dull" with bad reviews) also go with their neighbours; a trigger was
    put between words that were already there. Reads the embedder `phrases`, whose columns are the phrases' p-values.
    All phrases of a class are one hypothesis (Simes 1986); in a suspicious class the phrases accused are those below
    `fdr` (Benjamini & Hochberg 1995), and of their rows those that have what the phrase decides.

    fdr  false discovery rate over the phrases
    """

    fdr: float = threshold(0.01, "the rate of the audit")

    def __post_init__(self) -> None:
        if not 0 < self.fdr < 1:
            raise PlanError(f"fdr must lie between 0 and 1, got {self.fdr}")

    # Whether a phrase is the language's own is what the embedder's tests tell.
    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, TRIGGER, Unit(words="powers of ten beyond chance"), acquittable=False)

    def begin(self, schema: Schema) -> Aggregator:
        return _Holding(self.fdr, schema)

    def describe(self, group: GroupFacts) -> str:
        if not group.classes and not group.answered:
            return f"{group.counted} hold a phrase after which the text is another"
        return f"{group.counted} hold a phrase that decides what becomes of them and fits between any words"


@dataclass(frozen=True)
class _Seen:
    hits: Tensor  # [K, D] int64, rows of each class that have a phrase and its outcome
    p_value: Tensor  # [D] float64, the greatest seen; 0 where no row has the phrase


@dataclass(frozen=True)
class _Holding:
    """The only sweep: which classes the phrases lead to."""

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
    """The phrases accused, and the classes they lead to."""

    fdr: float
    hits: Tensor  # [K, D]
    p_value: Tensor  # [D]
    q_value: Tensor  # [D]

    @property
    def groups(self) -> GroupTests:
        """One group a class: Simes over all phrases, those of other classes as if they had shown nothing."""
        classes = len(self.hits)
        leads = self.hits.argmax(0)  # [D]
        own = (leads == torch.arange(classes, device=leads.device)[:, None]) & (self.hits.sum(0) > 0)  # [K, D]
        p_class = simes(torch.where(own, self.p_value, 1.0))
        accused = (own & (self.q_value <= self.fdr)).sum(1)
        label = torch.arange(classes, device=leads.device)
        return GroupTests(label, p_class.clamp_min(1e-300).log10().abs(), p_class, {"phrases": accused.double()})

    @property
    def accused(self) -> dict[int, float]:
        """The phrases below the rate, with the false discovery rate of each."""
        return {at: q for at, q in enumerate(self.q_value.tolist()) if q <= self.fdr}

    def score(self, batch: Batch) -> Scores:
        known = batch.label >= 0
        held = (batch.embedding > 0) & known[:, None]  # [B, D]
        p_value = torch.where(held, self.p_value, 1.0).amin(1)
        q_value = torch.where(held, self.q_value, 1.0).amin(1)
        # Beyond the rate nobody is accused, whatever the plan asks for: it asks for one half at least.
        posterior = torch.where(q_value <= self.fdr, 1 - q_value, UNACCUSED * (1 - q_value))
        return Scores(
            value=-p_value.clamp_min(1e-300).log10().float(),
            p_value=p_value,
            posterior=torch.where(known, posterior, 0.0).float(),
            group=torch.where(known, batch.label, -1),
        )
