"""Convolutional features whose filters are random patches of the dataset's own pictures.

Coates & Ng, "Learning Feature Representations with K-means" (2012): random patches, whitened, soft thresholding,
average pooling over quadrants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d, normalize, softshrink

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.stats.sampling import content_key, smallest

SIDE = 32  # pixels, to which pictures are resized
CHUNK = 16  # pictures at once: their filter responses must fit into the CPU's cache
QUADRANTS = 4


@dataclass(frozen=True)
class PatchBank:
    """How filters are made from random patches, and how responses to them are computed.

    drawn    pictures from which patches are cut, at most
    patches  random patches from whose covariance the whitening is estimated
    quiet    added to each patch's variance (pixels in [0, 1]), so that constant patches are not amplified to noise
    smooth   added to each eigenvalue of the normalised patches' covariance before whitening
    shrink   soft threshold: filter responses of smaller magnitude become 0
    faint    added to mean absolute responses before their logarithm is taken
    """

    drawn: int = threshold(4096, "not tuned")
    patches: int = threshold(40_000, "not tuned")
    quiet: float = threshold(10 / 255**2, "Coates & Ng (2012): 10 for pixels in [0, 255]")
    smooth: float = threshold(0.1, "Coates & Ng (2012)")
    shrink: float = threshold(0.25, "Coates & Ng (2012)")
    faint: float = threshold(0.01, "not tuned")


def read(payloads: Iterable[Payload]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Row [B], label [B] and picture [B, 3, 32, 32] uint8 of the readable rows."""
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
    """Content key [B] of pictures [B, 3, 32, 32], equal for mirror images, so that both fall into the same fold."""
    return torch.minimum(content_key(image), content_key(image.flip(3)))


def dictionary(image: Tensor, settings: PatchBank, *, filters: int, size: int, seed: int) -> Tensor:
    """Filters [F, 3, size, size]: whitened random patches of `image` [S, 3, 32, 32] uint8, of unit length."""
    draw, patches = torch.Generator().manual_seed(seed), settings.patches
    at = torch.randint(len(image), (patches,), generator=draw)
    top, left = torch.randint(SIDE - size + 1, (2, patches), generator=draw)
    step = torch.arange(size)
    cut = image[at[:, None, None], :, (top[:, None] + step)[:, :, None], (left[:, None] + step)[:, None, :]]
    patch = cut.permute(0, 3, 1, 2).flatten(1).double() / 255  # [P, 3 * size * size]
    patch = patch - patch.mean(1, keepdim=True)
    patch = patch * (patch.var(1, keepdim=True) + settings.quiet).rsqrt()
    value, vector = torch.linalg.eigh(torch.cov(patch.T))
    whitener = (vector * (value.clamp_min(0) + settings.smooth).rsqrt()) @ vector.T
    chosen = patch[torch.randperm(patches, generator=draw)[:filters]] - patch.mean(0)
    filter_ = normalize(chosen @ whitener, dim=1) @ whitener
    filter_ = filter_ - filter_.mean(1, keepdim=True)  # makes responses invariant to local brightness
    bank: Tensor = filter_.float().view(-1, 3, size, size).contiguous(memory_format=torch.channels_last)
    return bank


@cache
def quadrants(side: int) -> Tensor:
    """Average pooling over quadrants as a matrix [4, side * side]."""
    unit = torch.eye(side * side).view(-1, 1, side, side)
    return adaptive_avg_pool2d(unit, 2).flatten(1).T.contiguous()


def responses(image: Tensor, bank: Tensor, settings: PatchBank) -> Tensor:
    """Responses [B, 2 * 4 * F] of `image` [B, 3, 32, 32] uint8: signed and absolute, by quadrant and filter."""
    filters, size, side = len(bank), bank.shape[-1], SIDE - bank.shape[-1] + 1
    pool = quadrants(side).to(image.device)
    out = []
    for part in torch.split(image, CHUNK):
        value = (part.float() / 255).contiguous(memory_format=torch.channels_last)
        mean = avg_pool2d(value.mean(1, keepdim=True), size, 1)
        square = avg_pool2d(value.square().mean(1, keepdim=True), size, 1)
        numbers = 3 * size * size
        gain = ((square - mean.square()).clamp_min(0) * (numbers / (numbers - 1)) + settings.quiet).rsqrt()
        flat = conv2d(value, bank).permute(0, 2, 3, 1).reshape(len(part), side * side, filters)
        shrunk = softshrink(flat.mul_(gain.view(len(part), side * side, 1)), settings.shrink)
        out.append(torch.cat([pool @ shrunk, pool @ shrunk.abs_()], 1).flatten(1))
    return torch.cat(out) if out else torch.zeros(0, filters * 2 * QUADRANTS, device=image.device)


def whole(response: Tensor, faint: float) -> Tensor:
    """Responses pooled over the whole picture [B, 2 * F]: signed means, then logs of absolute means."""
    filters = response.shape[1] // (2 * QUADRANTS)
    signed, strength = response.view(-1, 2, QUADRANTS, filters).mean(2).unbind(1)  # [B, F] each
    return torch.cat([signed, (strength + faint).log()], 1)
