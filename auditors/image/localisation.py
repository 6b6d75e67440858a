"""Where in the picture a suspicious group is alike, and what is there: a pattern that a person can look at.

Each pixel is judged by how much better it fits the group than its class. Two things count: a mean that is not the
class's (the t statistic of Welch 1947, squared, per row), and a spread far below the class's, since a patch pins the
pixels it covers. Together they are the Kullback-Leibler divergence of two normal distributions, where the group is the
narrower one. What is left of it in random groups of the same class says how much means nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foretaste.image.views import contrast_normalised

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two just outside

QUIET = 4.0  # grey levels: a spread below is rounding and compression
TAIL = 0.1  # share of a group, on either side, that may be rows that do not belong to it
DRAWS = 19  # random groups of the class
TOP = 0.01  # share of the pixels by which groups are compared: a patch is not more
HELD = 0.7  # share of the evidence that a box must hold
FAINT = 0.3  # of a box's mean evidence: what is weaker lies outside
CONCENTRATED = 0.3  # of the picture: a box that must be larger says nothing of a place
NOTHING = 1.5  # times what random groups reach; less in common is nothing


@dataclass(frozen=True, eq=False)
class Pattern:
    """What the pictures of a group have in common beyond their class.

    heat      [S, S] float32 in [0, 1], where
    picture   [3, S, S] uint8, what: the pixels themselves where they are pinned, else how they differ, around grey
    box       top, left, bottom, right, the last two just outside; the whole picture where it is everywhere
    words     where, as in "in the lower right corner"; "" where there is nothing in common
    strength  how many times more than the most that random groups of the class have in common; 1 is nothing
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
    """What `members` [M, 3, S, S] uint8 have in common that the pictures [N, 3, S, S] uint8 of a comparison have not.

    Of several comparisons that counts which explains the members best: pictures that were relabelled resemble the rest
    of the dataset, others their class.

    Raises ValueError where there is no comparison, or fewer than 8 pictures in one or 4 members, or sizes differ.
    """
    for others in comparisons:
        if len(members) < 4 or len(others) < 8 or members.shape[1:] != others.shape[1:]:
            sizes = f"{list(members.shape)} and {list(others.shape)}"
            raise ValueError(f"needs 4 members, 8 others and one size of pictures, got {sizes}")
    if not comparisons:
        raise ValueError("needs pictures to compare the members with, got none")
    whole, others = min(((evidence(members, one), one) for one in comparisons), key=lambda pair: float(pair[0].sum()))
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
    """Nats [S, S] by which a row of the group fits the group's pixels better than the class's, less what chance gives.

    The mean is compared with each picture's own brightness and contrast taken out, the spread as it is: a patch does
    not follow the brightness of its picture.
    """
    chance = 0.5 / len(members) + 0.5 / len(others)
    mine, theirs = spread(_own_contrast(members), QUIET / 64), spread(_own_contrast(others), QUIET / 64)
    shift = (mine.mean - theirs.mean).square() / (2 * theirs.std.square())
    mine, theirs = spread(members, QUIET), spread(others, QUIET)
    ratio = (mine.std / theirs.std).clamp_max(1)
    pinned = -ratio.log() + (ratio.square() - 1) / 2
    return (shift + pinned - chance).clamp_min(0).sum(0)


def spread(pictures: Tensor, quiet: float) -> Spread:
    """Winsorised mean and standard deviation of each pixel of [N, 3, S, S]: a few strange rows change neither."""
    value = pictures.flatten(1).T.contiguous().float()  # [P, N], which sorts several times faster than [N, P]
    cut = int(TAIL * len(pictures))
    low, high = (value.kthvalue(at, 1, keepdim=True).values for at in (cut + 1, len(pictures) - cut))
    value = value.clamp(low, high)
    mean, std = value.mean(1), (value.var(1) + quiet**2).sqrt()
    return Spread(mean.view(pictures.shape[1:]), std.view(pictures.shape[1:]))


def _own_contrast(pictures: Tensor) -> Tensor:
    return contrast_normalised(pictures.float(), QUIET).view(pictures.shape)


def most(evidence: Tensor) -> Tensor:
    """The mean of the strongest pixels of [S, S], as a patch has them, and of all, as a faint pattern has them: [2]."""
    strongest = evidence.flatten().topk(max(4, int(TOP * evidence.numel()))).values
    return torch.stack([strongest.mean(), evidence.mean()])


def heat(evidence: Tensor) -> Tensor:
    """Evidence [S, S] in [0, 1]; its square root, which the eye takes for even steps."""
    return (evidence / evidence.max().clamp_min(1e-6)).sqrt()


def smallest_box(evidence: Tensor) -> Box:
    """The smallest box that holds HELD of the evidence [S, S], then all of it that is not faint; or everything."""
    side = len(evidence)
    above = (evidence - evidence.median()).clamp_min(0)
    sums = _sums(above)
    total, least = sums[-1, -1], side * side + 1
    best: Box = (0, 0, side, side)
    # Boxes by height: [side + 1 - height, side, side] at a time are small enough for any size of picture.
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
    """The box with the largest sum of [S, S], some of which is negative."""
    side, sums = len(weight), _sums(weight)
    best, most_ = (0, 0, side, side), -torch.inf
    for height in range(1, side + 1):
        band = sums[height:] - sums[:-height]  # [top, x]
        lowest, at = band.cummin(1)
        gain, right = (band[:, 1:] - lowest[:, :-1]).max(1)
        top = int(gain.argmax())
        if gain[top] > most_:
            most_ = float(gain[top])
            best = (top, int(at[top, right[top]]), top + height, int(right[top]) + 1)
    return best


def _sums(value: Tensor) -> Tensor:
    """[S + 1, S + 1] float64: the sum of everything above and to the left."""
    out = value.new_zeros(len(value) + 1, len(value) + 1, dtype=torch.float64)
    out[1:, 1:] = value.double().cumsum(0).cumsum(1)
    return out


def place(box: Box, side: int) -> str:
    """Where a box is in a picture of `side` pixels, in words."""
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
    """What is in the box, [3, S, S] uint8: pinned pixels as they are, else how means differ, amplified, around grey."""
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
