"""Clusters of near copies: found whole, kept apart, and judged by the dataset's own duplicates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretaste.dataset.payload import Payload
from foretaste.text import near_duplicates
from foretaste.text.minhash import Sketch
from foretaste.text.ngrams import Words
from foretaste.types.dataset import Modality, Roles


def read(texts):
    return Words.of(texts, limit=10_000)


def text(draw, words=30):
    return " ".join(f"w{one}" for one in (draw.zipf(1.3, words) % 5000))


def edited(one, draw, share=0.1):
    words = one.split()
    for at in draw.choice(len(words), int(share * len(words)), replace=False):
        words[at] = f"x{draw.integers(1000)}"
    return " ".join(words)


def gathered(texts, label=None, rows=100, most=32, source=None):
    label = np.zeros(len(texts), dtype=np.int64) if label is None else np.asarray(label)
    roles = Roles(Modality.TEXT, ("c",))
    parts = [
        Payload(torch.arange(at, min(at + rows, len(texts))), torch.from_numpy(label[at : at + rows]), {}, roles, "f")
        for at in range(0, len(texts), rows)
    ]
    for part, at in zip(parts, range(0, len(texts), rows), strict=True):
        part.__dict__["texts"] = texts[at : at + rows]
    source = np.zeros(len(texts)) if source is None else source

    def origin(one):
        return source[one.row.numpy()].astype(np.uint64)

    frame = near_duplicates.frame(parts, read, rows=len(texts))
    kept = near_duplicates.kept(parts, read, origin, rows=len(texts), frame=frame)
    found, index = near_duplicates.gathered(kept, parts, read, most=most)
    return found, index, frame


def world(seed=0, rows=3000, natural=(5, 4, 3, 3, *[2] * 20), flood=0, share=0.1):
    draw = np.random.default_rng(seed)
    texts = [text(draw) for _ in range(rows)]
    for size in natural:
        texts += [text(draw)] * size
    planted = text(draw)
    texts += [edited(planted, draw, share) for _ in range(flood)]
    return texts


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1])
def test_a_flood_is_gathered_into_one_cluster(share):
    found, index, frame = gathered(world(flood=150, share=share))
    assert found[0].rows >= (149 if share < 0.1 else 130)
    assert found[0].variants == (1 if share == 0 else pytest.approx(found[0].rows, abs=3))
    assert found[0].p_value < 0.01
    texts = world(flood=150, share=share)
    which = index.find(Sketch.of(read(texts), frame))
    assert (which[-150:] == 0).sum() == found[0].rows
    assert (which[:-150] == 0).sum() == 0


@pytest.mark.parametrize("flood", [40, 80])
def test_a_small_flood_is_known_by_its_edits(flood):
    natural = (90, 60, 40, 30, 30, 20, 20, 20, 10, 10, *[5] * 20)
    found, _, _ = gathered(world(natural=natural, flood=flood, share=0.1))
    assert found[0].edited > 0.5
    assert found[0].p_value < 0.01
    assert all(one.edited == 0 and one.p_value > 0.01 for one in found[1:])


def test_a_cluster_tells_how_much_of_it_one_source_wrote():
    texts = world(flood=60, share=0.0)
    rows = len(texts)
    found, _, _ = gathered(texts, source=np.where(np.arange(rows) >= rows - 45, 7, np.arange(rows) % 11 + 10))
    assert found[0].foremost == pytest.approx(45 / 60)
    assert gathered(texts)[0][0].foremost == 0


def test_a_cluster_tells_its_labels():
    texts = world(flood=60, share=0.0)
    label = np.zeros(len(texts), dtype=np.int64)
    label[-45:] = 1
    label[-1] = -1
    found, _, _ = gathered(texts, label)
    assert (found[0].label, found[0].rows) == (1, 60)
    assert found[0].purity == pytest.approx(44 / 59)


def test_nothing_is_gathered_where_nothing_repeats():
    found, index, _ = gathered(world(natural=()))
    assert found == []
    assert len(index.key) == 0


def sizes(draw, *, count, shape):
    """Sizes of natural clusters: a power law from two copies on."""
    return np.floor(1.5 * draw.random(count) ** (-1 / shape) + 0.5).astype(np.int64).clip(2, 10**6)


@pytest.mark.parametrize("shape", [1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("count", [0, 5, 40, 1000])
def test_natural_duplicates_are_explained_at_the_stated_rate(shape, count):
    draw = np.random.default_rng(int(10 * shape) + count)
    worst = []
    for _ in range(400):
        size = sizes(draw, count=count, shape=shape)
        worst.append(near_duplicates.surprising(size, np.full(len(size), 20.0)).min(initial=1.0))
    # A tail heavier than assumed shows a little more often.
    assert np.mean(np.array(worst) <= 0.01) <= (0.02 if shape >= 1.5 else 0.035)


def test_two_floods_do_not_excuse_each_other():
    size = np.array([260, 250, 4, 3, 2, 2, 2])
    p_value = near_duplicates.surprising(size, np.full(len(size), 20.0))
    assert (p_value[:2] < 0.01).all()
    assert (p_value[2:] > 0.1).all()


def test_large_clusters_among_others_nearly_as_large_are_natural():
    size = np.array([250, 120, 90, 70, 50, 40, 30, 25, 20, 18, 16, 12, 10, 8, 6, 5, 4, 3, 2])
    assert near_duplicates.surprising(size, np.full(len(size), 20.0)).min() > 0.05


def test_short_texts_repeat_and_short_clusters_do_not_excuse_long_ones():
    size = np.array([900, 500, 300, 250, 3, 2, 2])
    words = np.array([2.0, 3.0, 5.0, 60.0, 50.0, 40.0, 60.0])
    p_value = near_duplicates.surprising(size, words)
    assert (p_value[:3] == 1).all()
    assert p_value[3] < 0.01
