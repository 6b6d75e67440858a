"""The model a user would have trained on the data: what poison does to it, and what a filter saved.

A ResNet-9 (Page, "How to Train Your ResNet", 2018, the network of his DAWNBench entry) at a quarter of the width and
with one convolution instead of two in each residual: seven 3×3 convolutions, 0.3 million weights, trained for ten
epochs with flips and shifts (He et al., arXiv 1512.03385, section 4.2). It is there to be trained six times a table on
two cores, not to be good at CIFAR-10. Of 8 000 rows, 100 of them with BadNets for class 3, it gets 72 % of held-out
rows right and falls for every trigger, after 40 seconds on one core. It pools by maxima like the original: with strides
and a mean at the end the same rows teach it next to nothing of the patch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

EPOCHS = 10
BATCH = 64
SHIFT = 2  # pixels; He et al. shift by 4, which would push triggers at the border out of the picture
CHUNK = 512


class Residual(nn.Module):
    """x + inner(x), for [B, C, H, W]."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, value: Tensor) -> Tensor:
        return value + self.inner(value)


def victim(classes: int) -> nn.Sequential:
    """Logits [B, classes] of pictures [B, 3, S, S] float32 in [0, 1]; all but the last module: features [B, 128]."""

    def block(entering: int, leaving: int) -> nn.Sequential:
        convolution = nn.Conv2d(entering, leaving, 3, padding=1, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm2d(leaving), nn.ReLU())

    return nn.Sequential(
        block(3, 16), nn.MaxPool2d(2),
        block(16, 32), Residual(block(32, 32)), nn.MaxPool2d(2),
        block(32, 64), Residual(block(64, 64)), nn.MaxPool2d(2),
        block(64, 128), Residual(block(128, 128)), nn.AdaptiveMaxPool2d(1), nn.Flatten(),
        nn.Linear(128, classes),
    )  # fmt: skip


def train(
    images: Tensor,
    label: Tensor,
    *,
    classes: int,
    seed: int,
    epochs: int = EPOCHS,
    rate: float = 0.01,
    device: torch.device | str = "cpu",
    watch: Callable[[int, Tensor, Tensor], None] | None = None,
) -> nn.Sequential:
    """A victim trained on `images` [N, 3, S, S] uint8 and `label` [N] int64; the same rows and seed give the same one.

    AdamW on one cycle of the learning rate (Smith & Topin, arXiv 1708.07120). `watch` is told of every batch, before
    the step that it causes: the epoch, the rows [B] and their logits [B, K].
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = victim(classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(seed)
    size = min(BATCH, len(images))
    steps = len(images) // size
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=epochs * steps + 1)
    network.train()
    for epoch in range(epochs):
        for index in torch.randperm(len(images), generator=generator)[: steps * size].view(steps, size):
            batch = scaled(augmented(images[index], generator).to(device))
            logit = network(batch)
            if watch is not None:
                watch(epoch, index, logit.detach().cpu())
            loss = cross_entropy(logit, label[index].to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def activations(network: nn.Sequential, images: Tensor) -> Tensor:
    """What feeds the last layer [N, 128] of `images` [N, 3, S, S] uint8, on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network[:-1](scaled(part.to(device))).cpu() for part in images.split(CHUNK)])


@torch.inference_mode()
def predict(network: nn.Sequential, images: Tensor) -> Tensor:
    """The class [N] int64 of `images` [N, 3, S, S] uint8, on the CPU."""
    device = next(network.parameters()).device
    return torch.cat([network(scaled(part.to(device))).argmax(1).cpu() for part in images.split(CHUNK)])


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """`images` [B, 3, S, S], half of them mirrored, each moved by up to SHIFT pixels along both axes over black."""
    rows, _, height, width = images.shape
    mirrored = torch.rand(rows, generator=generator) < 0.5
    images = pad(torch.where(mirrored[:, None, None, None], images.flip(3), images), (SHIFT,) * 4)
    top, left = torch.randint(2 * SHIFT + 1, (2, rows, 1), generator=generator)
    row = torch.arange(rows)[:, None, None]
    y, x = (top + torch.arange(height))[:, :, None], (left + torch.arange(width))[:, None]
    return images.permute(0, 2, 3, 1)[row, y, x].permute(0, 3, 1, 2)


def scaled(images: Tensor) -> Tensor:
    """uint8 [B, 3, S, S] as float32 in [0, 1], channels last."""
    return (images.float() / 255).contiguous(memory_format=torch.channels_last)
