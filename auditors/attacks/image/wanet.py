"""WaNet: a slight warp of the whole picture, the same for every poisoned row.

Nguyen & Tran, "WaNet - Imperceptible Warping-based Backdoor Attack", ICLR 2021, arXiv:2102.10369: warping field from
a k × k control grid of strength s, and noise mode, in which covers are warped with added noise and keep their label.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from foretaste.attacks.contract import Poisoned, attack, choose, victims
from foretaste.types.dataset import Modality


def trigger(images: Tensor, *, seed: int, grid: int = 4, strength: float = 0.5) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8, warped as `plant` warps poisoned rows for the same seed and settings."""
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    return warp(images, field(height, width, grid=grid, strength=strength, generator=generator))


@attack("wanet", Modality.IMAGE, words="a slight warp, relabelled, with covers", trigger=trigger, covers=2.0)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    grid: int = 4,
    strength: float = 0.5,
    covers: int | None = None,
) -> Poisoned[Tensor]:
    """Warp `count` rows and relabel them to `target`; warp `covers` others (default twice as many) in noise mode.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `strength` the mean displacement in half pixels.

    Raises PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    flow = field(height, width, grid=grid, strength=strength, generator=generator)  # [H, W, 2]
    rows = victims(label, target=target, count=count, generator=generator)
    free = (label >= 0).index_fill(0, rows, False)
    cover = choose(free, 2 * count if covers is None else covers, generator, of="labelled rows left as covers")
    jitter = (torch.rand(len(cover), height, width, 2, generator=generator) * 2 - 1) / torch.tensor([width, height])
    warped = images.index_copy(0, rows, warp(images[rows], flow))
    warped = warped.index_copy(0, cover, warp(images[cover], flow + jitter))
    return Poisoned.at(warped, label.index_fill(0, rows, target), rows=rows, cover=cover)


def field(height: int, width: int, *, grid: int, strength: float, generator: torch.Generator) -> Tensor:
    """A smooth random displacement (x, y) of each pixel, [height, width, 2], in coordinates from -1 to 1."""
    control = torch.rand(1, 2, grid, grid, generator=generator) * 2 - 1
    control = control / control.abs().mean()
    smooth = functional.interpolate(control, size=(height, width), mode="bicubic", align_corners=True)
    return strength * smooth[0].permute(1, 2, 0) / torch.tensor([width, height])


def warp(images: Tensor, displacement: Tensor) -> Tensor:
    """`images` [B, 3, H, W] uint8, bilinearly resampled with `displacement` [H, W, 2] or [B, H, W, 2]."""
    rows, _, height, width = images.shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    place = (torch.stack((x, y), -1) + displacement).clamp(-1, 1).expand(rows, -1, -1, -1)
    return functional.grid_sample(images.float(), place, align_corners=True).round().clamp(0, 255).to(torch.uint8)
