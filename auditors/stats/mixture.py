"""Two-component reading of a distribution: which part of it the null does not explain."""

from __future__ import annotations

import torch
from torch import Tensor

LIKELIER = 0.5  # a row is of the second component from this posterior on
POOLED = 8  # neighbouring bins counted as one: a bin of its own holds too few rows for a density


def posterior(observed: Tensor, expected: Tensor) -> Tensor:
    """1 - local false discovery rate [..., BINS] at each bin: 1 - expected / observed density, never falling.

    `observed` [..., BINS] are counts, `expected` [..., BINS] the counts that an innocent group of the same size
    would show. The ratio is fitted by isotonic regression, which needs no bandwidth, by its min-max formula
    (Barlow et al. 1972); the local false discovery rate is Efron's (2008, section 2).
    """
    shape = observed.shape
    seen, null = _pooled(observed), _pooled(expected)  # [N, bins]
    share = torch.stack([_isotonic(one, other) for one, other in zip(seen, null, strict=True)])
    return share.repeat_interleave(POOLED, 1).view(shape)


def _pooled(count: Tensor) -> Tensor:
    return count.reshape(-1, count.shape[-1] // POOLED, POOLED).double().sum(-1)


def _isotonic(seen: Tensor, null: Tensor) -> Tensor:
    """max over a <= x of min over b >= x of 1 - null / seen, both summed over the bins a to b; [bins]."""
    ahead = torch.nn.functional.pad(seen.cumsum(0), (1, 0)), torch.nn.functional.pad(null.cumsum(0), (1, 0))
    total, chance = (one[1:][None, :] - one[:-1][:, None] for one in ahead)  # [a, b]
    # Where neither shows anything nothing speaks for innocence; where only the null does, everything.
    share = torch.where(total > 0, 1 - chance / total.clamp_min(1e-12), torch.where(chance > 1e-9, -torch.inf, 1.0))
    later = torch.cummin(share.triu().masked_fill(_below(share), torch.inf).flip(1), 1).values.flip(1)
    best = torch.cummax(later.masked_fill(_below(share), -torch.inf), 0).values.diagonal()
    return best.clamp(0, 1)


def _below(square: Tensor) -> Tensor:
    return torch.ones_like(square, dtype=torch.bool).tril(-1)
