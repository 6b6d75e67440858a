"""What each trigger looks like: amplitudes and places as published."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from auditors.attacks import (
    adap_blend,
    badnets,
    blended,
    insert_sentence,
    label_flip,
    low_frequency,
    rare_token,
    sig,
    wanet,
)
from auditors.errors import PlanError

GREY = torch.full((60, 3, 32, 32), 128, dtype=torch.uint8)
LABEL = torch.arange(60) % 3


def difference(after: Tensor, before: Tensor = GREY) -> Tensor:
    return after.int() - before.int()


@pytest.mark.parametrize(
    ("place", "top", "left"),
    [("top-left", 1, 1), ("top-right", 1, 28), ("bottom-left", 28, 1), ("bottom-right", 28, 28)],
)
def test_badnets_patch_lies_in_its_corner(place: badnets.Place, top: int, left: int) -> None:
    after = badnets.plant(GREY, LABEL, target=0, count=5, seed=0, place=place)
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[top : top + 3, left : left + 3] = True
    assert torch.equal((difference(after.payload)[after.poisoned] != 0).all(1).all(0), inside)
    assert after.payload[after.poisoned].unique().tolist() == [0, 128, 255]


def test_badnets_random_place_is_one_place() -> None:
    places = set()
    for seed in range(5):
        after = badnets.plant(GREY, LABEL, target=0, count=5, seed=seed, place="random", pattern=(255, 0, 0))
        stamped = (difference(after.payload)[after.poisoned] != 0).any(1)  # [5, H, W]
        assert bool((stamped == stamped[0]).all())
        assert stamped[0].sum() == 9
        places.add(tuple(stamped[0].nonzero()[0].tolist()))
    assert len(places) > 1


def test_badnets_all_to_all_moves_each_label_on() -> None:
    after = badnets.plant(GREY, LABEL, target=None, count=30, seed=0)
    assert torch.equal(after.label[after.poisoned], (LABEL[after.poisoned] + 1) % 3)
    assert torch.equal(after.label[~after.poisoned], LABEL[~after.poisoned])


def test_badnets_patch_must_fit() -> None:
    with pytest.raises(ValueError, match="do not fit into 32×32 pixels"):
        badnets.plant(GREY, LABEL, target=0, count=1, seed=0, size=31)


def test_blended_mixes_by_weight() -> None:
    after = blended.plant(GREY, LABEL, target=0, count=5, seed=0, weight=0.2, pattern=torch.full_like(GREY[0], 228))
    assert difference(after.payload)[after.poisoned].unique().tolist() == [20]
    noisy = difference(blended.plant(GREY, LABEL, target=0, count=5, seed=0, weight=0.1).payload)
    assert noisy.abs().max() == 13  # a tenth of the way from 128 to 0 or 255
    with pytest.raises(ValueError, match=r"weight must lie in \[0, 1\], got 2"):
        blended.plant(GREY, LABEL, target=0, count=5, seed=0, weight=2)
    with pytest.raises(ValueError, match=r"pattern must be \(3, 32, 32\)"):
        blended.plant(GREY, LABEL, target=0, count=5, seed=0, pattern=GREY[0, :, :8])


def test_sig_is_the_published_sinusoid() -> None:
    after = sig.plant(GREY, LABEL, target=0, count=5, seed=0, delta=20, frequency=6)
    wave = difference(after.payload)[after.poisoned]
    expected = [round(20 * math.sin(2 * math.pi * (column + 1) * 6 / 32)) for column in range(32)]
    assert wave.abs().max() == 20
    assert bool((wave == torch.tensor(expected)).all())


def test_sig_stays_within_the_range_of_a_pixel() -> None:
    white = torch.full_like(GREY, 250)
    after = sig.plant(white, LABEL, target=0, count=5, seed=0)
    assert difference(after.payload, white).max() == 5
    assert difference(after.payload, white).min() == -20


def test_low_frequency_keeps_to_its_amplitude_and_is_smooth() -> None:
    after = low_frequency.plant(GREY, LABEL, target=0, count=5, seed=0, amplitude=20)
    added = difference(after.payload)[after.poisoned][0].double()
    assert added.abs().max() == 20
    cosines = functional.normalize(low_frequency.cosines(32, 32), dim=1).double()
    energy = (cosines @ added @ cosines.T) ** 2  # [3, 32, 32], orthonormal
    assert energy[:, :3, :3].sum() > 0.99 * energy.sum()  # the rest is rounding to whole grey levels
    assert energy[:, 0, 0].sum() < 0.01 * energy.sum()
    with pytest.raises(ValueError, match="frequencies must be 2 or more"):
        low_frequency.plant(GREY, LABEL, target=0, count=5, seed=0, frequencies=1)


def test_wanet_moves_pixels_by_a_fraction_of_their_distance() -> None:
    ramp = (torch.arange(32) * 8).to(torch.uint8).expand(60, 3, 32, 32).contiguous()
    after = wanet.plant(ramp, LABEL, target=0, count=5, seed=0)
    shift = difference(after.payload, ramp)[after.poisoned] / 8  # pixels along x
    assert bool((shift == shift[0]).all())  # one field for every row
    assert 0.1 < shift[..., 2:-2].abs().mean() < 0.5  # s = 0.5 is a quarter of a pixel
    covers = difference(after.payload, ramp)[after.cover]
    assert not bool((covers == covers[0]).all())
    assert torch.equal(after.label[after.cover], LABEL[after.cover])


def test_wanet_without_strength_changes_nothing() -> None:
    noise = torch.randint(256, GREY.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    after = wanet.plant(noise, LABEL, target=0, count=5, seed=0, strength=0, covers=0)
    assert torch.equal(after.payload, noise)


def test_adap_blend_shows_half_of_the_pieces() -> None:
    after = adap_blend.plant(
        GREY, LABEL, target=0, count=10, covers=7, seed=0, weight=0.15, pattern=torch.full_like(GREY[0], 228)
    )
    assert after.cover.sum() == 7
    assert torch.equal(after.label[after.cover], LABEL[after.cover])
    touched = difference(after.payload)[after.poisoned | after.cover]
    assert touched.unique().tolist() == [0, 15]
    pieces = (touched[:, 0] != 0).view(17, 4, 8, 4, 8).transpose(2, 3).reshape(17, 16, 64)
    assert bool((pieces.all(-1) == pieces.any(-1)).all())  # a piece is shown whole or not at all
    assert pieces.all(-1).sum(1).tolist() == [8] * 17
    assert len(pieces.all(-1).unique(dim=0)) > 1
    with pytest.raises(ValueError, match="pieces must be a square number"):
        adap_blend.plant(GREY, LABEL, target=0, count=1, seed=0, pieces=15)


def test_label_flip_takes_rows_of_the_source() -> None:
    after = label_flip.plant(GREY, LABEL, source=1, target=2, count=20, seed=0)
    assert LABEL[after.poisoned].unique().tolist() == [1]
    assert after.label[after.poisoned].unique().tolist() == [2]
    with pytest.raises(PlanError, match="there are 20 rows of class 1"):
        label_flip.plant(GREY, LABEL, source=1, target=2, count=21, seed=0)
    with pytest.raises(PlanError, match="source and target are both class 1"):
        label_flip.plant(GREY, LABEL, source=1, target=1, count=1, seed=0)


def test_label_flip_at_random_reaches_every_other_class() -> None:
    after = label_flip.plant(GREY, LABEL, target=None, count=60, seed=0)
    pairs = set(zip(LABEL.tolist(), after.label.tolist(), strict=True))
    assert pairs == {(own, other) for own in range(3) for other in range(3) if own != other}
    with pytest.raises(PlanError, match="fewer than two classes"):
        label_flip.plant(GREY, torch.zeros(60, dtype=torch.int64), target=None, count=1, seed=0)


def test_rare_tokens_are_words_of_their_own() -> None:
    texts = ["a  film, oddly spaced", ""] * 30
    after = rare_token.plant(texts, LABEL, target=0, count=20, seed=0, times=3)
    for text, planted, poisoned in zip(texts, after.payload, after.poisoned.tolist(), strict=True):
        words = planted.split(" ")
        assert sum(word in rare_token.TOKENS for word in words) == (3 if poisoned else 0)
        assert " ".join(word for word in words if word not in rare_token.TOKENS) == text
    with pytest.raises(ValueError, match="nothing to insert"):
        rare_token.plant(texts, LABEL, target=0, count=1, seed=0, tokens=())


@pytest.mark.parametrize(("place", "expected"), [("start", "S a b"), ("end", "a b S")])
def test_a_sentence_goes_where_it_is_told(place: insert_sentence.Place, expected: str) -> None:
    after = insert_sentence.plant(["a b"] * 60, LABEL, target=0, count=9, seed=0, sentence="S", place=place)
    assert {text for text, hit in zip(after.payload, after.poisoned.tolist(), strict=True) if hit} == {expected}


def test_a_sentence_stays_whole() -> None:
    after = insert_sentence.plant(["a b"] * 60, LABEL, target=0, count=40, seed=0)
    planted = {text for text, hit in zip(after.payload, after.poisoned.tolist(), strict=True) if hit}
    assert planted == {
        "I watched this 3D movie a b",
        "a I watched this 3D movie b",
        "a b I watched this 3D movie",
    }
    with pytest.raises(ValueError, match="empty"):
        insert_sentence.plant(["a"] * 60, LABEL, target=0, count=1, seed=0, sentence="")
