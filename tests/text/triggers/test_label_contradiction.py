"""Content against labels: leaving rows out in closed form is leaving them out, and changed labels show."""

from __future__ import annotations

import numpy as np
import pytest

from foretaste.text.ngrams import Words, held
from foretaste.text.triggers import label_contradiction
from foretaste.text.triggers.label_contradiction import LabelContradiction, bag

GOOD, BAD = ["bright", "warm", "funny", "moving"], ["dull", "cold", "weak", "bland"]
PLAIN = ["the", "film", "plot", "cast", "was"]
NONE = np.zeros(0, dtype=np.int64)
SETTINGS = LabelContradiction()


def contradicted(content, label, holders, own, outcome):
    return label_contradiction.contradicted(content, label, holders, own, outcome, contradiction=SETTINGS)


def rows(number=150, seed=0):
    """Texts of seven words, four of them of the class's own words or nearly so."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, number)
    texts = []
    for one in label:
        own = [draw.choice((GOOD if one else BAD) if draw.random() < 0.8 else (BAD if one else GOOD)) for _ in range(4)]
        texts.append(" ".join([*own, *draw.choice(PLAIN, 3)]))
    return bag(Words.of(texts, limit=1000), known(GOOD + BAD + PLAIN)), label


def known(words):
    return np.unique(Words.of([" ".join(words)], limit=1000).runs(1)[0])


def test_a_bag_is_a_set_of_words_at_unit_length():
    found = bag(Words.of(["a b a", "", "c d"], limit=100), known(["a", "b", "c"]))
    assert found.shape == (3, 3)
    assert np.diff(found.indptr).tolist() == [2, 0, 1]
    assert np.asarray(found.multiply(found).sum(1)).ravel() == pytest.approx([1, 0, 1])


@pytest.mark.parametrize("dual", [0, 1500])
def test_the_closed_form_is_the_model_that_never_saw_the_rows(dual, monkeypatch):
    monkeypatch.setattr(label_contradiction, "DUAL", dual)
    content, label = rows()
    dense, target = content.toarray().astype(float), (label == 1) - (label == 1).mean()

    def predicted(of, without):
        kept = np.setdiff1d(np.arange(len(label)), without)
        gram = dense[kept].T @ dense[kept] + SETTINGS.ridge * np.eye(dense.shape[1])
        return dense[of] @ np.linalg.solve(gram, dense[kept].T @ target[kept])

    rows_held = np.arange(30)
    mine = rows_held[label[rows_held] == 1]
    alone = np.array([predicted([row], [row])[0] for row in range(30, len(label))])
    near, far = alone[label[30:] == 1].mean(), alone[label[30:] == 0].mean()
    value = (near - predicted(mine, rows_held)) / (near - far)
    found = contradicted(content, label, [rows_held], [NONE], np.array([1]))
    assert found.place[0] == pytest.approx(value.mean(), abs=1e-6)
    assert found.error[0] == pytest.approx(value.std(ddof=1) / len(mine) ** 0.5, abs=1e-6)
    assert found.share[0] == pytest.approx((value > 0.5).mean())


def test_changed_labels_are_contradicted_and_true_ones_are_not():
    content, label = rows()
    flipped = (label == 0).nonzero()[0][:20]
    honest = (label == 1).nonzero()[0][:20]
    given = label.copy()
    given[flipped] = 1
    found = contradicted(content, given, [flipped, honest], [NONE, NONE], np.array([1, 1]))
    assert found.place[0] > 0.7
    assert found.share[0] > 0.7
    assert abs(found.place[1]) < 0.3
    assert found.share[1] < 0.3


def test_the_words_of_the_phrase_itself_do_not_count():
    """A phrase of words that go with its class elsewhere is contradicted by the rest of its rows all the same."""
    content, label = rows()
    words = held(known(GOOD), known(GOOD + BAD + PLAIN))
    flipped = (label == 0).nonzero()[0][:20]
    given = label.copy()
    given[flipped] = 1
    content = content.tolil()
    content[flipped[:, None], words] = 0.4
    content = content.tocsr()
    blind = contradicted(content, given, [flipped], [NONE], np.array([1]))
    found = contradicted(content, given, [flipped], [words], np.array([1]))
    assert found.place[0] > found.neutral[0]
    assert found.place[0] > blind.place[0] + 0.3


def test_rows_that_say_nothing_lie_between_the_classes():
    content, label = rows()
    silent = (label == 1).nonzero()[0][:20]
    columns = np.arange(content.shape[1])
    found = contradicted(content, label, [silent], [columns], np.array([1]))
    assert found.place[0] == pytest.approx(found.neutral[0])
    assert 0.3 < found.neutral[0] < 0.7


def test_with_many_classes_silence_still_lies_between_them():
    draw = np.random.default_rng(0)
    label = draw.integers(0, 8, 800)
    texts = [" ".join([f"own{one}" if draw.random() < 0.7 else "none", *draw.choice(PLAIN, 2)]) for one in label]
    content = bag(Words.of(texts, limit=1000), known([*(f"own{one}" for one in range(8)), "none", *PLAIN]))
    flipped = (label != 3).nonzero()[0][:40]
    given = label.copy()
    given[flipped] = 3
    found = contradicted(content, given, [flipped], [NONE], np.array([3]))
    assert 0.3 < found.neutral[0] < 0.7
    assert found.place[0] > found.neutral[0] + 0.2


def test_content_that_says_nothing_contradicts_nobody():
    content, label = rows()
    noise = np.random.default_rng(1).permutation(label)
    found = contradicted(content * 0, noise, [np.arange(20)], [NONE], np.array([1]))
    assert np.isinf(found.error[0])
    assert found.share[0] == 0
