"""Clusters of near copies: found whole, kept apart, and judged by the dataset's own duplicates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from foretaste.dataset.payload import Payload
from foretaste.stats.significance import first_or_both, fisher, predictive_tail
from foretaste.text import near_duplicates
from foretaste.text.copy_differences import CopyDifferences
from foretaste.text.minhash import MinHash, Sketch
from foretaste.text.near_duplicates import DuplicateLaw
from foretaste.text.ngrams import Words
from foretaste.types.dataset import Modality, Roles

MINHASH, LAW = MinHash(), DuplicateLaw()


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

    how = {"minhash": MINHASH, "law": LAW}
    frame = near_duplicates.frame(parts, read, rows=len(texts), **how)
    kept = near_duplicates.kept(parts, read, origin, rows=len(texts), frame=frame, **how)
    found, index = near_duplicates.gathered(kept, parts, read, most=most, edits=CopyDifferences(), **how)
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
    which = index.find(Sketch.of(read(texts), frame, MINHASH), MINHASH)
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


def surprising(size, words):
    return near_duplicates.surprising(size, words, LAW, own=np.zeros(len(size)))


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
        worst.append(surprising(size, np.full(len(size), 20.0)).min(initial=1.0))
    # A tail heavier than assumed shows a little more often.
    assert np.mean(np.array(worst) <= 0.01) <= (0.02 if shape >= 1.5 else 0.035)


def test_two_floods_do_not_excuse_each_other():
    size = np.array([260, 250, 4, 3, 2, 2, 2])
    p_value = surprising(size, np.full(len(size), 20.0))
    assert (p_value[:2] < 0.01).all()
    assert (p_value[2:] > 0.1).all()


def test_large_clusters_among_others_nearly_as_large_are_natural():
    size = np.array([250, 120, 90, 70, 50, 40, 30, 25, 20, 18, 16, 12, 10, 8, 6, 5, 4, 3, 2])
    assert surprising(size, np.full(len(size), 20.0)).min() > 0.05


def test_short_texts_repeat_and_short_clusters_do_not_excuse_long_ones():
    size = np.array([900, 500, 300, 250, 3, 2, 2])
    words = np.array([2.0, 3.0, 5.0, 60.0, 50.0, 40.0, 60.0])
    p_value = surprising(size, words)
    assert (p_value[:3] == 1).all()
    assert p_value[3] < 0.01


def test_size_and_edits_together_accuse_at_the_stated_rate():
    """Where edits counted only if they were unusual themselves, one cluster in 64 and not in a hundred was accused."""
    draw = torch.Generator().manual_seed(0)
    size, edits = torch.rand(2, 400_000, generator=draw, dtype=torch.float64)
    error = (0.01 * 0.99 / len(size)) ** 0.5
    assert (first_or_both(size, edits) <= 0.01).double().mean() <= 0.01 + 3 * error
    chosen = torch.where(edits <= 0.05, fisher(size, edits), size)
    assert (chosen <= 0.01).double().mean() == pytest.approx(0.0156, abs=3 * error)


def test_size_and_edits_each_speak_for_themselves_or_together():
    size, edits = torch.tensor([1e-6, 0.02, 0.9]), torch.tensor([1.0, 1e-4, 1.0])
    found = first_or_both(size, edits)
    assert found.tolist() == pytest.approx([2e-6, 2 * float(fisher(size, edits)[1]), 1.0])
    assert found[1] < 1e-3


def test_the_predictive_tail_holds_its_rate_however_few_values_are_known():
    draw = np.random.default_rng(0)
    for count in (0, 3, 30):
        mean = 1 / draw.gamma(10.0, 1 / 5.0, 100_000)  # rates by the prior: ten values that sum to five
        known = draw.gamma(max(count, 1), mean) * (count > 0)
        chance = predictive_tail(
            torch.from_numpy(draw.exponential(mean)), total=torch.from_numpy(known), count=count, prior_total=5.0,
            prior_count=10.0,
        )  # fmt: skip
        for bar in (0.1, 0.01):
            assert (chance <= bar).double().mean() == pytest.approx(bar, abs=3 * (bar * (1 - bar) / 100_000) ** 0.5)
