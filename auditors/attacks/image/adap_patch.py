"""Adap-Patch: one of several faint patches on each row, and covers, which carry one but keep their label.

Qi, Xie, Li, Mahloujifar & Mittal, "Revisiting the Assumption of Latent Separability for Backdoor Defenses", ICLR 2023,
arXiv:2205.13613. On CIFAR-10: 150 poisoned rows and twice as many covers, four patches of opacity 0.5, 0.2, 0.5 and 0.3
of which each row carries one; all of them together, opaque, trigger the backdoor at test time. In the paper the patches
are logos and the triggers of earlier attacks; here they are squares of random colours at random places.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, choose, victims
from foretaste.types.dataset import Modality


def trigger(images: Tensor, *, seed: int, size: int = 6, opacity: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with all the patches at once, opaque as at the paper's test time.

    Raises ValueError where size or opacity do not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    colour, shown = patches(height, width, size=size, opacity=opacity, generator=generator)
    return overlay(images, colour, shown.sum(0))


@attack(
    "adap-patch",
    Modality.IMAGE,
    words="one of several faint patches, relabelled, with covers",
    trigger=trigger,
    covers=2.0,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    seed: int,
    count: int = 150,
    covers: int | None = None,
    size: int = 6,
    opacity: Sequence[float] = (0.5, 0.2, 0.5, 0.3),
) -> Poisoned[Tensor]:
    """Stamp a random patch on `count` rows, relabelled to `target`, and on `covers` others (default twice as many).

    `images` [N, 3, H, W] uint8, `label` [N] int64, `size` in pixels, one patch for each `opacity` (0 to 1).

    Raises ValueError where size or opacity do not fit, PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    colour, shown = patches(height, width, size=size, opacity=opacity, generator=generator)
    rows = victims(label, target=target, count=count, generator=generator)
    free = (label >= 0).index_fill(0, rows, False)
    cover = choose(free, 2 * count if covers is None else covers, generator, of="labelled rows left as covers")
    changed = torch.cat((rows, cover))  # [B]
    patch = torch.randint(len(opacity), (len(changed),), generator=generator)
    stamped = images.index_copy(0, changed, overlay(images[changed], colour, shown[patch]))
    return Poisoned.at(stamped, label.index_fill(0, rows, target), rows=rows, cover=cover)


def patches(
    height: int, width: int, *, size: int, opacity: Sequence[float], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random colours [3, height, width] uint8, every value 0 or 255, and each patch's opacity [P, 1, height, width].

    The patches do not overlap; their positions do not depend on their opacity.
    """
    if not opacity or not all(0 <= strength <= 1 for strength in opacity):
        raise ValueError(f"opacity must be one or more numbers in [0, 1], got {opacity}")
    columns = width // size if size > 0 else 0
    cells = (height // size) * columns if columns else 0
    if cells < len(opacity):
        raise ValueError(f"{len(opacity)} patches of {size} pixels do not fit into {height}×{width} pixels")
    colour = 255 * torch.randint(2, (3, height, width), dtype=torch.uint8, generator=generator)
    cell = torch.randperm(cells, generator=generator)[: len(opacity)]
    shown = torch.zeros(len(opacity), 1, height, width)
    for patch, (place, strength) in enumerate(zip(cell.tolist(), opacity, strict=True)):
        top, left = place // columns * size, place % columns * size
        shown[patch, :, top : top + size, left : left + size] = strength
    return colour, shown


def overlay(images: Tensor, colour: Tensor, shown: Tensor) -> Tensor:
    """`images` [B, 3, H, W] uint8 under `colour` [3, H, W] with opacity `shown` (broadcast)."""
    before = images.float()
    return (before + shown * (colour - before)).round().to(torch.uint8)
