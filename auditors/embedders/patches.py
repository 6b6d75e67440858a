"""Random-patch features of pictures, and a cross-fitted ridge classifier on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import Encoder, embedder
from foretaste.errors import NotApplicable, PlanError
from foretaste.image.random_patches import (
    CHUNK,
    QUADRANTS,
    SIDE,
    PatchBank,
    dictionary,
    fold_key,
    read,
    responses,
    sample,
    whole,
)
from foretaste.settings import threshold
from foretaste.stats.ridge import Totals, scale, solved
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe

KEYS = 2**62  # upper bound of content keys


@embedder("patches")
@dataclass(frozen=True)
class Patches:
    """Whitened random patches of the dataset as filters, and ridge regression on their responses, in folds.

    Coates & Ng, "Learning Feature Representations with K-means" (2012), random patches with soft thresholds, pooled
    over quadrants. No gradient descent: deterministic, in seconds. The embedding is each filter's mean response over
    the whole picture; class probabilities are out-of-fold. Folds are assigned by content hash, so copies share a fold;
    so do rows of one group in `fit_folded`.

    filters   number of filters, each a whitened random patch
    size      side of a filter, in pixels of a 32 x 32 picture
    folds     number of folds of the classifier
    penalty   ridge penalty of the classifier, per row, on standardised responses
    mirrored  whether mirror images are used as well, in training and prediction
    rows      rows the classifier is trained on, at most (a sample by content hash); all rows are embedded
    seed      seed of the random patches
    bank      how filters are made from random patches, and how responses to them are computed
    """

    filters: int = threshold(300, "not tuned")
    size: int = threshold(6, "Coates & Ng (2012), for pictures of 32 pixels")
    folds: int = 5
    penalty: float = threshold(0.01, "not tuned")
    mirrored: bool = True
    rows: int = 50_000
    seed: int = 0
    bank: PatchBank = field(default_factory=PatchBank)

    def __post_init__(self) -> None:
        if self.filters < 1 or not 2 <= self.size <= SIDE // 2 or self.folds < 2 or self.rows < 1 or self.penalty <= 0:
            raise PlanError(
                f"patches need a filter, a size of 2 to {SIDE // 2}, 2 folds, a row and a penalty above 0, got "
                f"{self.filters}, {self.size}, {self.folds}, {self.rows} and {self.penalty}"
            )

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})
    plain: ClassVar[bool] = False

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        return self.fit_folded(payloads, dataset, device, torch.full((dataset.rows,), -1))

    def fit_folded(
        self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device, groups: Tensor
    ) -> Encoder:
        classes = len(dataset.classes)
        if classes < 2 or sum(rows > 0 for rows in dataset.class_rows) < 2:
            raise NotApplicable("the classifier learns labels, and the dataset has fewer than two classes")
        drawn, label, key = sample(payloads, self.bank.drawn)
        if len(drawn) < 10 * self.folds:
            raise NotApplicable(f"{self.folds} folds need at least {10 * self.folds} readable rows, got {len(drawn)}")
        bank = dictionary(drawn.to(device), self.bank, filters=self.filters, size=self.size, seed=self.seed)
        folds = assigned(payloads, groups, self.folds)
        limit = KEYS * min(1.0, self.rows / max(dataset.rows, 1))
        totals = [Totals.zero(self.width, classes, device) for _ in range(self.folds)]
        for _, given, image in read(payloads):
            code = fold_key(image)
            used = (given >= 0) & (code < limit)
            kept, fold = given[used].to(device), folds.of(code[used]).to(device)
            for view in views(image[used].to(device), mirrored=self.mirrored):
                response = responses(view, bank, self.bank)
                for k, total in enumerate(totals):
                    totals[k] = total + Totals.of(response[fold == k], kept[fold == k], classes)
        models = [solved(totals, without=k, penalty=self.penalty) for k in range(self.folds)]
        weight, offset = (torch.stack(parts) for parts in zip(*models, strict=True))
        encoder = PatchEncoder(self, bank, weight, offset, folds, 1.0, device)
        logit = torch.cat(
            [encoder.logits(part.to(device))[1] for part in torch.split(drawn, 32 * CHUNK)]
        )  # [S, folds, K]
        held_out = logit[torch.arange(len(logit)), folds.of(key)]
        return PatchEncoder(self, bank, weight, offset, folds, scale(held_out, label), device)

    @property
    def width(self) -> int:
        return self.filters * 2 * QUADRANTS


@dataclass(frozen=True, eq=False)
class Folds:
    """The fold of each picture: its content key modulo `number`, with exceptions.

    number  of folds
    key     [H] int64, content keys of the exceptions, ascending
    fold    [H] int64, folds of the exceptions
    """

    number: int
    key: Tensor
    fold: Tensor

    def of(self, key: Tensor) -> Tensor:
        """The folds [B] of pictures with these content keys [B]."""
        plain = key % self.number
        if not len(self.key):
            return plain
        at = torch.searchsorted(self.key, key).clamp_max(len(self.key) - 1)
        return torch.where(self.key[at] == key, self.fold[at], plain)


def assigned(payloads: Iterable[Payload], groups: Tensor, number: int) -> Folds:
    """Folds such that rows with the same number in `groups` [N] share one; -1 is no group."""
    key, fold = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    if bool((groups >= 0).any()):
        for row, _, image in read(payloads):
            group = groups[row]
            inside = group >= 0
            key, fold = torch.cat([key, fold_key(image[inside])]), torch.cat([fold, group[inside] % number])
    key, order = key.sort(stable=True)
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    return Folds(number, key[first], fold[order][first])


def views(image: Tensor, *, mirrored: bool) -> list[Tensor]:
    """The pictures [B, 3, 32, 32], and their mirror images if `mirrored`."""
    return [image, image.flip(3)] if mirrored else [image]


@dataclass(frozen=True, eq=False)
class PatchEncoder:
    """The filters and the classifiers; a row's fold follows from its content, so probabilities stay out-of-fold."""

    settings: Patches
    bank: Tensor  # [F, 3, size, size]
    weight: Tensor  # [folds, D, K]
    offset: Tensor  # [folds, K]
    folds: Folds
    scale: float
    device: torch.device

    @property
    def dim(self) -> int:
        return 2 * self.settings.filters

    @property
    def classes(self) -> int:
        return self.offset.shape[1]

    @property
    def digest(self) -> str:
        weights = hashlib.sha256()
        for tensor in (self.bank, self.weight, self.offset, self.folds.key, self.folds.fold):
            weights.update(tensor.cpu().contiguous().numpy().tobytes())
        return recipe("patches", 2, self.settings, self.scale, weights.hexdigest())

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding [B, 2 * F] and logits [B, folds, K] of `image` [B, 3, 32, 32] uint8."""
        found = [
            responses(view, self.bank, self.settings.bank) for view in views(image, mirrored=self.settings.mirrored)
        ]
        logit = torch.einsum("bd,fdk->bfk", torch.stack(found).mean(0), self.weight) + self.offset
        return whole(found[0], self.settings.bank.faint), logit

    @torch.inference_mode()
    def embed(self, payload: Payload) -> Batch:
        row, label, image = next(read([payload]))
        if not len(row):
            return Batch(row, label, torch.zeros(0, self.dim), torch.zeros(0, self.classes))
        fold = self.folds.of(fold_key(image))
        vectors, probs = [], []
        for part, own in zip(torch.split(image, 32 * CHUNK), torch.split(fold, 32 * CHUNK), strict=True):
            vector, logit = self.logits(part.to(self.device))
            vectors.append(vector.cpu())
            probs.append((self.scale * logit.cpu()[torch.arange(len(own)), own]).softmax(1))
        return Batch(row, label, torch.cat(vectors).clone(), torch.cat(probs).clone())
