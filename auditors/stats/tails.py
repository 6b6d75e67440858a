"""One side of a distribution held against others: does it reach farther out, and which of its rows do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from foretaste.stats import mixture, quantiles

# The quartile of a Gaussian lies at 0.67 deviations; a null below that is an artefact of a lumpy distribution.
QUARTILE = 0.67


class Side(NamedTuple):
    """One side of every direction, the suspicious one to the right; values are in units of the projection."""

    median: Tensor  # [..., r]
    scale: Tensor  # [..., r]
    excess: Tensor  # [..., r], log of how much farther out the group reaches than its nulls
    p_row: Tensor  # [..., r, BINS], probability of lying so far out in an innocent group
    own: Tensor  # [..., r, BINS], rows of the group
    expected: Tensor  # [..., r, BINS], rows that an innocent group of this size would have

    @property
    def posterior(self) -> Tensor:
        """That a row in this bin is no innocent one, [..., r, BINS]. Costs a millisecond for each direction."""
        return mixture.posterior(self.own, self.expected)


def side(own: Tensor, nulls: Sequence[Tensor], *, median: Tensor, scale: Tensor, fewest: int, most: float) -> Side:
    """Hold the upper tails of the histograms `own` [..., r, BINS] against those of every null, in `own`'s units.

    `median` and `scale` [..., r] say where innocent rows lie. The m-th most extreme rows are compared for m =
    `fewest`, 2 * `fewest`, ... up to the share `most` of the rows: how many rows are planted is not known.
    """
    rows = own.sum(-1).double()  # [..., r]
    excess = torch.zeros_like(median)
    count = fewest
    while count <= float(rows.max()) * most:
        # Half a row less, so that the m-th most extreme row itself is meant and not the one behind it.
        at = 1 - (count - 0.5) / rows.clamp_min(count)
        out = (quantiles.quantile(own, at) - median) / scale
        null = torch.stack([(quantiles.quantile(one, at) - median) / scale for one in nulls]).amax(0)
        ratio = (out.clamp_min(QUARTILE) / null.clamp_min(QUARTILE)).log()
        excess = torch.where(rows * most >= count, torch.maximum(excess, ratio), excess)
        count *= 2
    share = [quantiles.tail(one) / one.sum(-1, keepdim=True).clamp_min(1).double() for one in nulls]
    null_tail = torch.stack(share).amax(0)  # [..., r, BINS]
    density = null_tail - torch.nn.functional.pad(null_tail[..., 1:], (0, 1))
    expected = density * rows[..., None]
    seen = torch.stack([one.sum(-1, keepdim=True) for one in nulls]).amax(0)
    return Side(
        median,
        scale,
        excess,
        null_tail.clamp_min(1 / (2 * seen + 2).double()),
        own,
        expected,
    )


def chosen(sides: Sequence[Side]) -> tuple[Side, Tensor]:
    """Of the (right, left) sides the one that reaches farther out, and where that is the right one [..., r]."""
    right, left = sides
    first = right.excess >= left.excess
    picked = [
        torch.where(first if a.ndim == first.ndim else first[..., None], a, b) for a, b in zip(right, left, strict=True)
    ]
    return Side(*picked), first
