"""Kinship: rows drawn from a class are as alike as any of it, rows of a kind more, whatever the phrase's own words."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from foretaste.text.triggers.phrase_significance import PhraseSignificance
from foretaste.text.triggers.row_similarity import RowSimilarity, excess_similarity

AKIN = PhraseSignificance().akin
SIMILARITY = RowSimilarity()
NONE = np.zeros(0, dtype=np.int64)
TOPICS, WORDS = 6, 60


def texts(rows=900, seed=0):
    """Sets of words [N, W + 1], the last of which nobody uses; the topic of each row, and its class."""
    draw = np.random.default_rng(seed)
    topic, label = draw.integers(0, TOPICS, rows), draw.integers(0, 2, rows)
    law = np.full((TOPICS, WORDS), 0.06)
    for one in range(TOPICS):
        law[one, one * 10 : one * 10 + 5] = 0.5
    content = np.zeros((rows, WORDS + 1))
    content[:, :WORDS] = draw.random((rows, WORDS)) < law[topic]
    return content, topic, label


def of(content, label, rows, own=NONE, outcome=1):
    return float(
        excess_similarity(
            sp.csr_matrix(content), label, [np.asarray(rows)], [own], np.array([outcome]), similarity=SIMILARITY
        )[0]
    )


def test_rows_drawn_from_a_class_are_no_kin():
    content, _, label = texts(3000)
    draw = np.random.default_rng(1)
    mine = np.flatnonzero(label == 1)
    sets = [draw.choice(mine, int(draw.integers(8, 60)), replace=False) for _ in range(300)]
    one = np.ones(300, dtype=np.int64)
    found = excess_similarity(sp.csr_matrix(content), label, sets, [NONE] * 300, one, similarity=SIMILARITY)
    assert abs(found.mean()) < 0.25
    assert (found > AKIN).sum() <= 3


def test_rows_of_one_topic_are_kin_and_those_of_another_class_are_not_asked():
    content, topic, label = texts()
    rows = np.flatnonzero(topic == 2)[:40]
    assert of(content, label, rows) > AKIN
    strangers = np.flatnonzero((label == 0) & (topic == 2))
    drawn = np.random.default_rng(2).choice(np.flatnonzero(label == 1), 20, replace=False)
    assert of(content, label, [*strangers, *drawn]) == pytest.approx(of(content, label, drawn))


def test_the_words_of_the_phrase_itself_make_nobody_kin():
    content, _, label = texts()
    rows = np.random.default_rng(3).choice(np.flatnonzero(label == 1), 40, replace=False)
    content[rows, WORDS] = 1
    assert of(content, label, rows) > AKIN
    assert of(content, label, rows, own=np.array([WORDS])) < AKIN


def test_the_statistic_is_the_mean_inner_product_of_two_rows():
    content, _, label = texts(300)
    rows = np.flatnonzero(label == 1)[:12]
    weighted = content * np.log(len(content) / content.sum(0).clip(min=1))
    weighted /= np.linalg.norm(weighted, axis=1, keepdims=True).clip(min=1e-9)
    centred = weighted - weighted[label == 1].mean(0)
    inner, every = centred[rows] @ centred[rows].T, centred[label == 1] @ centred[label == 1].T
    off = [one[~np.eye(len(one), dtype=bool)] for one in (inner, every)]
    expected = off[0].mean() / np.sqrt(2 * (off[1] ** 2).mean() / (12 * 11))
    assert of(content, label, rows) == pytest.approx(expected)


def test_one_row_is_not_asked():
    content, _, label = texts(60)
    assert of(content, label, np.flatnonzero(label == 1)[:1]) == -np.inf
