"""Comparison of a distribution's upper tail with those of null distributions: how heavy it is, and by which rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foretaste.stats import mixture, quantiles

# Quartile of the standard normal: an extreme quantile of a null below it is an artefact of a discrete distribution.
QUARTILE = 0.67


class Side(NamedTuple):
    """The upper tail of a group along every direction, and its nulls; values are in units of the projection."""

    median: Tensor  # [..., r]
    scale: Tensor  # [..., r]
    excess: Tensor  # [..., r], largest log ratio of the group's extreme quantiles to those of its nulls
    p_row: Tensor  # [..., r, BINS], upper tail probability of each bin under the heaviest null
    own: Tensor  # [..., r, BINS], rows of the group
    expected: Tensor  # [..., r, BINS], rows of a clean group of the same size

    @property
    def posterior(self) -> Tensor:
        """Posterior that a row of each bin is not from the null [..., r, BINS]; takes a millisecond per direction."""
        return mixture.posterior(self.own, self.expected)


def side(own: Tensor, nulls: Sequence[Tensor], *, median: Tensor, scale: Tensor, fewest: int, most: float) -> Side:
    """Compare the upper tails of the histograms `own` [..., r, BINS] with those of every null, in units of `own`.

    `median` and `scale` [..., r] are those of clean rows. The m-th most extreme row is compared with the same quantile
    of each null, for m = `fewest`, 2 * `fewest`, ... up to the share `most` of the rows, since the number of planted
    rows is unknown.
    """
    rows = own.sum(-1).double()  # [..., r]
    excess = torch.zeros_like(median)
    count = fewest
    while count <= float(rows.max()) * most:
        # Half a row less, so that the quantile is the m-th most extreme row and not its neighbour.
        at = 1 - (count - 0.5) / rows.clamp_min(count)
        out = (quantiles.quantile(own, at) - median) / scale
        farthest = torch.stack([(quantiles.quantile(null, at) - median) / scale for null in nulls]).amax(0)
        ratio = (out.clamp_min(QUARTILE) / farthest.clamp_min(QUARTILE)).log()
        excess = torch.where(rows * most >= count, torch.maximum(excess, ratio), excess)
        count *= 2
    share = [quantiles.tail(null) / null.sum(-1, keepdim=True).clamp_min(1).double() for null in nulls]
    null_tail = torch.stack(share).amax(0)  # [..., r, BINS]
    density = null_tail - torch.nn.functional.pad(null_tail[..., 1:], (0, 1))
    expected = density * rows[..., None]
    seen = torch.stack([null.sum(-1, keepdim=True) for null in nulls]).amax(0)
    return Side(
        median,
        scale,
        excess,
        null_tail.clamp_min(1 / (2 * seen + 2).double()),
        own,
        expected,
    )


def chosen(sides: Sequence[Side]) -> tuple[Side, Tensor]:
    """For each direction the (right, left) tail of larger excess, and whether it is the right one [..., r]."""
    right, left = sides
    first = right.excess >= left.excess
    picked = [
        torch.where(first if of_right.ndim == first.ndim else first[..., None], of_right, of_left)
        for of_right, of_left in zip(right, left, strict=True)
    ]
    return Side(*picked), first
