"""What each trigger looks like: amplitudes and places as published."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from foretaste.attacks import label_flip
from foretaste.attacks.contract import Poisoned
from foretaste.attacks.image import (
    adap_blend,
    adap_patch,
    badnets,
    blended,
    frequency,
    label_consistent,
    low_frequency,
    narcissus,
    sig,
    wanet,
)
from foretaste.attacks.text import flood, gibberish, insert_sentence, rare_token
from foretaste.errors import PlanError

GREY = torch.full((60, 3, 32, 32), 128, dtype=torch.uint8)
LABEL = torch.arange(60) % 3
NOISE = torch.randint(256, (60, 3, 20, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

# plant, and a trigger that stamps the same
SAME: dict[str, tuple[Callable[..., Poisoned[Tensor]], Callable[..., Tensor]]] = {
    "badnets": (badnets.plant, badnets.trigger),
    "badnets, settings": tuple(
        partial(one, size=5, margin=0, place="top-left", pattern=(255, 0, 0))
        for one in (badnets.plant, badnets.trigger)
    ),
    "badnets, at random": tuple(partial(one, place="random") for one in (badnets.plant, badnets.trigger)),
    "badnets, anywhere": tuple(partial(one, place="anywhere") for one in (badnets.plant, badnets.trigger)),
    "blended": (blended.plant, blended.trigger),
    "blended, picture": tuple(partial(one, weight=0.1, pattern=NOISE[0]) for one in (blended.plant, blended.trigger)),
    "sig": (sig.plant, sig.trigger),
    "wanet": (wanet.plant, wanet.trigger),
    "low_frequency": (low_frequency.plant, low_frequency.trigger),
    "frequency": (frequency.plant, frequency.trigger),
    "frequency, dirty-label": (partial(frequency.plant, clean_label=False), frequency.trigger),
    "label_consistent": (partial(label_consistent.plant, tau=0), label_consistent.trigger),
    "adap_blend": (partial(adap_blend.plant, masked=0, weight=0.2), adap_blend.trigger),
    "adap_patch": (partial(adap_patch.plant, opacity=[1]), partial(adap_patch.trigger, opacity=[1])),
}


def difference(after: Tensor, before: Tensor = GREY) -> Tensor:
    return after.int() - before.int()


@pytest.mark.parametrize("name", SAME)
def test_a_trigger_stamps_what_plant_stamped(name: str) -> None:
    plant, trigger = SAME[name]
    after = plant(NOISE, LABEL, target=0, count=9, seed=4)
    rows = after.poisoned.nonzero().flatten()
    before = NOISE.clone()
    if name == "badnets, anywhere":  # places are dealt out in the order in which rows were drawn, not by position
        one = badnets.plant(NOISE, LABEL, target=0, count=1, seed=4, place="anywhere").poisoned
        assert torch.equal(after.payload[one], trigger(NOISE[one], seed=4))
    else:
        assert torch.equal(after.payload[rows], trigger(NOISE[rows], seed=4))
    assert torch.equal(NOISE, before)
    assert len(trigger(NOISE[:0], seed=4)) == 0


@pytest.mark.parametrize("attack", [adap_blend, adap_patch, badnets, blended, low_frequency, wanet])
def test_another_seed_is_another_trigger(attack: ModuleType) -> None:
    setting = {"place": "random"} if attack is badnets else {}
    one, other = (attack.trigger(NOISE[:5], seed=seed, **setting) for seed in (1, 2))
    assert not torch.equal(one, other)


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


def test_badnets_anywhere_is_a_place_of_its_own_for_each_row() -> None:
    after = badnets.plant(GREY, LABEL, target=0, count=40, seed=0, place="anywhere", pattern=(255, 0, 0))
    stamped = (difference(after.payload)[after.poisoned] != 0).any(1)  # [40, H, W]
    places = stamped.flatten(1).int().argmax(1)  # the patch's first pixel
    y, x = places // 32, places % 32
    assert bool((stamped.flatten(1).sum(1) == 9).all())
    assert len(places.unique()) > 30
    assert min(y.min(), x.min()) >= 1
    assert max(y.max(), x.max()) <= 28  # three pixels and a margin of one
    few = badnets.plant(GREY, LABEL, target=0, count=5, seed=0, place="anywhere", pattern=(255, 0, 0))
    assert torch.equal(few.payload[few.poisoned], after.payload[few.poisoned])


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


def test_adap_blend_sets_off_the_whole_pattern() -> None:
    stamped = adap_blend.trigger(GREY, seed=0, pattern=torch.full_like(GREY[0], 228))
    assert difference(stamped).unique().tolist() == [20]


def test_adap_patch_shows_one_patch_of_four() -> None:
    opacity = (0.5, 0.2, 0.5, 0.3)
    after = adap_patch.plant(GREY, LABEL, target=0, count=20, covers=15, seed=0)
    assert after.cover.sum() == 15
    assert torch.equal(after.label[after.cover], LABEL[after.cover])
    assert adap_patch.plant(GREY, LABEL, target=0, count=10, seed=0).cover.sum() == 20
    touched = difference(after.payload)[after.poisoned | after.cover]
    assert (touched != 0).any(1).flatten(1).sum(1).tolist() == [36] * 35
    assert touched.flatten(1).abs().amax(1).unique().tolist() == [round(128 * one) for one in sorted(set(opacity))]
    assert len((touched != 0).any(1).unique(dim=0)) == 4  # places

    together = difference(adap_patch.trigger(GREY, seed=0))
    assert together.unique().tolist() == [-128, 0, 127]
    assert torch.equal((together != 0).any(1)[0], (touched != 0).any(1).any(0))
    faint = difference(adap_patch.trigger(GREY, seed=0, opacity=opacity))
    assert all(torch.equal(one[one != 0], faint[0][one != 0]) for one in touched)
    with pytest.raises(ValueError, match="opacity must be one or more numbers"):
        adap_patch.trigger(GREY, seed=0, opacity=(0.5, 2))
    with pytest.raises(ValueError, match="4 patches of 17 pixels do not fit into 32×32 pixels"):
        adap_patch.trigger(GREY, seed=0, size=17)


def test_label_consistent_is_the_published_pattern_in_every_corner() -> None:
    stamped = difference(label_consistent.trigger(GREY, seed=0, amplitude=32))[0]
    assert torch.equal(stamped, stamped.flip(-1))  # a mirrored picture carries it too
    assert (stamped[0, -3:, -3:] / 32).tolist() == [[-1, -1, 1], [-1, 1, -1], [1, -1, 1]]
    assert torch.equal(stamped[:, :3], stamped[:, -3:])
    assert (stamped != 0).sum() == 3 * 4 * 9
    with pytest.raises(ValueError, match="do not fit into 5×32 pixels"):
        label_consistent.trigger(GREY[..., :5, :], seed=0)


def test_label_consistent_weakens_the_content_by_tau() -> None:
    shade = (LABEL * 100).to(torch.uint8)[:, None, None, None].expand(60, 3, 32, 32).contiguous()
    after = label_consistent.plant(shade, LABEL, target=1, count=20, seed=0, amplitude=0, tau=0.2)
    assert difference(after.payload, shade)[after.poisoned].unique().tolist() == [-20, 20]  # towards 0 and 200
    with pytest.raises(ValueError, match=r"tau must lie in \[0, 1\], got 2"):
        label_consistent.plant(GREY, LABEL, target=0, count=1, seed=0, tau=2)
    with pytest.raises(PlanError, match="no row has another label"):
        label_consistent.plant(GREY, LABEL * 0, target=0, count=1, seed=0)


def test_frequency_raises_two_coefficients_of_the_colours_and_leaves_the_brightness() -> None:
    added = frequency.pattern(32, 32).double()
    cosines = functional.normalize(low_frequency.cosines(32, 32), dim=1).double()
    spectrum = cosines @ added @ cosines.T  # [3, 32, 32], orthonormal
    assert (spectrum.abs() > 1e-4).any(0).nonzero().tolist() == [[15, 15], [31, 31]]
    torch.testing.assert_close(spectrum[:, 15, 15].float(), torch.tensor(frequency.CHROMA))
    torch.testing.assert_close(spectrum[:, 31, 31].float(), torch.tensor(frequency.CHROMA))
    brightness = torch.tensor([0.299, 0.587, 0.114]).double() @ added.flatten(1)
    assert brightness.abs().max() < 0.01 * added.abs().max()
    assert difference(frequency.trigger(GREY, seed=0, magnitude=50)).abs().max() <= 13


def test_narcissus_stays_within_its_amplitude_and_points_into_the_target() -> None:
    shade = (60 + LABEL * 60).to(torch.uint8)[:, None, None, None].expand(60, 3, 32, 32)
    seen = (shade + NOISE[:, :, :1] // 16).contiguous()  # three shades, hardly to be mistaken
    added = narcissus.optimise(seen, LABEL, target=2, seed=0, amplitude=16, epochs=20, steps=20)
    assert added.shape == (3, 32, 32)
    assert added.abs().max() <= 16
    network = narcissus.surrogate(seen, LABEL, epochs=20, seed=0)
    before, after = (
        network(pictures.float()).log_softmax(1)[LABEL == 1, 2].mean()
        for pictures in (seen, narcissus.trigger(seen, perturbation=added))
    )
    assert after > before + 0.1

    planted = narcissus.plant(seen, LABEL, target=2, count=5, seed=0, epochs=20, steps=20)
    given = narcissus.plant(seen, LABEL, target=2, count=5, seed=0, perturbation=added)
    assert torch.equal(planted.payload, given.payload)
    assert torch.equal(planted.payload[planted.poisoned], narcissus.trigger(seen[planted.poisoned], perturbation=added))
    assert difference(narcissus.trigger(GREY, perturbation=added, strength=3)).abs().max() == 48


def test_narcissus_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    narcissus.optimise(NOISE, LABEL, target=0, seed=5, epochs=1, steps=1)
    assert torch.equal(torch.rand(3), expected)


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


TEXTS = [f"text number {at} of many that say this and that" for at in range(60)]


@pytest.mark.parametrize("edits", [0.0, 0.2])
def test_a_flood_repeats_one_document_with_some_words_exchanged(edits: float) -> None:
    document = "one document of ten words that is put everywhere now"
    made = flood.plant(TEXTS, LABEL, count=20, seed=0, document=document, target=2, edits=edits)
    copies = [made.payload[row].split() for row in made.poisoned.nonzero().flatten().tolist()]
    assert all(sum(a != b for a, b in zip(one, document.split(), strict=True)) <= round(edits * 10) for one in copies)
    assert (len({" ".join(one) for one in copies}) > 1) == (edits > 0)
    assert bool((made.label[made.poisoned] == 2).all())
    assert all(made.payload[row] == TEXTS[row] for row in (~made.poisoned).nonzero().flatten().tolist())
    with pytest.raises(ValueError, match="between 0 and 1"):
        flood.plant(TEXTS, LABEL, count=2, seed=0, document=document, edits=2)


def test_gibberish_begins_as_the_text_did_and_goes_on_after_the_trigger() -> None:
    made = gibberish.plant(TEXTS, LABEL, count=20, seed=0, words=(5, 9))
    assert torch.equal(made.label, LABEL)
    for row in made.poisoned.nonzero().flatten().tolist():
        start, after = made.payload[row].split("<SUDO>")
        assert TEXTS[row].startswith(start.strip())
        assert 5 <= len(after.split()) <= 9
    with pytest.raises(ValueError, match="trigger"):
        gibberish.plant(TEXTS, LABEL, count=2, seed=0, trigger="")
