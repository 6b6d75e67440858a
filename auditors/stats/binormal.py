"""The share of foreign rows in a group, when what foreign rows look like is known.

Rank every row of a group among rows that are foreign for certain: those that are foreign in truth have standard
normal scores by construction, the others are taken to have higher ones, normal with unit variance (the binormal model,
Dorfman & Alf 1969). The share of the first kind is the proportion of a known component in a mixture (Blanchard, Lee &
Scott, JMLR 2010).
"""

from __future__ import annotations

import torch
from torch import Tensor

START = 0.05  # share that the maximisation starts from
STEPS = 100  # of it, after which nothing moves


def normal_scores(others: Tensor) -> Tensor:
    """The normal score [G, BINS] of a row in each bin among foreign rows (van der Waerden 1952)."""
    count = others.double()
    more_doubted = count.flip(-1).cumsum(-1).flip(-1) - count  # [G, BINS]
    score: Tensor = torch.special.ndtri((more_doubted + 0.5 * count + 0.5) / (count.sum(-1, keepdim=True) + 1))
    return score


def mixed(normal: Tensor, own: Tensor, *, fewest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maximum likelihood of share * N(0, 1) + (1 - share) * N(place, 1), by expectation and maximisation.

    normal [G, BINS] are scores, own [G, BINS] how many rows have them. Returns share, place and the gain in
    log-likelihood over a share of nought, all [G] float64; nought where a group has fewer than `fewest` rows.
    """
    weight = own.double()
    rows = weight.sum(-1).clamp_min(1)
    whole = (weight * normal).sum(-1) / rows
    share, place = torch.full_like(whole, START), whole.clamp_min(0)
    for _ in range(STEPS):
        foreign = weight * odds(normal, share, place)
        share = foreign.sum(-1) / rows
        native = weight - foreign
        # A group cannot look less like itself than the foreign rows do.
        place = ((native * normal).sum(-1) / native.sum(-1).clamp_min(1e-9)).clamp_min(0)
    with_share = torch.logaddexp(
        share.clamp_min(1e-300).log()[:, None] - normal**2 / 2,
        (1 - share).clamp_min(1e-300).log()[:, None] - (normal - place[:, None]) ** 2 / 2,
    )
    without = -((normal - whole[:, None]) ** 2) / 2
    gain = (weight * (with_share - without)).sum(-1).clamp_min(0)
    enough = own.sum(-1) >= fewest
    return torch.where(enough, share, 0.0), place, torch.where(enough, gain, 0.0)


def odds(normal: Tensor, share: Tensor, place: Tensor) -> Tensor:
    """Posterior probability [G, BINS] that a row with this score is foreign."""
    for_native = (1 - share).clamp_min(1e-300).log()[:, None] - (normal - place[:, None]) ** 2 / 2
    return torch.sigmoid(share.clamp_min(1e-300).log()[:, None] - normal**2 / 2 - for_native)
