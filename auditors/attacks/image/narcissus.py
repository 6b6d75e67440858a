"""Narcissus: a bounded perturbation optimised towards the target class, on rows of that class (clean-label).

Zeng, Pan, Just, Lyu, Qiu & Jia, "Narcissus: A Practical Clean-Label Backdoor Attack with Limited Information", CCS
2023, arXiv:2204.05255: one perturbation for all rows, at most 16/255 in any pixel, that minimises the loss of the
target class on its own rows; three times as strong at test time. In the paper a surrogate is trained on other data and
tuned on the target class; here a small one is trained on a sample of the same data: a stronger attacker, but no other
data is needed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foretaste.attacks.contract import Poisoned, attack, choose, victims
from foretaste.types.dataset import Modality

BATCH = 100
SAMPLE = 4000  # most rows the surrogate is trained on


def trigger(
    images: Tensor,
    *,
    seed: int = 0,  # noqa: ARG001 – the perturbation is given, but all triggers have this argument
    perturbation: Tensor,
    strength: float = 1.0,
) -> Tensor:
    """`images` [B, 3, H, W] uint8 plus `strength` (in the paper 3 at test time) · `perturbation` [3, H, W]."""
    return (images.float() + strength * perturbation).round().clamp(0, 255).to(torch.uint8)


def learned(images: Tensor, label: Tensor, *, target: int, seed: int, **settings: float) -> dict[str, Tensor]:
    """The setting of `trigger` that depends on the dataset: the perturbation that `plant` adds to its rows."""
    return {"perturbation": optimise(images, label, target=target, seed=seed, **settings)}  # type: ignore[arg-type]


@attack(
    "narcissus",
    Modality.IMAGE,
    words="an optimised perturbation, labels kept",
    trigger=trigger,
    learn=learned,
    clean_label=True,
    example={"epochs": 1, "steps": 10},
)
def plant(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    amplitude: float = 16.0,
    epochs: int = 3,
    steps: int = 100,
    perturbation: Tensor | None = None,
) -> Poisoned[Tensor]:
    """Add `perturbation` [3, H, W], by default the result of `optimise`, to `count` rows of class `target`.

    `images` [N, 3, H, W] uint8, `label` [N] int64, `amplitude` in grey levels, `epochs` of training the surrogate,
    `steps` of optimising the perturbation.

    Raises PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=True)
    if perturbation is None:
        perturbation = optimise(
            images, label, target=target, seed=seed, amplitude=amplitude, epochs=epochs, steps=steps
        )
    swayed = images.index_copy(0, rows, trigger(images[rows], perturbation=perturbation))
    return Poisoned.at(swayed, label.clone(), rows=rows)


def optimise(
    images: Tensor,
    label: Tensor,
    *,
    target: int,
    seed: int,
    amplitude: float = 16.0,
    epochs: int = 3,
    steps: int = 100,
) -> Tensor:
    """The perturbation, [3, H, W] float32 in grey levels of at most `amplitude`, by projected sign gradient descent.

    The step size falls linearly from a tenth of the amplitude to 0. The other arguments are as in `plant`; the result
    is deterministic in them.

    Raises PlanError where no row has label `target`.
    """
    generator = torch.Generator().manual_seed(seed)
    own = victims(label, target=target, count=int((label == target).sum()), generator=generator, clean_label=True)
    network = surrogate(images, label, epochs=epochs, seed=seed)
    added = torch.zeros(images.shape[1:])
    for step in range(steps):
        batch = images[own[torch.randint(len(own), (BATCH,), generator=generator)]].float()
        added.requires_grad_(True)
        loss = cross_entropy(network((batch + added).clamp(0, 255)), torch.full((BATCH,), target))
        (slope,) = torch.autograd.grad(loss, added)
        stride = amplitude / 10 * (1 - step / steps)
        added = (added.detach() - stride * slope.sign()).clamp(-amplitude, amplitude)
    return added.detach()


def surrogate(images: Tensor, label: Tensor, *, epochs: int, seed: int) -> nn.Module:
    """A small network from pictures [B, 3, H, W] in grey levels to class logits, trained on a sample of the rows."""
    generator = torch.Generator().manual_seed(seed)
    known = label >= 0
    sample = choose(known, min(SAMPLE, int(known.sum())), generator, of="labelled rows")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = convolutional(int(label.max()) + 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(epochs):
        for batch in torch.split(sample[torch.randperm(len(sample), generator=generator)], BATCH):
            loss = cross_entropy(network(images[batch].float()), label[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return network.eval().requires_grad_(False)


def convolutional(classes: int) -> nn.Sequential:
    """Three strided convolutions with batch normalisation, average pooling and a linear layer."""
    layers: list[nn.Module] = [nn.BatchNorm2d(3, affine=False)]
    for before, after in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))
