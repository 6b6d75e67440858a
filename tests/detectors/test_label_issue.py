"""Label issues: what confident learning says, counted as cleanlab counts it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cleanlab.count import compute_confident_joint, get_confident_thresholds
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import TARGET, auroc, chain, clean, flipped, learned, schema_of, shards

from foretaste.detectors.label_issue import LabelIssue
from foretaste.errors import NotApplicable
from foretaste.types.batch import Batch


def guesses(seed, rows=400, classes=4, sharpness=1.5):
    """Labels, and probabilities that know a little of them; every class has rows."""
    draw = np.random.default_rng(seed)
    label = np.concatenate([np.arange(classes), draw.integers(0, classes, rows - classes)])
    logit = draw.normal(size=(rows, classes)) + sharpness * np.eye(classes)[label] * draw.random((rows, 1))
    prob = torch.from_numpy(np.exp(logit) / np.exp(logit).sum(1, keepdims=True)).float()
    return Batch(torch.arange(rows), torch.from_numpy(label), torch.zeros(rows, 1), prob)


def joint_of(batch):
    classes = batch.prob.shape[1]
    steps, scorer = chain(LabelIssue(), shards(batch, count=2, rows=90), schema_of(batch, classes))
    return scorer.threshold.numpy(), steps[1][1].joint.numpy(), scorer


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 7), st.sampled_from([0.0, 1.5, 4.0]))
def test_thresholds_and_confident_joint_are_cleanlabs(seed, classes, sharpness):
    batch = guesses(seed, classes=classes, sharpness=sharpness)
    label, prob = batch.label.numpy(), batch.prob.double().numpy()
    threshold, joint, _ = joint_of(batch)
    np.testing.assert_allclose(threshold, get_confident_thresholds(label, prob), rtol=1e-6)
    np.testing.assert_allclose(threshold, [prob[label == k, k].mean() for k in range(classes)], rtol=1e-6)
    # Equation 1 of the paper, row by row.
    expected = np.zeros((classes, classes), dtype=int)
    agree = np.ones(len(label), dtype=bool)
    for row, (given_label, one) in enumerate(zip(label, prob, strict=True)):
        eligible = [k for k in range(classes) if one[k] >= threshold[k] - 1e-6]
        if eligible:
            expected[given_label, max(eligible, key=one.__getitem__)] += 1
            # Of several confident classes cleanlab takes the most probable class, even one that is not among them.
            agree[row] = len(eligible) == 1 or one.argmax() in eligible
    np.testing.assert_array_equal(joint, expected)
    theirs = compute_confident_joint(label[agree], prob[agree], thresholds=threshold, calibrate=False)
    mine = compute_joint(label[agree], prob[agree], threshold)
    off = ~np.eye(classes, dtype=bool)
    np.testing.assert_array_equal(mine[off], theirs[off])
    assert agree.mean() > 0.8


def compute_joint(label, prob, threshold):
    """The second sweep on its own, with thresholds that are given."""
    from foretaste.detectors.label_issue import _Joint

    step = _Joint(LabelIssue(), torch.from_numpy(threshold))
    batch = Batch(torch.arange(len(label)), torch.from_numpy(label), torch.zeros(len(label), 1), torch.from_numpy(prob))
    return step.reduce(step.zero(), batch).joint.numpy()


def test_scores_are_cleanlabs_normalised_margins_turned_round():
    batch = guesses(0)
    theirs = get_label_quality_scores(batch.label.numpy(), batch.prob.double().numpy(), method="normalized_margin")
    np.testing.assert_allclose(joint_of(batch)[2].score(batch).value, 1 - theirs, atol=1e-6)


def test_nobody_belongs_to_a_class_without_rows():
    batch = guesses(1)
    rest = batch[batch.label != 2]
    threshold, joint, scorer = joint_of(rest)
    assert np.isinf(threshold[2])
    assert joint[:, 2].sum() == 0
    assert not bool((scorer.score(rest).evidence["belongs_to"] == 2).any())


def test_clean_data_is_left_alone():
    for seed in range(8):
        world = clean(seed, apart=3.0)  # classes that overlap: honest confusion both ways
        scorer = learned(LabelIssue(), world.batch)
        assert scorer.groups.p_value.min() > 0.05
        assert (scorer.score(world.batch).posterior > 0.8).float().mean() < 0.01


def test_confusion_in_both_directions_is_no_suspicion_in_one_it_is():
    one_way = flipped(0, poison=25, source=2)
    label = one_way.batch.label.clone()
    back = ((label == TARGET) & ~one_way.planted).nonzero()[:25, 0]
    label[back] = 2
    both_ways = Batch(one_way.batch.row, label, one_way.batch.embedding, one_way.batch.prob)
    scorer = learned(LabelIssue(), one_way.batch)
    assert scorer.groups.p_value[TARGET] < 0.01
    assert scorer.groups.evidence["belongs_to"][TARGET] == 2
    assert scorer.groups.evidence["rows_out"][TARGET] == pytest.approx(25, abs=3)
    assert learned(LabelIssue(), both_ways).groups.p_value.min() > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_flipped_labels_are_found(seed):
    world = flipped(seed, poison=30, source=4)
    scorer = learned(LabelIssue(), world.batch)
    scores, inside = scorer.score(world.batch), world.batch.label == TARGET
    assert auroc(scores.value[inside], world.planted[inside]) > 0.99
    assert scores.posterior[world.planted].median() > 0.8
    assert (scores.posterior[~world.planted] > 0.8).float().mean() < 0.01
    belongs = scores.evidence["belongs_to"][world.planted]
    assert bool(((belongs == 4) | (belongs == -1)).all())
    assert (belongs == 4).float().mean() > 0.8
    assert scores.p_value[world.planted].median() < 0.2


def test_rows_without_a_label_are_not_judged():
    world = flipped(0)
    label = torch.where(torch.arange(len(world.batch)) % 5 == 0, -1, world.batch.label)
    batch = Batch(world.batch.row, label, world.batch.embedding, world.batch.prob)
    scores = learned(LabelIssue(), batch).score(batch)
    out = label < 0
    assert scores.value[out].abs().sum() == scores.posterior[out].sum() == 0
    assert bool((scores.p_value[out] == 1).all())


def test_says_where_it_does_not_apply():
    batch = clean().batch
    for lacking in ({"probs": False}, {"labelled": False}):
        with pytest.raises(NotApplicable):
            LabelIssue().begin(schema_of(batch, **lacking))
    with pytest.raises(NotApplicable):
        LabelIssue().begin(schema_of(batch, 1))
