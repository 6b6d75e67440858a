"""Two-component mixture of a null and an unknown alternative: local false discovery rates from histograms."""

from __future__ import annotations

import torch
from torch import Tensor

LIKELIER = 0.5  # posterior from which on a row is assigned to the second (non-null) component
POOLED = 8  # adjacent bins pooled for the density estimate, since single bins hold too few rows


def posterior(observed: Tensor, expected: Tensor) -> Tensor:
    """1 - local false discovery rate of each bin [..., BINS]: 1 - null density / observed density, non-decreasing.

    `observed` [..., BINS] are counts, `expected` [..., BINS] the counts under the null for a group of the same size.
    The ratio is fitted by isotonic regression, which needs no bandwidth, by its min-max formula (Barlow et al. 1972);
    the local false discovery rate is Efron's (2008, section 2).
    """
    shape = observed.shape
    seen, null = _pooled(observed), _pooled(expected)  # [N, bins]
    share = torch.stack([_isotonic(*counts) for counts in zip(seen, null, strict=True)])
    return share.repeat_interleave(POOLED, 1).view(shape)


def _pooled(count: Tensor) -> Tensor:
    return count.reshape(-1, count.shape[-1] // POOLED, POOLED).double().sum(-1)


def _isotonic(seen: Tensor, null: Tensor) -> Tensor:
    """For each bin x, max over a <= x of min over b >= x of 1 - null / seen, both summed over bins a to b; [bins]."""
    cumulated = torch.nn.functional.pad(seen.cumsum(0), (1, 0)), torch.nn.functional.pad(null.cumsum(0), (1, 0))
    total, chance = (sums[1:][None, :] - sums[:-1][:, None] for sums in cumulated)  # [a, b]
    # An interval with neither observed nor null mass is no evidence for the null; one with null mass only is all null.
    share = torch.where(total > 0, 1 - chance / total.clamp_min(1e-12), torch.where(chance > 1e-9, -torch.inf, 1.0))
    later = torch.cummin(share.triu().masked_fill(_below(share), torch.inf).flip(1), 1).values.flip(1)
    best = torch.cummax(later.masked_fill(_below(share), -torch.inf), 0).values.diagonal()
    return best.clamp(0, 1)


def _below(square: Tensor) -> Tensor:
    return torch.ones_like(square, dtype=torch.bool).tril(-1)
