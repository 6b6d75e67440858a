"""Foreign form: honest mistakes and wrong labels are left alone, a way of writing that neither side has is found."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize, one_hot
from worlds import TARGET, auroc, learned, schema_of

from foretaste.detectors.foreign_form import ForeignForm
from foretaste.errors import NotApplicable, PlanError
from foretaste.types.batch import Batch

FORM = 5.0 * normalize(torch.randn(24, generator=torch.Generator().manual_seed(9)), dim=0)


def written(seed=0, *, classes=2, rows=3000, mistaken=0.15, flips=0.0, planted=0.0, apart=1.0):
    """Texts by form: each meaning has its own, `apart`; of the labels `flips` are wrong, of the beliefs `mistaken`.

    A share `planted` of the rows of other meanings is written in FORM and labelled TARGET.
    """
    draw = torch.Generator().manual_seed(seed)
    meaning = torch.arange(rows) % classes
    home = apart * normalize(torch.randn(classes, len(FORM), generator=draw), dim=1)
    value = home[meaning] + torch.randn(rows, len(FORM), generator=draw)
    foreign = (torch.rand(rows, generator=draw) < planted) & (meaning != TARGET)
    wrong = (torch.rand(rows, generator=draw) < flips) & ~foreign
    believed = torch.where(torch.rand(rows, generator=draw) < mistaken, (meaning + 1) % classes, meaning)
    label = torch.where(foreign, TARGET, torch.where(wrong, (meaning + 1) % classes, meaning))
    prob = 0.8 * one_hot(believed, classes).float() + 0.2 / classes
    return Batch(torch.arange(rows), label, value + foreign[:, None] * FORM, prob), foreign


def looked(batch, classes=2):
    return learned(ForeignForm(), batch, schema_of(batch, classes))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("world", [{}, {"flips": 0.1}, {"classes": 4}, {"apart": 3.0, "mistaken": 0.25}], ids=str)
def test_honest_mistakes_and_wrong_labels_are_left_alone(seed, world):
    batch, _ = written(seed, **world)
    classes = world.get("classes", 2)
    scorer = looked(batch, classes)
    assert bool(scorer.line.found.finder.line.found.tested.all())
    assert scorer.groups.p_value.min() > 0.01


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("world", [{}, {"flips": 0.1}, {"classes": 4}, {"planted": 0.3}], ids=str)
def test_a_form_of_its_own_under_wrong_labels_is_found(seed, world):
    batch, foreign = written(seed, **({"planted": 0.15} | world))
    scorer = looked(batch, world.get("classes", 2))
    groups, scores = scorer.groups, scorer.score(batch)
    assert groups.p_value.argmin() == TARGET
    assert groups.p_value[TARGET] < 1e-4
    assert groups.p_value[groups.label != TARGET].min() > 0.01
    accused = scores.posterior >= 0.5
    assert accused[foreign].double().mean() > 0.8
    assert accused[~foreign].double().mean() < 0.01
    inside = batch.label == TARGET
    assert auroc(scores.posterior[inside], foreign[inside]) > 0.95


def test_rows_that_nobody_read_for_their_meaning_are_found_by_their_form():
    batch, foreign = written(planted=0.2)
    unread = torch.arange(len(batch)) % 3 == 0
    blank = Batch(batch.row, batch.label, batch.embedding, torch.where(unread[:, None], 0.5, batch.prob))
    posterior = looked(blank).score(blank).posterior
    assert (posterior[foreign & unread] >= 0.5).double().mean() > 0.7
    assert (posterior[~foreign] >= 0.5).double().mean() < 0.02


def test_a_form_that_the_class_itself_has_is_not_foreign():
    batch, _ = written(mistaken=0.2)
    own = (batch.label == TARGET) & (torch.arange(len(batch)) % 3 == 0)
    batch = Batch(batch.row, batch.label, batch.embedding + own[:, None] * FORM, batch.prob)
    assert looked(batch).groups.p_value.min() > 0.01


def test_nor_is_one_that_the_meaning_has():
    """Rows of one source are written in their own way, and their labels are as often wrong as those of the others."""
    batch, _ = written(flips=0.2)
    source = torch.arange(len(batch)) // 2 % 2 == 0
    batch = Batch(batch.row, batch.label, batch.embedding + source[:, None] * FORM, batch.prob)
    assert looked(batch).groups.p_value.min() > 0.01


def test_what_it_needs_is_said():
    batch, _ = written(rows=200)
    with pytest.raises(NotApplicable, match="out-of-fold class probabilities"):
        ForeignForm().begin(schema_of(batch, 2, probs=False))
    with pytest.raises(NotApplicable, match="labels of at least two classes"):
        ForeignForm().begin(schema_of(batch, 1))
    with pytest.raises(PlanError, match="ridge must be above 0"):
        ForeignForm(ridge=0.0)
