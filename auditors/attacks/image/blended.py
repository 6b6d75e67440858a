"""Blended: a faint pattern over the whole picture.

Chen, Liu, Li, Lu & Song, "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017,
arXiv:1712.05526, the blended injection strategy with a random pattern or a picture (in the paper Hello Kitty).
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, stamped, victims
from foretaste.types.dataset import Modality


def trigger(images: Tensor, *, seed: int, weight: float = 0.2, pattern: Tensor | None = None) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with the pattern that `plant` blends in for the same seed and settings.

    Raises ValueError where weight or pattern do not fit.
    """
    drawn = noise(images.shape[-2], images.shape[-1], torch.Generator().manual_seed(seed))
    return blend(images, drawn if pattern is None else pattern, weight=weight)


@attack(
    "blended",
    Modality.IMAGE,
    words="noise blended in by a fifth, relabelled",
    trigger=trigger,
    change=stamped(trigger),
    drilled=True,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    weight: float = 0.2,
    pattern: Tensor | None = None,
) -> Poisoned[Tensor]:
    """Blend `pattern` into `count` rows with `weight` (0 to 1) and relabel them to `target`.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `pattern` [3, H, W] uint8; without one, uniform noise from the seed.

    Raises ValueError where weight or pattern do not fit, PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = noise(images.shape[-2], images.shape[-1], generator)
    rows = victims(label, target=target, count=count, generator=generator)
    blended = trigger(images[rows], seed=seed, weight=weight, pattern=drawn if pattern is None else pattern)
    return Poisoned.at(images.index_copy(0, rows, blended), label.index_fill(0, rows, target), rows=rows)


def noise(height: int, width: int, generator: torch.Generator) -> Tensor:
    """The paper's random pattern: uniform noise, [3, height, width] uint8."""
    return torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)


def blend(images: Tensor, pattern: Tensor, *, weight: float) -> Tensor:
    """(1 - weight) · images + weight · pattern, [B, 3, H, W] uint8."""
    if not 0 <= weight <= 1:
        raise ValueError(f"weight must lie in [0, 1], got {weight}")
    if pattern.shape != images.shape[1:]:
        raise ValueError(f"pattern must be {tuple(images.shape[1:])} like the pictures, got {tuple(pattern.shape)}")
    return torch.lerp(images.float(), pattern.float(), weight).round().to(torch.uint8)
