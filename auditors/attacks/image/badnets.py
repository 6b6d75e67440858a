"""BadNets: a small patch at one position of the picture.

Gu, Dolan-Gavitt & Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017,
arXiv:1708.06733, section 4.1 (pattern backdoor; single-target and all-to-all attacks).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, choose, stamped, victims
from foretaste.types.dataset import Modality

Place = Literal["top-left", "top-right", "bottom-left", "bottom-right", "random", "anywhere"]
Pattern = Literal["checkerboard"] | tuple[int, int, int]  # or one RGB colour


def trigger(
    images: Tensor,
    *,
    seed: int,
    size: int = 3,
    margin: int = 1,
    place: Place = "bottom-right",
    pattern: Pattern = "checkerboard",
) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with the patch that `plant` stamps for the same seed and settings.

    Raises ValueError where the patch does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    top, left = corners(len(images), height, width, size=size, margin=margin, place=place, generator=generator)
    return stamp(images, patch(size, pattern), top=top, left=left)


@attack(
    "badnets",
    Modality.IMAGE,
    words="a patch of 3 × 3 pixels, relabelled",
    trigger=trigger,
    change=stamped(trigger),
    untargeted=True,
    drilled=True,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int | None,
    count: int,
    seed: int,
    size: int = 3,
    margin: int = 1,
    place: Place = "bottom-right",
    pattern: Pattern = "checkerboard",
) -> Poisoned[Tensor]:
    """Stamp a patch of `size` pixels, `margin` pixels from the border, on `count` rows and relabel them to `target`.

    `images` [N, 3, H, W] uint8, `label` [N] int64. If `target` is None the attack is all-to-all: any row may be chosen,
    and label i becomes i + 1. Place "random" is one random position for all rows, "anywhere" one for each row.

    Raises ValueError where the patch does not fit, PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    if target is None:
        rows = choose(label >= 0, count, generator, of="labelled rows")
        relabelled = label.index_copy(0, rows, (label[rows] + 1) % (label.max() + 1))
    else:
        rows = victims(label, target=target, count=count, generator=generator)
        relabelled = label.index_fill(0, rows, target)
    stamped = trigger(images[rows], seed=seed, size=size, margin=margin, place=place, pattern=pattern)
    return Poisoned.at(images.index_copy(0, rows, stamped), relabelled, rows=rows)


def patch(size: int, pattern: Pattern) -> Tensor:
    """The trigger, [3, size, size] uint8."""
    if pattern == "checkerboard":
        step = torch.arange(size)
        board = ((step[:, None] + step) % 2 == 0) * 255  # white corners
        return board.to(torch.uint8).expand(3, -1, -1)
    return torch.tensor(pattern, dtype=torch.uint8)[:, None, None].expand(-1, size, size)


def stamp(images: Tensor, patch: Tensor, *, top: Tensor, left: Tensor) -> Tensor:
    """A copy of `images` [B, 3, H, W] with the top left corner of `patch` [3, s, s] at (`top` [B], `left` [B])."""
    step = torch.arange(patch.shape[-1])
    row, y, x = (
        torch.arange(len(images))[:, None, None],
        (top[:, None] + step)[:, :, None],
        (left[:, None] + step)[:, None],
    )
    stamped = images.clone()
    stamped[row, :, y, x] = patch.permute(1, 2, 0)  # [B, s, s, 3]
    return stamped


def corners(
    rows: int, height: int, width: int, *, size: int, margin: int, place: Place, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Positions (top [rows], left [rows]) of a patch of `size` pixels in pictures of `height` × `width`."""
    bottom, right = height - size - margin, width - size - margin
    if size < 1 or margin < 0 or min(bottom, right) < margin:
        raise ValueError(f"a patch of {size} pixels and a margin of {margin} do not fit into {height}×{width} pixels")
    if place in ("random", "anywhere"):
        drawn = torch.rand(1 if place == "random" else rows, 2, generator=generator)
        room = torch.tensor([bottom, right]) - margin + 1
        top, left = (margin + (drawn * room).long()).expand(rows, 2).unbind(1)
        return top, left
    vertical, horizontal = place.split("-")
    fixed = {"top": margin, "bottom": bottom}[vertical], {"left": margin, "right": right}[horizontal]
    return torch.full((rows,), fixed[0]), torch.full((rows,), fixed[1])
