"""Distributions as fixed-bin histograms: mergeable in any order of rows, of constant size."""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 2048
# Bins have equal width in asinh(8 x): 0.0009 around 0, 0.7 % of the value far out, up to 120 on either side.
STRETCH = 8.0
REACH = 7.56


def bin_of(value: Tensor) -> Tensor:
    """Bin index (int64) of each value; values out of range fall into the outermost bins."""
    position = (torch.asinh(STRETCH * value.double()) / REACH + 1) * (BINS / 2)
    return position.floor().clamp(0, BINS - 1).long()


def centres(device: torch.device | None = None) -> Tensor:
    """The value at the centre of each bin [BINS] float64."""
    middle = (torch.arange(BINS, dtype=torch.float64, device=device) + 0.5) / (BINS / 2) - 1
    return torch.sinh(REACH * middle) / STRETCH


def histogram(value: Tensor, group: Tensor, groups: int) -> Tensor:
    """Counts [groups, BINS] int64 of `value` by `group`, tensors of the same shape; negative groups are left out."""
    inside = group >= 0
    index = group[inside] * BINS + bin_of(value[inside])
    return torch.bincount(index, minlength=groups * BINS).view(groups, BINS)


def quantile(count: Tensor, at: Tensor | float) -> Tensor:
    """The quantile `at` of each histogram `count` [..., BINS]; 0 when it is empty."""
    total = count.sum(-1, keepdim=True).double()
    wanted = torch.as_tensor(at, dtype=torch.float64, device=count.device).expand(count.shape[:-1])[..., None] * total
    below = count.cumsum(-1).double()
    index = torch.searchsorted(below, wanted).clamp(max=BINS - 1)
    found = centres(count.device)[index.squeeze(-1)]
    return torch.where(total.squeeze(-1) > 0, found, torch.zeros_like(found))


def robust_scale(count: Tensor) -> tuple[Tensor, Tensor]:
    """Median and normalised median absolute deviation [...] of each histogram `count` [..., BINS].

    The deviation is at least one bin's width, so that the scale of a constant column is not 0.
    """
    median = quantile(count, 0.5)
    distance = (centres(count.device) - median[..., None]).abs()  # [..., BINS]
    order = distance.argsort(-1)
    below = count.gather(-1, order).cumsum(-1).double()
    index = torch.searchsorted(below, 0.5 * below[..., -1:]).clamp(max=BINS - 1)
    deviation = distance.gather(-1, order.gather(-1, index)).squeeze(-1)
    return median, 1.4826 * deviation.clamp_min(REACH / BINS / STRETCH)


def tail(count: Tensor) -> Tensor:
    """Number of rows in each bin or above it, [..., BINS] int64."""
    return count.flip(-1).cumsum(-1).flip(-1)


def moved(count: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
    """Each histogram [..., BINS] after the map x -> offset + factor * x of its values (both [...])."""
    image = offset[..., None] + factor[..., None] * centres(count.device)  # [..., BINS]
    return torch.zeros_like(count).scatter_add_(-1, bin_of(image), count)
