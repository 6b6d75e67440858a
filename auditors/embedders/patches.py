"""Random patches of the pictures themselves as filters, and a ridge classifier over them in closed form."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, normalize, softshrink

from auditors.batch import Batch
from auditors.contract import Encoder, embedder
from auditors.errors import NotApplicable, PlanError
from auditors.payload import Payload
from auditors.stats.ridge import Totals, scale, solved
from auditors.stats.sampling import content_key, smallest
from auditors.values import Dataset, Modality, recipe

SIDE = 32  # pictures are looked at in this many pixels
CHUNK = 16  # pictures at once: their filter responses must fit into the cache
KEYS = 2**62  # content keys lie below
DRAWN = 4096  # pictures that filters are cut from and the temperature is measured on
QUIET = 10 / 255**2  # added to a patch's variance, so that an empty patch is not blown up to pure noise
SMOOTH = 0.1  # added to the patches' variances before whitening, as in the source
SHRINK = 0.25  # responses closer to nothing than this are nothing
QUADRANTS = 4
FAINT = 0.01  # a mean response that makes no difference; strengths are compared by their logarithm


@embedder("patches")
@dataclass(frozen=True)
class Patches:
    """Whitened random patches of the dataset as filters, and ridge regression on their responses, in folds.

    Coates & Ng, "Learning Feature Representations with K-means" (2012), random patches with soft thresholds, pooled
    over quadrants. Nothing is trained by gradient: the same rows give the same vectors, in seconds. The embedding is
    each filter's response over the whole picture, wherever it sits; the probabilities of a row come from a classifier
    that never saw it. Rows are put into folds by content, so copies share a fold, and so do groups of rows that are to
    be judged together.

    filters   patches drawn
    size      side of a patch in pixels of a 32 x 32 picture
    folds     classifiers, each without its fold
    penalty   of the ridge, per row and standardised response
    mirrored  also look at every picture's mirror image
    rows      most rows the classifiers see (a sample by content); all rows are embedded
    seed      of the patches
    """

    filters: int = 300
    size: int = 6
    folds: int = 5
    penalty: float = 0.01
    mirrored: bool = True
    rows: int = 50_000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.filters < 1 or not 2 <= self.size <= SIDE // 2 or self.folds < 2 or self.rows < 1 or self.penalty <= 0:
            raise PlanError(
                f"patches need a filter, a size of 2 to {SIDE // 2}, 2 folds, a row and a penalty above 0, got "
                f"{self.filters}, {self.size}, {self.folds}, {self.rows} and {self.penalty}"
            )

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        return self.fit_folded(payloads, dataset, device, torch.full((dataset.rows,), -1))

    def fit_folded(
        self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device, together: Tensor
    ) -> Encoder:
        classes = len(dataset.classes)
        if classes < 2 or sum(rows > 0 for rows in dataset.class_rows) < 2:
            raise NotApplicable("the classifier learns labels, and the dataset has fewer than two classes")
        drawn, label, key = sample(payloads, DRAWN)
        if len(drawn) < 10 * self.folds:
            raise NotApplicable(f"{self.folds} folds need at least {10 * self.folds} readable rows, got {len(drawn)}")
        bank = dictionary(drawn.to(device), filters=self.filters, size=self.size, seed=self.seed)
        folds = assigned(payloads, together, self.folds)
        limit = KEYS * min(1.0, self.rows / max(dataset.rows, 1))
        totals = [Totals.zero(self.width, classes, device) for _ in range(self.folds)]
        for _, given, image in read(payloads):
            code = fold_key(image)
            used = (given >= 0) & (code < limit)
            kept, fold = given[used].to(device), folds.of(code[used]).to(device)
            for view in views(image[used].to(device), mirrored=self.mirrored):
                response = responses(view, bank)
                for k, total in enumerate(totals):
                    totals[k] = total + Totals.of(response[fold == k], kept[fold == k], classes)
        models = [solved(totals, without=k, penalty=self.penalty) for k in range(self.folds)]
        weight, offset = (torch.stack(parts) for parts in zip(*models, strict=True))
        encoder = PatchEncoder(self, bank, weight, offset, folds, 1.0, device)
        logit = torch.cat(
            [encoder.logits(part.to(device))[1] for part in torch.split(drawn, 32 * CHUNK)]
        )  # [S, folds, K]
        own = logit[torch.arange(len(logit)), folds.of(key)]
        return PatchEncoder(self, bank, weight, offset, folds, scale(own, label), device)

    @property
    def width(self) -> int:
        return self.filters * 2 * QUADRANTS


def read(payloads: Iterable[Payload]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Row [B], label [B] and picture [B, 3, 32, 32] uint8 of the rows that can be read."""
    for payload in payloads:
        image, broken = payload.images(SIDE)
        keep = torch.ones(len(payload), dtype=torch.bool)
        keep[list(broken)] = False
        yield payload.row[keep], payload.label[keep], image[keep]


