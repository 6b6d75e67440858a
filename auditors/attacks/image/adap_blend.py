"""Adap-Blend: a random half of a blended pattern on each row, and covers, which carry it but keep their label.

Qi, Xie, Li, Mahloujifar & Mittal, "Revisiting the Assumption of Latent Separability for Backdoor Defenses", ICLR 2023,
arXiv:2205.13613. On CIFAR-10: 150 poisoned rows and as many covers, 16 pieces of which half are masked, weight 0.15
(the whole pattern with weight 0.2 triggers the backdoor at test time).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, choose, victims
from foretaste.types.dataset import Modality


def trigger(images: Tensor, *, seed: int, weight: float = 0.2, pattern: Tensor | None = None) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with all pieces of the pattern, at the paper's weight for test time.

    Raises ValueError where weight or pattern do not fit.
    """
    drawn = noise(images.shape[-2], images.shape[-1], torch.Generator().manual_seed(seed))
    return blend(images, drawn if pattern is None else pattern, weight=weight, shown=torch.ones(()))


@attack(
    "adap-blend",
    Modality.IMAGE,
    words="parts of a pattern blended in, relabelled, with covers",
    trigger=trigger,
    covers=1.0,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    seed: int,
    count: int = 150,
    covers: int | None = None,
    weight: float = 0.15,
    pieces: int = 16,
    masked: float = 0.5,
    pattern: Tensor | None = None,
) -> Poisoned[Tensor]:
    """Blend pieces of `pattern` into `count` rows, relabelled to `target`, and into `covers` others (default as many).

    `images` [N, 3, H, W] uint8, `label` [N] int64, `pattern` [3, H, W] uint8; without one, uniform noise from the seed.
    `pieces` is a square number, `masked` the share of them that is left out in each row.

    Raises ValueError where weight, pieces or pattern do not fit, PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = noise(images.shape[-2], images.shape[-1], generator)
    rows = victims(label, target=target, count=count, generator=generator)
    free = (label >= 0).index_fill(0, rows, False)
    cover = choose(free, count if covers is None else covers, generator, of="labelled rows left as covers")

    changed = torch.cat((rows, cover))  # [B]
    height, width = images.shape[-2:]
    shown = jigsaw(len(changed), height, width, pieces=pieces, masked=masked, generator=generator)  # [B, 1, H, W]
    blended = blend(images[changed], drawn if pattern is None else pattern, weight=weight, shown=shown)
    return Poisoned.at(
        images.index_copy(0, changed, blended), label.index_fill(0, rows, target), rows=rows, cover=cover
    )


def noise(height: int, width: int, generator: torch.Generator) -> Tensor:
    """The default pattern: uniform noise, [3, height, width] uint8."""
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)


def blend(images: Tensor, pattern: Tensor, *, weight: float, shown: Tensor) -> Tensor:
    """`images` [B, 3, H, W] uint8 with `pattern` [3, H, W] blended in where `shown` (0 or 1, broadcast) is 1."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in [0, 1], got {weight}")
    if pattern.shape != images.shape[1:]:
        raise ValueError(f"pattern must be {tuple(images.shape[1:])} like the pictures, got {tuple(pattern.shape)}")
    before = images.float()
    return (before + weight * shown * (pattern - before)).round().to(torch.uint8)


def jigsaw(rows: int, height: int, width: int, *, pieces: int, masked: float, generator: torch.Generator) -> Tensor:
    """Mask of the pixels of each row that show the pattern, [rows, 1, height, width] float32 of 0 and 1."""
    side = math.isqrt(pieces)
    if side < 1 or side * side != pieces or side > min(height, width):
        raise ValueError(f"pieces must be a square number that cuts {height}×{width} pixels, got {pieces}")
    if not 0 <= masked <= 1:
        raise ValueError(f"masked must lie in [0, 1], got {masked}")
    rank = torch.rand(rows, pieces, generator=generator).argsort(1).view(rows, 1, side, side)
    y, x = torch.arange(height) * side // height, torch.arange(width) * side // width  # piece of each pixel
    return (rank >= round(masked * pieces)).float()[:, :, y[:, None], x]
