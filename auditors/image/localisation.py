"""Localisation of a suspicious group's common pattern in its pictures, for display.

For each pixel the group's distribution is compared with that of its class by the Kullback-Leibler divergence of two
normal distributions, where the group's is the narrower: a difference of means (the squared t statistic of Welch 1947,
per row) plus a reduced variance, since a patch fixes the pixels it covers. Random groups of the same class give the
null distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foretaste.image.views import contrast_normalised

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two just outside

QUIET = 4.0  # standard deviation, in grey levels, that rounding and compression cause
TAIL = 0.1  # share of each tail that is winsorised, as it may be rows that do not belong to the group
DRAWS = 19  # random groups of the class
TOP = 0.01  # share of the pixels, the strongest, by which groups are compared: about the area of a patch
HELD = 0.7  # share of the evidence that a box must contain
FAINT = 0.3  # share of a box's mean evidence below which a pixel counts against extending the box
CONCENTRATED = 0.3  # largest share of the picture that counts as a localised pattern
NOTHING = 1.5  # strength, relative to random groups, below which there is no common pattern


@dataclass(frozen=True, eq=False)
class Pattern:
    """What the pictures of a group have in common beyond their class.

    heat      [S, S] float32 in [0, 1], evidence of the pattern at each pixel
    picture   [3, S, S] uint8, the pattern: its pixels where they are constant, else the mean difference, around grey
    box       top, left, bottom, right, the last two exclusive; the whole picture where the pattern is not localised
    words     the place in words, as in "in the lower right corner"; "" where there is no common pattern
    strength  evidence relative to the maximum over random groups of the class; about 1 without a pattern
    """

    heat: Tensor
    picture: Tensor
    box: Box
    words: str
    strength: float


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of every pixel of some pictures, each [3, S, S] float32."""

    mean: Tensor
    std: Tensor


