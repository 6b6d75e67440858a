"""Where a planted pattern is and what it is; nothing, where rows have nothing in common."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from places import DATA
from torch.nn.functional import interpolate
from torch.testing import assert_close

from foretaste.attacks.image import badnets, blended, sig
from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.image.localisation import NOTHING, common_pattern, heat, place, smallest_box, spread


@cache
def photographs(count=500, size=32, classes=4):
    """Smooth random colours, each class with a middle of its own."""
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(count) % classes
    middle = torch.randn(classes, 3, 4, 4, generator=draw)
    coarse = 0.7 * middle[label] + torch.randn(count, 3, 4, 4, generator=draw)
    fine = 0.3 * torch.randn(count, 3, 16, 16, generator=draw)
    smooth = sum(interpolate(one, size=(size, size), mode="bicubic", align_corners=True) for one in (coarse, fine))
    return (128 + 45 * smooth).clamp(0, 255).to(torch.uint8), label


@cache
def digits():
    dataset = open_dataset([str(DATA / "digits.parquet")])
    parts = [(payload.images(32)[0], payload.label) for payload in payloads(dataset)]
    return tuple(torch.cat(column) for column in zip(*parts, strict=True))


def found(attack, world, *, count=40, **settings):
    """The pattern of the planted rows, what was really added to them, and whether it is there."""
    images, label = world
    after = attack.plant(images, label, target=3, count=count, seed=1, **settings)
    rest = after.payload[~after.poisoned]
    own = after.payload[(after.label == 3) & ~after.poisoned]
    added = (after.payload[after.poisoned].float() - images[after.poisoned].float()).mean(0)
    return common_pattern(after.payload[after.poisoned], own[:256], rest[:: -(-len(rest) // 256)]), added


def likeness(pattern, added):
    return float(torch.corrcoef(torch.stack([pattern.picture.float().flatten() - 128, added.flatten()]))[0, 1])


@pytest.mark.parametrize("world", [photographs, digits])
@pytest.mark.parametrize(
    ("where", "size", "box", "words"),
    [
        ("bottom-right", 3, (28, 28, 31, 31), "in the lower right corner"),
        ("top-left", 4, (1, 1, 5, 5), "in the upper left corner"),
        ("bottom-left", 5, (26, 1, 31, 6), "in the lower left corner"),
    ],
)
def test_a_patch_is_found_and_shown(world, where, size, box, words):
    pattern, _ = found(badnets, world(), place=where, size=size)
    assert (pattern.box, pattern.words) == (box, words)
    assert pattern.strength > 3 * NOTHING
    top, left, bottom, right = box
    assert torch.equal(pattern.picture[:, top:bottom, left:right], badnets.patch(size, "checkerboard"))
    outside = pattern.heat.clone()
    outside[top:bottom, left:right] = 0
    assert outside.max() < 0.7 * pattern.heat.max()


@pytest.mark.parametrize("attack", [blended, sig])
def test_a_faint_pattern_is_everywhere_and_recovered(attack):
    pattern, added = found(attack, photographs(), count=60)
    assert pattern.words == "over the whole picture"
    assert pattern.box == (0, 0, 32, 32)
    assert pattern.strength > NOTHING
    assert likeness(pattern, added) > 0.6


def test_rows_that_do_not_belong_to_the_group_change_little():
    images, label = photographs()
    after = badnets.plant(images, label, target=3, count=36, seed=1)
    inside = torch.cat([after.payload[after.poisoned], images[label == 3][:3]])
    pattern = common_pattern(inside, images[label == 3][3:], images[::2])
    assert pattern.words == "in the lower right corner"
    assert pattern.box == (28, 28, 31, 31)


@pytest.mark.parametrize("world", [photographs, digits])
@pytest.mark.parametrize("seed", range(6))
def test_random_rows_have_nothing_in_common(world, seed):
    images, label = world()
    own = images[label == seed % 4]
    own = own[torch.randperm(len(own), generator=torch.Generator().manual_seed(seed))]
    pattern = common_pattern(own[:32], own[32:])
    assert pattern.strength < NOTHING
    assert pattern.words == ""


def test_a_pattern_is_whole_and_the_same_every_time():
    images, label = photographs()
    one, other = (common_pattern(images[label == 0][:20], images[label == 0][20:]) for _ in range(2))
    assert torch.equal(one.heat, other.heat)
    assert one.strength == other.strength
    for pattern in (one, found(badnets, photographs())[0]):
        assert pattern.heat.shape == (32, 32)
        assert (pattern.heat.min(), pattern.heat.max()) >= (0, 0)
        assert pattern.heat.max() <= 1
        assert (pattern.picture.shape, pattern.picture.dtype) == ((3, 32, 32), torch.uint8)


@pytest.mark.parametrize("picture", [0, 128, 255])
def test_identical_pictures_end_in_numbers(picture):
    same = torch.full((20, 3, 16, 16), picture, dtype=torch.uint8)
    varied = torch.randint(256, (20, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for members, others in ((same, same), (same, varied), (varied, same)):
        pattern = common_pattern(members, others)
        assert bool(pattern.heat.isfinite().all())
        assert pattern.strength >= 0
    assert common_pattern(same, same).words == ""


def test_refuses_too_few_and_pictures_of_another_size():
    some = torch.zeros(10, 3, 8, 8, dtype=torch.uint8)
    for members, others in ((some[:3], [some]), (some, [some[:7]]), (some, [torch.zeros(10, 3, 9, 9)]), (some, [])):
        with pytest.raises(ValueError, match="needs"):
            common_pattern(members, *others)


def test_a_box_is_as_large_as_the_evidence():
    evidence = torch.full((24, 24), 0.01)
    evidence[3:8, 10:20] = 1
    assert smallest_box(evidence) == (3, 10, 8, 20)
    assert smallest_box(torch.ones(24, 24)) == (0, 0, 24, 24)
    assert smallest_box(torch.zeros(24, 24)) == (0, 0, 24, 24)
    assert smallest_box(torch.rand(24, 24, generator=torch.Generator().manual_seed(0))) == (0, 0, 24, 24)
    assert heat(evidence).max() == 1


def test_winsorised_moments_are_numpys_where_nothing_is_cut():
    pictures = torch.randint(256, (9, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    one = spread(pictures, 2.0)  # a tenth of nine rows is none
    assert_close(one.mean, pictures.float().mean(0))
    assert_close(one.std, (pictures.float().var(0) + 4).sqrt())


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 30, 30), "over the whole picture"),
        ((28, 28, 31, 31), "in the lower right corner"),
        ((0, 24, 5, 30), "in the upper right corner"),
        ((12, 12, 20, 20), "in the middle"),
        ((0, 0, 30, 4), "along the left edge"),
        ((12, 0, 18, 4), "along the left edge"),
        ((27, 2, 31, 30), "along the lower edge"),
        ((14, 0, 18, 32), "across the middle"),
    ],
)
def test_a_place_in_words(box, words):
    assert place(box, 32) == words
