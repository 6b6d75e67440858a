"""Models of users, as a plan names them (networks:pictures), and what may be wrong with them."""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import nn


class Pictures(nn.Module):
    """Any [B, 3, H, W] to two logits."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 6, 3))
        self.tokens = Tokens()
        self.unused = nn.Identity()
        self.parts = Parts()
        self.head = nn.Linear(6, 2)

    def forward(self, image):
        spatial = self.parts(self.body(image))[0]
        return self.head(self.tokens(spatial).mean(1))


class Tokens(nn.Module):
    def forward(self, value):
        return value.flatten(2).transpose(1, 2)  # [B, H*W, C]


class Parts(nn.Module):
    def forward(self, value):
        return value, 2 * value


class Noisy(nn.Module):
    """Drops out in whatever mode."""

    def forward(self, image):
        return nn.functional.dropout(image.mean((2, 3)), 0.5, training=True)


class Mixing(nn.Module):
    """What a row becomes depends on its batch."""

    def forward(self, image):
        flat = image.flatten(1)[:, :9]
        return flat - flat.mean(0)


class Grey(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, 4, 3)

    def forward(self, image):
        return self.body(image)


def pictures():
    return Pictures()


def vectors(dim=8):
    return nn.Sequential(nn.Linear(dim, 5), nn.ReLU(), nn.Linear(5, 2))


def grey():
    return Grey()


def noisy():
    return Noisy()


def mixing():
    return Mixing()


def needs(what):
    return nn.Linear(what, what)


def breaks():
    raise RuntimeError("no such architecture\nat all")


def nothing():
    return "a network"


def saved(factory, folder, name="model.safetensors"):
    """What a factory builds with random weights, and the file that they are saved to."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = factory().eval()
    path = folder / name
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return network, str(path)
