"""Content against labels: leaving rows out in closed form is leaving them out, and changed labels show."""

from __future__ import annotations

import numpy as np
import pytest

from auditors import contradiction
from auditors.contradiction import RIDGE, bag, contradicted
from auditors.ngrams import Words

GOOD, BAD = ["bright", "warm", "funny", "moving"], ["dull", "cold", "weak", "bland"]


def rows(number=150, seed=0):
    """Texts of seven words, four of them of the class's own words or nearly so."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, number)
    texts = []
    for one in label:
        own = [draw.choice((GOOD if one else BAD) if draw.random() < 0.8 else (BAD if one else GOOD)) for _ in range(4)]
        texts.append(" ".join([*own, *draw.choice(["the", "film", "plot", "cast", "was"], 3)]))
    return bag(Words.of(texts, limit=1000)), label


def test_a_bag_is_a_set_of_words_at_unit_length():
    found = bag(Words.of(["a b a", "", "c"], limit=100))
    assert found.shape[0] == 3
    assert np.diff(found.indptr).tolist() == [2, 0, 1]
    assert np.asarray(found.multiply(found).sum(1)).ravel() == pytest.approx([1, 0, 1])


@pytest.mark.parametrize("dual", [0, 1500])
def test_the_closed_form_is_the_model_that_never_saw_the_rows(dual, monkeypatch):
    monkeypatch.setattr(contradiction, "DUAL", dual)
    monkeypatch.setattr(contradiction, "DIM", 64)
    content, label = rows()
    dense, target = content.toarray().astype(float), (label == 1) - (label == 1).mean()

    def predicted(of, without):
        kept = np.setdiff1d(np.arange(len(label)), without)
        gram = dense[kept].T @ dense[kept] + RIDGE * np.eye(dense.shape[1])
        return dense[of] @ np.linalg.solve(gram, dense[kept].T @ target[kept])

    held = np.arange(30)
    mine = held[label[held] == 1]
    alone = np.array([predicted([row], [row])[0] for row in range(30, len(label))])
    near, far = alone[label[30:] == 1].mean(), alone[label[30:] == 0].mean()
    value = (near - predicted(mine, held)) / (near - far)
    found = contradicted(content, label, [held], np.array([1]))
    assert found.place[0] == pytest.approx(value.mean(), abs=1e-6)
    assert found.error[0] == pytest.approx(value.std(ddof=1) / len(mine) ** 0.5, abs=1e-6)
    assert found.share[0] == pytest.approx((value > 0.5).mean())


def test_changed_labels_are_contradicted_and_true_ones_are_not():
    content, label = rows()
    flipped = (label == 0).nonzero()[0][:20]
    honest = (label == 1).nonzero()[0][:20]
    given = label.copy()
    given[flipped] = 1
    found = contradicted(content, given, [flipped, honest], np.array([1, 1]))
    assert found.place[0] > 0.7
    assert found.share[0] > 0.7
    assert abs(found.place[1]) < 0.3
    assert found.share[1] < 0.3


def test_content_that_says_nothing_contradicts_nobody():
    content, label = rows()
    noise = np.random.default_rng(1).permutation(label)
    found = contradicted(content * 0, noise, [np.arange(20)], np.array([1]))
    assert np.isinf(found.error[0])
    assert found.share[0] == 0
