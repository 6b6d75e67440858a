"""Low frequency: a smooth additive pattern without the high-frequency traces of other triggers.

After Zeng, Park, Mao & Jia, "Rethinking the Backdoor Attacks' Triggers: A Frequency Perspective", ICCV 2021,
arXiv:2104.03413, the smooth trigger. In the paper the pattern is optimised against a model; here it is a random sum of
the lowest cosines, which needs no model and is as smooth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, stamped, victims
from foretaste.types.dataset import Modality


def trigger(images: Tensor, *, seed: int, amplitude: float = 25.5, frequencies: int = 3) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with the pattern that `plant` adds for the same seed and settings.

    Raises ValueError for fewer than two frequencies.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    return sway(images, pattern(height, width, amplitude=amplitude, frequencies=frequencies, generator=generator))


@attack(
    "low-frequency",
    Modality.IMAGE,
    words="a smooth pattern of a tenth of the range, relabelled",
    trigger=trigger,
    change=stamped(trigger),
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    amplitude: float = 25.5,
    frequencies: int = 3,
) -> Poisoned[Tensor]:
    """Add the pattern to `count` rows and relabel them to `target`.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `amplitude` in grey levels (default: a tenth of the range),
    `frequencies` cosines along each axis.

    Raises ValueError for fewer than two frequencies, PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    height, width = images.shape[-2:]
    added = pattern(height, width, amplitude=amplitude, frequencies=frequencies, generator=generator)
    rows = victims(label, target=target, count=count, generator=generator)
    return Poisoned.at(
        images.index_copy(0, rows, sway(images[rows], added)), label.index_fill(0, rows, target), rows=rows
    )


def sway(images: Tensor, added: Tensor) -> Tensor:
    """`images` [B, 3, H, W] uint8 plus `added` [3, H, W] in grey levels, clipped to the range of a pixel."""
    return (images.float() + added).round().clamp(0, 255).to(torch.uint8)


def pattern(height: int, width: int, *, amplitude: float, frequencies: int, generator: torch.Generator) -> Tensor:
    """The trigger, [3, height, width] float32, whose largest absolute value is `amplitude`."""
    if frequencies < 2:
        raise ValueError(f"frequencies must be 2 or more, got {frequencies}: a single cosine is constant")
    weight = torch.randn(3, frequencies, frequencies, generator=generator)
    weight[:, 0, 0] = 0  # the constant would only brighten the picture
    field = torch.einsum("cuv,uh,vw->chw", weight, cosines(frequencies, height), cosines(frequencies, width))
    return amplitude * field / field.abs().max()


def cosines(frequencies: int, size: int) -> Tensor:
    """The lowest vectors of the discrete cosine transform (DCT-II), [frequencies, size]."""
    return torch.cos(math.pi / size * torch.arange(frequencies)[:, None] * (torch.arange(size) + 0.5))
