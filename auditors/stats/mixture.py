"""Two-component reading of a distribution: which part of it the null does not explain."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv1d


def posterior(observed: Tensor, expected: Tensor, *, width: float = 24.0) -> Tensor:
    """1 - local false discovery rate [..., BINS] at each bin: 1 - expected / observed density, never falling.

    `observed` [..., BINS] are counts, `expected` [..., BINS] the counts that an innocent group of the same size
    would show. Both are smoothed by a Gaussian of `width` bins. Source: Efron (2008), section 2.
    """
    seen, null = _smooth(observed.double(), width), _smooth(expected.double(), width)
    share = 1 - (null / seen.clamp_min(1e-12)).clamp(0, 1)
    share = torch.where(seen > 1e-6, share, torch.ones_like(share))
    # Once the null explains a bin, it explains everything less extreme.
    return torch.cummin(share.flip(-1), -1).values.flip(-1)


def _smooth(count: Tensor, width: float) -> Tensor:
    reach = int(4 * width)
    offset = torch.arange(-reach, reach + 1, dtype=torch.float64, device=count.device)
    kernel = torch.exp(-0.5 * (offset / width) ** 2)
    flat = count.reshape(-1, 1, count.shape[-1])
    return conv1d(flat, (kernel / kernel.sum())[None, None], padding=reach).view(count.shape)
