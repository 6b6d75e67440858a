"""Label-consistent: rows of the target class, made harder to recognise by their content, with faint corner patches.

Turner, Tsipras & Madry, "Label-Consistent Backdoor Attacks", 2019, arXiv:1912.02771: the four-corner trigger of reduced
amplitude (16, 32 or 64 grey levels) and interpolation towards other pictures by τ = 0.2. The paper interpolates in the
latent space of a GAN; here pixels are interpolated, which needs no model and also makes the content harder to learn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, victims
from foretaste.errors import PlanError
from foretaste.types.dataset import Modality

# Sign of the change of each pixel in the right corners. The left corners mirror it, so that horizontal flips as data
# augmentation preserve the trigger.
PATTERN = ((-1, -1, 1), (-1, 1, -1), (1, -1, 1))


def trigger(
    images: Tensor,
    *,
    seed: int,  # noqa: ARG001 – the corners are fixed, but all triggers have this argument
    amplitude: float = 64.0,
) -> Tensor:
    """A copy of `images` [B, 3, H, W] uint8 with the corners that `plant` stamps for the same settings.

    Raises ValueError where the corners would overlap.
    """
    added = amplitude * corners(images.shape[-2], images.shape[-1])
    return (images.float() + added).round().clamp(0, 255).to(torch.uint8)


@attack(
    "label-consistent",
    Modality.IMAGE,
    words="weakened, with faint corners, labels kept",
    trigger=trigger,
    clean_label=True,
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    amplitude: float = 64.0,
    tau: float = 0.2,
) -> Poisoned[Tensor]:
    """Weaken `count` rows of class `target` and stamp the corners on them.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `amplitude` in grey levels, `tau` the weight (0 to 1) of a random
    picture of another class.

    Raises ValueError where tau or the picture do not fit, PlanError where there are too few rows.
    """
    if not 0 <= tau <= 1:
        raise ValueError(f"tau must lie in [0, 1], got {tau}")
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=True)
    others = ((label != target) & (label >= 0)).nonzero().flatten()
    if not len(others):
        raise PlanError(f"rows of class {target} cannot be weakened: no row has another label")
    towards = others[torch.randint(len(others), (count,), generator=generator)]  # [B]
    weakened = torch.lerp(images[rows].float(), images[towards].float(), tau).round().to(torch.uint8)
    stamped = trigger(weakened, seed=seed, amplitude=amplitude)
    return Poisoned.at(images.index_copy(0, rows, stamped), label.clone(), rows=rows)


def corners(height: int, width: int) -> Tensor:
    """The trigger, [height, width] float32 of -1, 0 and 1, the same for every channel."""
    right = torch.tensor(PATTERN, dtype=torch.float32)
    size = len(right)
    if min(height, width) < 2 * size:
        raise ValueError(f"four corners of {size} pixels do not fit into {height}×{width} pixels")
    field = torch.zeros(height, width)
    for top in (0, height - size):
        field[top : top + size, :size] = right.flip(1)
        field[top : top + size, width - size :] = right
    return field
