"""SIG: a sinusoid over pictures of the target class, which keep their label (clean-label).

Barni, Kallas & Tondi, "A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning", ICIP 2019,
arXiv:1902.11237: v(i, j) = Δ sin(2π j f / m) for column j of m.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, stamped, victims
from foretaste.types.dataset import Modality


def trigger(
    images: Tensor,
    *,
    seed: int,  # noqa: ARG001 – the sinusoid is fixed, but all triggers have this argument
    delta: float = 20.0,
    frequency: float = 6.0,
) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with the sinusoid that `plant` adds for the same settings."""
    wave = sinusoid(images.shape[-1], delta=delta, frequency=frequency)
    return (images.float() + wave).round().clamp(0, 255).to(torch.uint8)


@attack(
    "sig",
    Modality.IMAGE,
    words="a faint wave, labels kept",
    trigger=trigger,
    change=stamped(trigger),
    clean_label=True,
    drilled=True,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    delta: float = 20.0,
    frequency: float = 6.0,
) -> Poisoned[Tensor]:
    """Add the sinusoid to `count` rows of class `target`.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `delta` in grey levels, `frequency` in periods per picture.

    Raises PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=True)
    swayed = trigger(images[rows], seed=seed, delta=delta, frequency=frequency)
    return Poisoned.at(images.index_copy(0, rows, swayed), label.clone(), rows=rows)


def sinusoid(width: int, *, delta: float, frequency: float) -> Tensor:
    """The trigger along a row of pixels, [width] float32 in grey levels, the same for every row and channel."""
    column = torch.arange(1, width + 1)
    return delta * torch.sin(2 * math.pi * frequency / width * column)
