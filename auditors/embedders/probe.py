"""A small network trained on the suspect data itself, cross-fitted, so that class probabilities are out-of-fold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import EMBEDDERS, Encoder, embedder, plain_view
from foretaste.errors import NotApplicable, PlanError
from foretaste.settings import threshold
from foretaste.stats.sampling import content_key, smallest
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe

CHUNK = 512


class Network(nn.Module):
    """Features [B, width] and class logits [B, K]."""

    def __init__(self, body: nn.Sequential, width: int, classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(width, classes)

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        feature: Tensor = self.body(value)
        return feature, self.head(feature)


def convolutional(classes: int, width: int) -> Network:
    """Five 3×3 convolutions on [B, 3, 32, 32] in [0, 1], averaged to `width` features."""

    def block(entering: int, leaving: int, stride: int) -> list[nn.Module]:
        convolution = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        return [convolution, nn.BatchNorm2d(leaving), nn.ReLU()]

    half, quarter = width // 2, width // 4
    body = nn.Sequential(
        *block(3, quarter, 1), *block(quarter, half, 2), *block(half, half, 1), *block(half, width, 2),
        *block(width, width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    return Network(body, width, classes)


def shallow(dim: int, classes: int, width: int, dropout: float) -> Network:
    """One hidden layer on standardised vectors [B, D]."""
    body = nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Dropout(dropout), nn.Linear(dim, width), nn.ReLU())
    return Network(body, width, classes)


def train(
    network: Network, value: Tensor, label: Tensor, *, epochs: int, rate: float, decay: float, seed: int
) -> Network:
    """AdamW with a one-cycle learning rate (Smith & Topin 2019); `value` is [N, ...], uint8 or float."""
    generator = torch.Generator().manual_seed(seed)
    size = min(256, max(16, len(value) // 16))
    steps = max(1, epochs * (len(value) // size))
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=rate, total_steps=steps + 1)
    network.train()
    for _ in range(epochs):
        for index in torch.randperm(len(value), generator=generator)[: len(value) // size * size].view(-1, size):
            chosen = index.to(value.device)
            loss = cross_entropy(network(scaled(value[chosen]))[1], label[chosen])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    return network.eval()


@torch.inference_mode()
def temperature(networks: list[Network], value: Tensor, label: Tensor, fold: Tensor) -> float:
    """The temperature that calibrates the networks' probabilities on their held-out folds.

    Source: Guo et al. (ICML 2017, arXiv 1706.04599), section 4.2, minimising the negative log-likelihood on a grid.
    """
    grid = torch.logspace(-1, 1, 41)
    loss = torch.zeros(len(grid), dtype=torch.float64)
    for held_out, network in enumerate(networks):
        mine = (fold == held_out).nonzero()[:, 0]
        for part in torch.split(mine, CHUNK):
            logit = network(scaled(value[part]))[1].double().cpu()  # [b, K]
            given = label[part].cpu()
            loss += torch.stack([cross_entropy(logit / float(at), given, reduction="sum") for at in grid])
    return float(grid[loss.argmin()])


def scaled(value: Tensor) -> Tensor:
    """Pictures in [0, 1], channels last; vectors unchanged."""
    if value.dtype != torch.uint8:
        return value
    return (value.float() / 255).contiguous(memory_format=torch.channels_last)


@embedder("probe")
@dataclass(frozen=True)
class Probe:
    """A small network trained on the suspect data: its penultimate activations and out-of-fold probabilities.

    A convolutional network for pictures, one hidden layer on the plain embedding for everything else. Folds are
    assigned by content hash, so copies share a fold. The embedding concatenates the activations of all folds' networks.

    folds    number of folds, each with a network trained on the others
    width    penultimate features of a network
    epochs   passes over the training rows
    rate     maximum of the one-cycle learning rate
    rows     rows trained on, at most (a sample by content hash); all rows are embedded
    seed     seed of the initial weights and of the batch order
    decay    weight decay of AdamW
    dropout  dropout rate of the inputs of the network without convolutions
    """

    folds: int = 2
    width: int = 64
    epochs: int = 8
    rate: float = 0.01
    rows: int = 50_000
    seed: int = 0
    decay: float = threshold(5e-3, "not tuned")
    dropout: float = threshold(0.2, "not tuned")

    def __post_init__(self) -> None:
        if self.folds < 2 or self.width < 4 or self.epochs < 1 or self.rows < 1:
            raise PlanError(
                "a probe needs at least 2 folds, a width of 4, 1 epoch and 1 row, "
                f"got {self.folds}, {self.width}, {self.epochs} and {self.rows}"
            )

    modalities: ClassVar[frozenset[Modality]] = frozenset(Modality)
    plain: ClassVar[bool] = False

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        classes = len(dataset.classes)
        if classes < 2 or sum(rows > 0 for rows in dataset.class_rows) < 2:
            raise NotApplicable("a probe learns labels, and the dataset has fewer than two classes")
        base = None
        if dataset.roles.modality is not Modality.IMAGE:
            base = EMBEDDERS[plain_view(dataset.roles.modality)]().fit(payloads, dataset, device)
        key, value, label = gather(payloads, base, self.rows)
        if len(value) < 50 * self.folds:
            raise NotApplicable(
                f"a probe in {self.folds} folds needs at least {50 * self.folds} rows, got {len(value)}"
            )
        value, label, fold = value.to(device), label.to(device), (key % self.folds).to(device)
        networks = []
        for held_out in range(self.folds):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed * 1000 + held_out)
                if base is None:
                    network = convolutional(classes, self.width).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
                else:
                    network = shallow(base.dim, classes, self.width, self.dropout)
                seen = fold != held_out
                networks.append(
                    train(
                        network.to(device),
                        value[seen],
                        label[seen],
                        epochs=self.epochs,
                        rate=self.rate,
                        decay=self.decay,
                        seed=self.seed * 1000 + held_out,
                    )
                )
        calibrated = temperature(networks, value, label, fold)
        return ProbeEncoder(self, tuple(networks), base, classes, device, calibrated)


def read(payload: Payload, base: Encoder | None) -> tuple[Tensor, Tensor, Tensor]:
    """Row [B], label [B] and network input of the readable rows of a payload."""
    if base is not None:
        batch = base.embed(payload)
        return batch.row, batch.label, batch.embedding
    image, broken = payload.images(32)
    keep = torch.ones(len(payload), dtype=torch.bool)
    keep[list(broken)] = False
    return payload.row[keep], payload.label[keep], image[keep]


def gather(payloads: Iterable[Payload], base: Encoder | None, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Key, input and label of the `limit` labelled rows with the smallest content keys, ascending by key."""
    kept: tuple[Tensor, Tensor, Tensor] | None = None
    waiting: list[tuple[Tensor, Tensor, Tensor]] = []
    held = 0
    for payload in payloads:
        _, label, value = read(payload, base)
        known = label >= 0
        waiting.append((content_key(value[known]), value[known], label[known]))
        held += int(known.sum())
        if held > limit // 4 + 1:
            kept, waiting, held = best([*([kept] if kept else []), *waiting], limit), [], 0
    parts = [*([kept] if kept else []), *waiting]
    if not parts:
        raise NotApplicable("no row can be read")
    return best(parts, limit)


