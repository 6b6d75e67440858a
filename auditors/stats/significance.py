"""P-values of statistics, combination of p-values, and false discovery rates."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def extreme_value_tail(
    statistic: Tensor, reference: Tensor, *, least_scale: float, weight: float = 0.0, shape: float = 0.0
) -> Tensor:
    """Upper tail probability of `statistic` under the extreme value law fitted to `reference` [N].

    Maxima of many similar variables follow it (Fisher & Tippett 1928); see `extreme_value_fit`.
    """
    location, scale = extreme_value_fit(reference, least_scale=least_scale, weight=weight, shape=shape)
    z = (statistic.double() - location) / scale
    far = z if shape == 0 else torch.log1p((shape * z).clamp_min(-1)) / shape
    return -torch.expm1(-torch.exp(-far))


def extreme_value_fit(
    reference: Tensor, *, least_scale: float, weight: float = 0.0, shape: float = 0.0
) -> tuple[float, float]:
    """Location and scale of the extreme value law, from the median and upper quartile of `reference` [N].

    A shape of 0 is a Gumbel law, a positive one a Frechet law, whose tail is that of a power -1 / shape (Jenkinson
    1955). Both quantiles are robust to a few poisoned reference values. The squared scale is averaged with that of a
    prior guess, `least_scale`, which counts as much as `weight` reference values, and `least_scale` is also its lower
    bound: the quartile of few values estimates their spread badly.
    """
    at = torch.tensor([0.5, 0.75], dtype=torch.float64, device=reference.device)
    median, upper = torch.quantile(reference.double(), at)
    middle, quartile = (extreme_value_quantile(float(one), shape) for one in at)
    seen = float(upper - median) / (quartile - middle)
    pooled = (len(reference) * seen**2 + weight * least_scale**2) / (len(reference) + weight)
    scale = max(pooled**0.5, least_scale)
    return float(median) - middle * scale, scale


def extreme_value_quantile(share: float, shape: float) -> float:
    """Quantile of the extreme value law with location 0 and scale 1."""
    far = -math.log(-math.log(share))
    return far if shape == 0 else math.expm1(shape * far) / shape


def extreme_value_maximum(location: float, scale: float, shape: float, count: int) -> tuple[float, float]:
    """Location and scale of the maximum of `count` independent values; its shape is the same."""
    if shape == 0:
        return location + scale * math.log(count), scale
    return location + scale * math.expm1(shape * math.log(count)) / shape, scale * count**shape


def benjamini_hochberg(p_value: Tensor) -> Tensor:
    """Adjusted p-values [N]: rejecting those <= q keeps the false discovery rate <= q (Benjamini & Hochberg 1995)."""
    count = len(p_value)
    order = p_value.argsort(descending=True)
    rank = torch.arange(count, 0, -1, dtype=torch.float64, device=p_value.device)
    adjusted = torch.cummin(p_value[order].double() * count / rank, 0).values if count else p_value.double()
    return torch.empty_like(adjusted).scatter_(0, order, adjusted).clamp(max=1.0)


def simes(p_value: Tensor) -> Tensor:
    """P-value [...] of the intersection of N hypotheses [..., N], also under positive dependence (Simes 1986)."""
    count = p_value.shape[-1]
    rank = torch.arange(1, count + 1, device=p_value.device)
    return (p_value.double().sort(-1).values * count / rank).amin(-1).clamp(max=1.0)


def fisher(first: Tensor, second: Tensor) -> Tensor:
    """Combined p-value of two independent tests, elementwise (Fisher 1932)."""
    product = (first.double() * second.double()).clamp_min(1e-300)
    return product * (1 - product.log())


def first_or_both(first: Tensor, second: Tensor) -> Tensor:
    """Combined p-value, elementwise: the smaller of `first` and Fisher's combination of both, times 2 (Bonferroni)."""
    return (2 * torch.minimum(first.double(), fisher(first, second))).clamp(max=1.0)


def predictive_tail(
    excess: Tensor, *, total: Tensor | float, count: Tensor | float, prior_total: float, prior_count: float
) -> Tensor:
    """Posterior predictive P(a new value >= `excess`) of an exponential distribution, elementwise.

    The rate is estimated from `count` values that sum to `total`, under a Gamma prior worth `prior_count` values that
    sum to `prior_total`; the predictive distribution is then Lomax. With values log(x / threshold) this is the tail of
    a power law in x (Hill 1975).
    """
    whole = torch.as_tensor(total, dtype=torch.float64, device=excess.device) + prior_total
    number = torch.as_tensor(count, dtype=torch.float64, device=excess.device) + prior_count
    return (1 + excess.double() / whole) ** -number


def hypergeometric_tail(hits: int, drawn: int, marked: int, whole: int) -> float:
    """P(at least `hits` of `drawn` are marked), drawing without replacement from `whole` of which `marked` are.

    The one-sided p-value of Fisher's exact test.
    """
    count = torch.arange(max(hits, drawn + marked - whole, 0), min(drawn, marked) + 1, dtype=torch.float64)
    ways = [_log_choose(marked, count), _log_choose(whole - marked, drawn - count)]
    total = _log_choose(whole, torch.tensor(float(drawn), dtype=torch.float64))
    return float((sum(ways, -total)).logsumexp(0).exp().clamp(0, 1)) if len(count) else 0.0


def _log_choose(whole: int, part: Tensor) -> Tensor:
    size = torch.tensor(float(whole), dtype=torch.float64)
    return torch.lgamma(size + 1) - torch.lgamma(part + 1) - torch.lgamma(size - part + 1)


def binomial_tail(hits: Tensor, trials: Tensor, rate: Tensor) -> Tensor:
    """P(Binomial(trials, rate) >= hits), elementwise, by a normal approximation.

    Source: Peizer & Pratt (1968), equation 1.2. Within a factor of two down to 1e-12.
    """
    below, trials, rate = hits.double() - 1, trials.double(), rate.double()
    over, under = below + 0.5, trials - below - 0.5
    mean, miss, spread = trials * rate, trials * (1 - rate), (trials * rate * (1 - rate)).sqrt()
    gap = over - mean
    shift = 0.02 * ((1 - rate) / (below + 1) - rate / (trials - below) + (0.5 - rate) / (trials + 1))
    information = torch.xlogy(over, over / mean) + torch.xlogy(under, under / miss)
    # Close to the mean the quotient is 0 / 0, so its limit is used.
    unit = torch.where(gap.abs() > 1e-3 * spread, (2 * information).clamp_min(0).sqrt() / gap.abs(), 1 / spread)
    z = (below + 2 / 3 - (trials + 1 / 3) * rate + shift) * unit / (1 + 1 / (6 * trials)).sqrt()
    tail = 0.5 * torch.erfc(z / math.sqrt(2))
    return torch.where(hits <= 0, 1.0, torch.where(hits > trials, 0.0, tail))