def sample(payloads: Iterable[Payload], count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [S, 3, 32, 32], labels [S] and content keys [S] of the `count` labelled rows with the smallest keys."""
    image = torch.zeros(0, 3, SIDE, SIDE, dtype=torch.uint8)
    label = key = torch.zeros(0, dtype=torch.int64)
    for _, given, more in read(payloads):
        known = given >= 0
        image = torch.cat([image, more[known]])
        label, key = torch.cat([label, given[known]]), torch.cat([key, fold_key(more[known])])
        order = smallest(key, count)
        image, label, key = image[order], label[order], key[order]
    return image, label, key


def fold_key(image: Tensor) -> Tensor:
    """Content key [B] of pictures [B, 3, 32, 32]; a picture and its mirror image, which is looked at too, have one."""
    return torch.minimum(content_key(image), content_key(image.flip(3)))


@dataclass(frozen=True, eq=False)
class Folds:
    """In which fold a picture is: by its content key, except for some.

    number  of folds
    key     [H] int64, the content keys of the exceptions, ascending
    fold    [H] int64, theirs
    """

    number: int
    key: Tensor
    fold: Tensor

    def of(self, key: Tensor) -> Tensor:
        """Fold [B] of the pictures with these content keys [B]."""
        plain = key % self.number
        if not len(self.key):
            return plain
        at = torch.searchsorted(self.key, key).clamp_max(len(self.key) - 1)
        return torch.where(self.key[at] == key, self.fold[at], plain)


def assigned(payloads: Iterable[Payload], together: Tensor, number: int) -> Folds:
    """The folds in which rows with one number in `together` [N] are in one; -1 says nothing of a row."""
    key, fold = torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    if bool((together >= 0).any()):
        for row, _, image in read(payloads):
            group = together[row]
            inside = group >= 0
            key, fold = torch.cat([key, fold_key(image[inside])]), torch.cat([fold, group[inside] % number])
    key, order = key.sort(stable=True)
    first = torch.ones_like(key, dtype=torch.bool)
    first[1:] = key[1:] != key[:-1]
    return Folds(number, key[first], fold[order][first])


def views(image: Tensor, *, mirrored: bool) -> list[Tensor]:
    """The pictures [B, 3, 32, 32], and their mirror images where they are wanted."""
    return [image, image.flip(3)] if mirrored else [image]


def dictionary(image: Tensor, *, filters: int, size: int, seed: int, patches: int = 40_000) -> Tensor:
    """Filters [F, 3, size, size]: random patches of `image` [S, 3, 32, 32] uint8, whitened, of unit length."""
    draw = torch.Generator().manual_seed(seed)
    at = torch.randint(len(image), (patches,), generator=draw)
    top, left = torch.randint(SIDE - size + 1, (2, patches), generator=draw)
    step = torch.arange(size)
    cut = image[at[:, None, None], :, (top[:, None] + step)[:, :, None], (left[:, None] + step)[:, None, :]]
    patch = cut.permute(0, 3, 1, 2).flatten(1).double() / 255  # [P, 3 * size * size]
    patch = patch - patch.mean(1, keepdim=True)
    patch = patch * (patch.var(1, keepdim=True) + QUIET).rsqrt()
    value, vector = torch.linalg.eigh(torch.cov(patch.T))
    whitener = (vector * (value.clamp_min(0) + SMOOTH).rsqrt()) @ vector.T
    chosen = patch[torch.randperm(patches, generator=draw)[:filters]] - patch.mean(0)
    filter_ = normalize(chosen @ whitener, dim=1) @ whitener
    filter_ = filter_ - filter_.mean(1, keepdim=True)  # a response is free of the place's brightness
    bank: Tensor = filter_.float().view(-1, 3, size, size).contiguous(memory_format=torch.channels_last)
    return bank


@cache
def quadrants(side: int) -> Tensor:
    """The mean over each quadrant as a matrix [4, side * side]."""
    place = torch.eye(side * side).view(-1, 1, side, side)
    return adaptive_avg_pool2d(place, 2).flatten(1).T.contiguous()


def responses(image: Tensor, bank: Tensor) -> Tensor:
    """Responses [B, 2 * 4 * F] of `image` [B, 3, 32, 32] uint8: signed and absolute, of each quadrant and filter."""
    filters, size, side = len(bank), bank.shape[-1], SIDE - bank.shape[-1] + 1
    pool = quadrants(side).to(image.device)
    out = []
    for part in torch.split(image, CHUNK):
        value = (part.float() / 255).contiguous(memory_format=torch.channels_last)
        mean = avg_pool2d(value.mean(1, keepdim=True), size, 1)
        square = avg_pool2d(value.square().mean(1, keepdim=True), size, 1)
        numbers = 3 * size * size
        gain = ((square - mean.square()).clamp_min(0) * (numbers / (numbers - 1)) + QUIET).rsqrt()
        flat = conv2d(value, bank).permute(0, 2, 3, 1).reshape(len(part), side * side, filters)
        shrunk = softshrink(flat.mul_(gain.view(len(part), side * side, 1)), SHRINK)
        out.append(torch.cat([pool @ shrunk, pool @ shrunk.abs_()], 1).flatten(1))
    return torch.cat(out) if out else torch.zeros(0, filters * 2 * QUADRANTS, device=image.device)


@dataclass(frozen=True, eq=False)
class PatchEncoder:
    """The filters and the classifiers; a row is put into its fold again by content."""

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
        found = [responses(view, self.bank) for view in views(image, mirrored=self.settings.mirrored)]
        signed, strength = found[0].view(len(image), 2, QUADRANTS, -1).mean(2).unbind(1)  # [B, F] each
        whole = torch.cat([signed, (strength + FAINT).log()], 1)
        logit = torch.einsum("bd,fdk->bfk", torch.stack(found).mean(0), self.weight) + self.offset
        return whole, logit

    @torch.inference_mode()
    def embed(self, payload: Payload) -> Batch:
        row, label, image = next(read([payload]))
        if not len(row):
            return Batch(row, label, torch.zeros(0, self.dim), torch.zeros(0, self.classes))
        fold = self.folds.of(fold_key(image))
        vectors, probs = [], []
        for part, own in zip(torch.split(image, 32 * CHUNK), torch.split(fold, 32 * CHUNK), strict=True):
            whole, logit = self.logits(part.to(self.device))
            vectors.append(whole.cpu())
            probs.append((self.scale * logit.cpu()[torch.arange(len(own)), own]).softmax(1))
        return Batch(row, label, torch.cat(vectors).clone(), torch.cat(probs).clone())