def best(parts: list[tuple[Tensor, Tensor, Tensor]], limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `limit` rows with the smallest keys out of several parts, ascending by key."""
    key, value, label = (torch.cat(column) for column in zip(*parts, strict=True))
    order = smallest(key, limit)
    return key[order], value[order], label[order]


@dataclass(frozen=True, eq=False)
class ProbeEncoder:
    """The trained networks; a row's fold follows from its content, so probabilities stay out-of-fold."""

    settings: Probe
    networks: tuple[Network, ...]
    base: Encoder | None
    classes: int
    device: torch.device
    temperature: float

    @property
    def dim(self) -> int:
        return self.settings.width * self.settings.folds

    @property
    def digest(self) -> str:
        weights = hashlib.sha256()
        for network in self.networks:
            for tensor in network.state_dict().values():
                weights.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        read = self.base.digest if self.base else "32"
        return recipe("probe", 2, self.settings, read, self.temperature, weights.hexdigest())

    @torch.inference_mode()
    def embed(self, payload: Payload) -> Batch:
        row, label, value = read(payload, self.base)
        fold = content_key(value) % self.settings.folds
        features, probs = [], []
        for start in range(0, len(value), CHUNK):
            part = scaled(value[start : start + CHUNK].to(self.device))
            pairs = [network(part) for network in self.networks]
            features.append(torch.cat([feature for feature, _ in pairs], 1).cpu())  # [b, width * folds]
            every = torch.stack([(logit / self.temperature).softmax(1) for _, logit in pairs]).cpu()  # [folds, b, K]
            own = fold[start : start + CHUNK]
            probs.append(every[own, torch.arange(len(own))])
        if not features:
            return Batch(row, label, torch.zeros(0, self.dim), torch.zeros(0, self.classes))
        return Batch(row, label, torch.cat(features).float().clone(), torch.cat(probs).float().clone())