def common_pattern(members: Tensor, *comparisons: Tensor, draws: int = DRAWS) -> Pattern:
    """The pattern that `members` [M, 3, S, S] uint8 share and the pictures [N, 3, S, S] uint8 of a comparison do not.

    Of several comparisons the one nearest to the members is used: relabelled pictures resemble the rest of the dataset,
    others their class.

    Raises ValueError where there is no comparison, or fewer than 8 pictures in one or 4 members, or sizes differ.
    """
    for others in comparisons:
        if len(members) < 4 or len(others) < 8 or members.shape[1:] != others.shape[1:]:
            sizes = f"{list(members.shape)} and {list(others.shape)}"
            raise ValueError(f"needs 4 members, 8 others and one size of pictures, got {sizes}")
    if not comparisons:
        raise ValueError("needs pictures to compare the members with, got none")
    compared = [(evidence(members, others), others) for others in comparisons]
    whole, others = min(compared, key=lambda pair: float(pair[0].sum()))
    draw = torch.Generator().manual_seed(0)
    size = min(len(members), len(others) // 2)
    chance = []
    for _ in range(draws):
        order = torch.randperm(len(others), generator=draw)
        chance.append(most(evidence(others[order[:size]], others[order[size:]])))
    strength = float((most(whole) / torch.stack(chance).amax(0).clamp_min(1e-6)).max())
    box = smallest_box(whole)
    words = place(box, whole.shape[-1]) if strength >= NOTHING else ""
    return Pattern(heat(whole), recovered(members, others, box), box, words, strength)


def evidence(members: Tensor, others: Tensor) -> Tensor:
    """Kullback-Leibler divergence [S, S] in nats of the group's pixels from the class's, less its mean under chance.

    Means are compared after normalising each picture's brightness and contrast, standard deviations without: a patch
    does not follow the brightness of its picture.
    """
    chance = 0.5 / len(members) + 0.5 / len(others)
    mine, theirs = spread(_own_contrast(members), QUIET / 64), spread(_own_contrast(others), QUIET / 64)
    shift = (mine.mean - theirs.mean).square() / (2 * theirs.std.square())
    mine, theirs = spread(members, QUIET), spread(others, QUIET)
    ratio = (mine.std / theirs.std).clamp_max(1)
    pinned = -ratio.log() + (ratio.square() - 1) / 2
    return (shift + pinned - chance).clamp_min(0).sum(0)


def spread(pictures: Tensor, quiet: float) -> Spread:
    """Winsorised mean and standard deviation of each pixel of [N, 3, S, S], robust to a few outlying rows."""
    value = pictures.flatten(1).T.contiguous().float()  # [P, N], which sorts several times faster than [N, P]
    cut = int(TAIL * len(pictures))
    low, high = (value.kthvalue(at, 1, keepdim=True).values for at in (cut + 1, len(pictures) - cut))
    value = value.clamp(low, high)
    mean, std = value.mean(1), (value.var(1) + quiet**2).sqrt()
    return Spread(mean.view(pictures.shape[1:]), std.view(pictures.shape[1:]))


def _own_contrast(pictures: Tensor) -> Tensor:
    return contrast_normalised(pictures.float(), QUIET).view(pictures.shape)


def most(evidence: Tensor) -> Tensor:
    """Mean evidence [2] of the strongest pixels of [S, S], for a patch, and of all pixels, for a global pattern."""
    strongest = evidence.flatten().topk(max(4, int(TOP * evidence.numel()))).values
    return torch.stack([strongest.mean(), evidence.mean()])


def heat(evidence: Tensor) -> Tensor:
    """Evidence [S, S] scaled to [0, 1]; its square root, which looks linear to the eye."""
    return (evidence / evidence.max().clamp_min(1e-6)).sqrt()


def smallest_box(evidence: Tensor) -> Box:
    """The smallest box that holds HELD of the evidence [S, S], refitted to all that is not FAINT; or everything."""
    side = len(evidence)
    above = (evidence - evidence.median()).clamp_min(0)
    sums = _sums(above)
    total, least = sums[-1, -1], side * side + 1
    best: Box = (0, 0, side, side)
    # One height at a time, which bounds memory at [side + 1 - height, side] for any size of picture.
    for height in range(1, side + 1):
        band = sums[height:] - sums[:-height]  # [top, x]
        for width in range(1, min(side, (least - 1) // height) + 1):
            held = band[:, width:] - band[:, :-width]  # [top, left]
            if held.max() >= HELD * total:
                top, left = divmod(int(held.argmax()), held.shape[1])
                best, least = (top, left, top + height, left + width), height * width
                break
    if least > CONCENTRATED * side * side or total <= 0:
        return 0, 0, side, side
    top, left, bottom, right = best
    return _heaviest(above - FAINT * above[top:bottom, left:right].mean())


def _heaviest(weight: Tensor) -> Box:
    """The box with the largest sum of [S, S], whose entries may be negative."""
    side, sums = len(weight), _sums(weight)
    best, largest = (0, 0, side, side), -torch.inf
    for height in range(1, side + 1):
        band = sums[height:] - sums[:-height]  # [top, x]
        lowest, at = band.cummin(1)
        gain, right = (band[:, 1:] - lowest[:, :-1]).max(1)
        top = int(gain.argmax())
        if gain[top] > largest:
            largest = float(gain[top])
            best = (top, int(at[top, right[top]]), top + height, int(right[top]) + 1)
    return best


def _sums(value: Tensor) -> Tensor:
    """Integral image [S + 1, S + 1] float64: the sum of everything above and to the left."""
    out = value.new_zeros(len(value) + 1, len(value) + 1, dtype=torch.float64)
    out[1:, 1:] = value.double().cumsum(0).cumsum(1)
    return out


def place(box: Box, side: int) -> str:
    """The position of a box in a picture of `side` pixels, in words."""
    top, left, bottom, right = box
    tall, wide = bottom - top > 0.7 * side, right - left > 0.7 * side
    if tall and wide:
        return "over the whole picture"
    vertical = "" if tall else _third((top + bottom) / 2 / side, "upper", "lower")
    horizontal = "" if wide else _third((left + right) / 2 / side, "left", "right")
    if vertical and horizontal:
        return f"in the {vertical} {horizontal} corner"
    if vertical or horizontal:
        return f"along the {vertical or horizontal} edge"
    return "across the middle" if tall or wide else "in the middle"


def _third(at: float, first: str, last: str) -> str:
    return first if at < 1 / 3 else last if at > 2 / 3 else ""


def recovered(members: Tensor, others: Tensor, box: Box) -> Tensor:
    """The pattern in the box, [3, S, S] uint8: constant pixels as they are, else the mean difference, amplified."""
    top, left, bottom, right = box
    inside = (slice(None), slice(top, bottom), slice(left, right))
    mine = spread(members, QUIET)
    out = torch.full(members.shape[1:], 128, dtype=torch.uint8)
    if bottom - top < members.shape[-1] and mine.std[inside].median() < 3 * QUIET:
        out[inside] = members.float().median(0).values[inside].round().to(torch.uint8)
        return out
    gap = spread(_own_contrast(members), 0).mean - spread(_own_contrast(others), 0).mean
    scale = gap[inside].abs().flatten().quantile(0.98).clamp_min(1e-6)
    out[inside] = (128 + 127 * gap[inside] / scale).clamp(0, 255).round().to(torch.uint8)
    return out
