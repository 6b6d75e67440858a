"""BadNets: a small patch at one place of the picture.

Gu, Dolan-Gavitt & Garg, "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017,
arXiv:1708.06733, section 4.1 (pattern backdoor; single-target and all-to-all attacks).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from auditors.attacks.poisoned import Poisoned, choose, victims

Place = Literal["top-left", "top-right", "bottom-left", "bottom-right", "random"]
Pattern = Literal["checkerboard"] | tuple[int, int, int]  # or one RGB colour


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

    `images` [N, 3, H, W] uint8, `label` [N] int64. Where `target` is None the attack is all-to-all: any row may be
    chosen, and label i becomes i + 1. Place "random" is one place, drawn once, the same for every row.

    Raises ValueError where the patch does not fit, PlanError where the rows do not suffice.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    top, left = corner(height, width, size=size, margin=margin, place=place, generator=generator)
    if target is None:
        rows = choose(label >= 0, count, generator, of="labelled rows")
        relabelled = label.index_copy(0, rows, (label[rows] + 1) % (label.max() + 1))
    else:
        rows = victims(label, target=target, count=count, generator=generator)
        relabelled = label.index_fill(0, rows, target)
    stamped = images.index_copy(0, rows, stamp(images[rows], patch(size, pattern), top=top, left=left))
    return Poisoned.at(stamped, relabelled, rows=rows)


def patch(size: int, pattern: Pattern) -> Tensor:
    """The trigger, [3, size, size] uint8."""
    if pattern == "checkerboard":
        step = torch.arange(size)
        board = ((step[:, None] + step) % 2 == 0) * 255  # white corners
        return board.to(torch.uint8).expand(3, -1, -1)
    return torch.tensor(pattern, dtype=torch.uint8)[:, None, None].expand(-1, size, size)


def stamp(images: Tensor, patch: Tensor, *, top: int, left: int) -> Tensor:
    """A copy of `images` [B, 3, H, W] with `patch` [3, s, s] over its pixels from (top, left) on."""
    stamped = images.clone()
    stamped[..., top : top + patch.shape[-2], left : left + patch.shape[-1]] = patch
    return stamped


def corner(
    height: int, width: int, *, size: int, margin: int, place: Place, generator: torch.Generator
) -> tuple[int, int]:
    """(top, left) of a patch of `size` pixels in a picture of `height` × `width`."""
    bottom, right = height - size - margin, width - size - margin
    if size < 1 or margin < 0 or min(bottom, right) < margin:
        raise ValueError(f"a patch of {size} pixels and a margin of {margin} do not fit into {height}×{width} pixels")
    if place == "random":
        return (
            int(torch.randint(margin, bottom + 1, (), generator=generator)),
            int(torch.randint(margin, right + 1, (), generator=generator)),
        )
    vertical, horizontal = place.split("-")
    return {"top": margin, "bottom": bottom}[vertical], {"left": margin, "right": right}[horizontal]
