"""From statistics to p-values, and from p-values to discoveries."""

from __future__ import annotations

import math

import torch
from torch import Tensor

GUMBEL_MEDIAN = -math.log(math.log(2))
GUMBEL_UPPER = -math.log(-math.log(0.75))


def gumbel_tail(statistic: Tensor, reference: Tensor, *, least_scale: float) -> Tensor:
    """P(maximum >= statistic) under the Gumbel law that fits the median and upper quartile of `reference` [N].

    Statistics that are maxima of many nearly alike quantities follow it (Fisher & Tippett 1928). Median and
    quartile do not move when a few of the reference values are themselves poisoned. `least_scale` is how far apart
    innocent groups are taken to lie at least.
    """
    median, upper = torch.quantile(reference.double(), torch.tensor([0.5, 0.75], dtype=torch.float64))
    scale = max(float(upper - median) / (GUMBEL_UPPER - GUMBEL_MEDIAN), least_scale)
    place = float(median) - GUMBEL_MEDIAN * scale
    return -torch.expm1(-torch.exp(-(statistic.double() - place) / scale))


def benjamini_hochberg(p_value: Tensor) -> Tensor:
    """Adjusted p-values [N]: rejecting those <= q keeps the false discovery rate <= q (Benjamini & Hochberg 1995)."""
    count = len(p_value)
    order = p_value.argsort(descending=True)
    rank = torch.arange(count, 0, -1, dtype=torch.float64, device=p_value.device)
    adjusted = torch.cummin(p_value[order].double() * count / rank, 0).values if count else p_value.double()
    return torch.empty_like(adjusted).scatter_(0, order, adjusted).clamp(max=1.0)


def binomial_tail(hits: Tensor, trials: Tensor, rate: Tensor) -> Tensor:
    """P(Binomial(trials, rate) >= hits), elementwise, through the Gaussian tail of the arcsine-transformed proportion.

    Source: Freeman & Tukey (1950). Good to a factor of two down to 1e-12 when trials * rate >= 1.
    """
    share = (hits.double() - 0.5).clamp_min(0) / trials.clamp_min(1).double()
    gap = 2 * trials.double().sqrt() * (share.clamp(0, 1).sqrt().asin() - rate.double().clamp(0, 1).sqrt().asin())
    return 0.5 * torch.erfc(gap / math.sqrt(2))
