"""Floods: clusters that the law of duplicates explains accuse nobody, one that it does not is accused whole."""

from __future__ import annotations

import pytest
import torch

from foretaste.detectors.flood import Flood
from foretaste.errors import PlanError
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema

ROWS = 300


def scorer(batch, parts=1):
    step = Flood().begin(Schema(2, 2, True, False, ROWS))
    state = step.zero()
    for part in torch.arange(ROWS).tensor_split(parts):
        state = step.merge(state, step.reduce(step.zero(), batch[part]))
    return step.finish(state)


def world(p_value):
    """Rows 0 to 29 are in cluster 0, all but three of them of class 1; rows 30 to 49 in cluster 1, of class 0."""
    held = torch.zeros(ROWS, 2)
    held[:30, 0], held[30:50, 1] = p_value, 0.3
    label = (torch.arange(ROWS) % 2).index_fill(0, torch.arange(30), 1).index_fill(0, torch.arange(30, 50), 0)
    label[:3] = 0
    return Batch(torch.arange(ROWS), label, held)


@pytest.mark.parametrize("parts", [1, 4])
def test_a_flood_is_accused_in_the_class_of_most_of_its_rows(parts):
    batch = world(1e-4)
    found = scorer(batch, parts)
    assert found.groups.p_value.tolist() == pytest.approx([0.3 * 143 / 300, 1e-4 * 157 / 300], rel=0.2)
    assert found.groups.evidence["copies"].tolist() == [0, 30]
    scores = found.score(batch)
    assert torch.equal(scores.posterior >= 0.5, torch.arange(ROWS) < 30)
    assert (scores.group[:30] == 1).all()  # those that carry another label, too


def test_explained_copies_and_rows_without_any_are_not_accused():
    batch = world(0.2)
    scores = scorer(batch).score(batch)
    assert (scores.posterior < 0.5).all()
    assert (scores.posterior[50:] == 0).all()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_that_is_no_probability_is_refused(level):
    with pytest.raises(PlanError, match="level must lie between 0 and 1"):
        Flood(level=level)
