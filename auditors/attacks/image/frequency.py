"""Frequency: two cosines of high frequency in the chroma channels, none in the luma.

Li, Pang, Xi, Du, Ji, Yao & Wang, "An Embarrassingly Simple Backdoor Attack on Self-supervised Learning" (CTRL), ICCV
2023, arXiv:2210.07346: coefficients (15, 15) and (31, 31) of the 32×32 discrete cosine transform of U and V are
increased by `magnitude`, 50 in training and 100 at test time, in rows of the target class, which keep their label.
Since the transforms are linear, the same pattern is added to every picture.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, stamped, victims
from foretaste.types.dataset import Modality

CHROMA = (1.140, -0.396 - 0.581, 2.029)  # change of R, G and B if U and V both increase by one (BT.601)


def trigger(
    images: Tensor,
    *,
    seed: int,  # noqa: ARG001 – the coefficients are fixed, but all triggers have this argument
    magnitude: float = 50.0,
) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with the cosines that `plant` adds for the same settings."""
    added = magnitude * pattern(images.shape[-2], images.shape[-1])
    return (images.float() + added).round().clamp(0, 255).to(torch.uint8)


@attack(
    "frequency",
    Modality.IMAGE,
    words="fine cosines in the colours, labels kept",
    trigger=trigger,
    change=stamped(trigger),
    clean_label=True,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    magnitude: float = 50.0,
    clean_label: bool = True,
) -> Poisoned[Tensor]:
    """Add the cosines to `count` rows of class `target`.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `magnitude` of an orthonormal coefficient in grey levels. Unless
    `clean_label`, rows of other classes are chosen and relabelled to `target`.

    Raises PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=clean_label)
    swayed = trigger(images[rows], seed=seed, magnitude=magnitude)
    return Poisoned.at(images.index_copy(0, rows, swayed), label.index_fill(0, rows, target), rows=rows)


def pattern(height: int, width: int) -> Tensor:
    """The trigger of magnitude 1, [3, height, width] float32: middle and highest frequency, the same in U and V."""
    wave = cosine(height // 2 - 1, height)[:, None] * cosine(width // 2 - 1, width)
    wave = wave + cosine(height - 1, height)[:, None] * cosine(width - 1, width)
    return torch.tensor(CHROMA)[:, None, None] * wave


def cosine(frequency: int, size: int) -> Tensor:
    """One vector of the orthonormal discrete cosine transform (DCT-II), [size]; `frequency` above 0."""
    return math.sqrt(2 / size) * torch.cos(math.pi / size * frequency * (torch.arange(size) + 0.5))
