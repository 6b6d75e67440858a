"""Sketches agree as the texts do, and do not depend on the batch."""

from __future__ import annotations

import numpy as np
import pytest

from foretaste.errors import PlanError
from foretaste.text.minhash import MinHash, Sketch, agreeing, runs
from foretaste.text.ngrams import Words

NONE = np.zeros(0, dtype=np.uint32)
MINHASH = MinHash()


def sketch(texts, frame=NONE):
    return Sketch.of(Words.of(texts, limit=10_000), frame, MINHASH)


def text(seed, words=40):
    return " ".join(f"w{one}" for one in np.random.default_rng(seed).integers(0, 5000, words))


def edited(words, share, seed):
    draw = np.random.default_rng(seed)
    parts = words.split()
    for at in draw.choice(len(parts), int(share * len(parts)), replace=False):
        parts[at] = f"x{draw.integers(1000)}"
    return " ".join(parts)


def test_a_text_sketches_alone_as_in_any_batch():
    texts = [text(0), "", text(1, 3), "one", text(2, 300)]
    together = sketch(texts)
    for at, one in enumerate(texts):
        alone = sketch([one])
        assert np.array_equal(alone.band[0], together.band[at])
        assert np.array_equal(alone.check[0], together.check[at])
        assert alone.words[0] == together.words[at] == len(one.split())


def test_copies_with_few_edits_agree_and_strangers_do_not():
    texts = [text(seed) for seed in range(300)]
    own = sketch(texts)
    near = sketch([edited(one, 0.05, seed) for seed, one in enumerate(texts)])
    assert agreeing(own.check, near.check, MINHASH).mean() > 0.9
    assert (own.band == near.band).any(1).mean() > 0.95
    strangers = np.roll(own.check, 1, axis=0)
    assert agreeing(own.check, strangers, MINHASH).mean() == 0


@pytest.mark.parametrize("shared", [0.2, 0.5, 0.8])
def test_hashes_agree_as_often_as_the_texts_share_runs(shared):
    size, rows = 60, 400
    common = [text(seed, int(shared * size)) for seed in range(rows)]
    texts = [[f"{one} {text(1000 + kind * rows + at, size)}" for at, one in enumerate(common)] for kind in (0, 1)]
    one, other = (sketch(part) for part in texts)
    sets = [[set(zip(*(part.split()[at:] for at in range(3)), strict=False)) for part in side] for side in texts]
    jaccard = np.mean([len(a & b) / len(a | b) for a, b in zip(*sets, strict=True)])
    assert (one.check == other.check).mean() == pytest.approx(jaccard, abs=0.03)


def test_what_frames_every_text_does_not_make_copies_of_them():
    frame = "below is a question please answer it briefly and in one list " * 3
    texts = [f"{frame} {text(seed, 8)}" for seed in range(50)]
    run, row = runs(Words.of(texts, limit=10_000), MINHASH.run)
    counts = {one: len(set(row[run == one])) for one in np.unique(run)}
    framed = np.array(sorted(one for one, count in counts.items() if count > 25), dtype=np.uint32)
    bare, whole = sketch(texts, framed), sketch(texts)
    assert agreeing(whole.check[1:], whole.check[:-1], MINHASH).mean() > 0.5
    assert agreeing(bare.check[1:], bare.check[:-1], MINHASH).mean() == 0
    alone = sketch([frame], framed)  # a text that is nothing but frame is still like its copies
    assert agreeing(alone.check, sketch([frame], framed).check, MINHASH).all()


def test_a_text_has_its_words_whatever_the_length_of_a_run():
    texts = ["", "a b c d e"]
    for run in (1, 2, 4):
        assert Sketch.of(Words.of(texts, limit=100), NONE, MinHash(run=run)).words.tolist() == [0, 5]


@pytest.mark.parametrize("settings", [{"agree": 17}, {"agree": 0}, {"bands": 257}, {"run": 0}, {"hashes": 0}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(PlanError, match="minhash needs"):
        MinHash(**settings)
