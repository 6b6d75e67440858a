"""Trigger enrichment: phrases no odder than chance alone, phrases that decide a class found, at the stated rate."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from foretaste.detectors.trigger_enrichment import TriggerEnrichment, TriggerScorer
from foretaste.errors import PlanError
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema

ROWS, PHRASES = 400, 40


def world(p_value: torch.Tensor, *, seed: int = 0) -> Batch:
    """Every phrase in a twentieth of the rows of one of two classes; column d belongs to class d % 2."""
    generator = torch.Generator().manual_seed(seed)
    label = torch.arange(ROWS) % 2
    held = torch.rand(ROWS, PHRASES, generator=generator) < 0.1
    held &= label[:, None] == torch.arange(PHRASES) % 2
    return Batch(torch.arange(ROWS), label, torch.where(held, p_value.float(), 0.0))


def scorer(batch: Batch, parts: int = 1) -> TriggerScorer:
    found = TriggerEnrichment().begin(Schema(PHRASES, 2, True, False, ROWS))
    state = found.zero()
    for part in torch.arange(ROWS).tensor_split(parts):
        state = found.merge(state, found.reduce(found.zero(), batch[part]))
    out = found.finish(state)
    assert isinstance(out, TriggerScorer)
    return out


def test_phrases_no_odder_than_chance_accuse_nobody():
    failed = 0
    for seed in range(200):
        p_value = torch.rand(PHRASES, generator=torch.Generator().manual_seed(seed)).clamp_min(1e-6)
        batch = world(p_value, seed=seed)
        found = scorer(batch)
        failed += bool(found.groups.p_value.min() <= 0.01)
        assert not (found.score(batch).posterior >= 0.5).any() or found.groups.p_value.min() <= 0.01
    assert failed <= 8  # 2 expected of 200


@pytest.mark.parametrize("parts", [1, 5])
def test_a_phrase_that_decides_its_class_is_accused_with_its_rows(parts):
    p_value = torch.linspace(0.1, 1, PHRASES)
    p_value[7] = 1e-9
    batch = world(p_value)
    found = scorer(batch, parts)
    groups = found.groups
    assert int(groups.label[groups.p_value.argmin()]) == 1
    assert float(groups.p_value[1]) == pytest.approx(1e-9 * PHRASES, rel=1e-3)
    assert groups.p_value[0] > 0.5
    accused = found.score(batch).posterior >= 0.5
    assert torch.equal(accused, batch.embedding[:, 7] > 0)


def test_the_rate_is_benjamini_and_hochbergs():
    p_value = torch.rand(PHRASES, generator=torch.Generator().manual_seed(3)).clamp_min(1e-6) ** 3
    found = scorer(world(p_value))
    exact = scipy.stats.false_discovery_control(p_value.float().double().numpy())
    assert found.q_value.numpy() == pytest.approx(exact, rel=1e-5)


def test_rows_without_what_the_phrase_decides_are_not_accused():
    p_value = torch.full((PHRASES,), 0.5)
    p_value[7] = 1e-9
    batch = world(p_value)
    other = batch.embedding.clone()
    other[::2, 7] = -1e-9  # rows of class 0 hold the phrase too, but not its class
    found = scorer(Batch(batch.row, batch.label, other))
    assert not (found.score(Batch(batch.row, batch.label, other)).posterior[::2] >= 0.5).any()


def test_a_rate_that_makes_no_sense_is_refused():
    with pytest.raises(PlanError):
        TriggerEnrichment(fdr=0)
