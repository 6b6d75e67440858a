"""The proportion of mislabelled rows in a group, estimated from a reference set of rows of other classes.

Each row's score is its normal score among the reference set. Rows that truly belong to the other classes ("foreign")
are then standard normal by construction; correctly labelled ("native") rows are modelled as normal with unit variance
and a higher mean (the binormal model, Dorfman & Alf 1969). The share of foreign rows is the proportion of a known
component in a mixture (Blanchard, Lee & Scott, JMLR 2010).
"""

from __future__ import annotations

import torch
from torch import Tensor

START = 0.05  # initial share of foreign rows
STEPS = 100  # EM iterations; by then the estimates have converged


def normal_scores(others: Tensor) -> Tensor:
    """The normal score [G, BINS] of each histogram bin within the reference set (van der Waerden 1952)."""
    count = others.double()
    more_doubted = count.flip(-1).cumsum(-1).flip(-1) - count  # [G, BINS]
    score: Tensor = torch.special.ndtri((more_doubted + 0.5 * count + 0.5) / (count.sum(-1, keepdim=True) + 1))
    return score


def mixed(normal: Tensor, own: Tensor, *, fewest: int) -> tuple[Tensor, Tensor, Tensor]:
    """Maximum likelihood fit of share * N(0, 1) + (1 - share) * N(mean, 1), by EM.

    normal [G, BINS] are the bins' normal scores, own [G, BINS] the group's row counts. Returns share, mean and the
    log-likelihood ratio against share = 0, all [G] float64; share and ratio are 0 for groups of under `fewest` rows.
    """
    weight = own.double()
    rows = weight.sum(-1).clamp_min(1)
    whole = (weight * normal).sum(-1) / rows
    share, mean = torch.full_like(whole, START), whole.clamp_min(0)
    for _ in range(STEPS):
        foreign = weight * odds(normal, share, mean)
        share = foreign.sum(-1) / rows
        native = weight - foreign
        # Native rows cannot look less like their class than foreign rows do.
        mean = ((native * normal).sum(-1) / native.sum(-1).clamp_min(1e-9)).clamp_min(0)
    with_share = torch.logaddexp(
        share.clamp_min(1e-300).log()[:, None] - normal**2 / 2,
        (1 - share).clamp_min(1e-300).log()[:, None] - (normal - mean[:, None]) ** 2 / 2,
    )
    without = -((normal - whole[:, None]) ** 2) / 2
    gain = (weight * (with_share - without)).sum(-1).clamp_min(0)
    enough = own.sum(-1) >= fewest
    return torch.where(enough, share, 0.0), mean, torch.where(enough, gain, 0.0)


def odds(normal: Tensor, share: Tensor, mean: Tensor) -> Tensor:
    """Posterior probability [G, BINS] that a row with this normal score is foreign."""
    for_native = (1 - share).clamp_min(1e-300).log()[:, None] - (normal - mean[:, None]) ** 2 / 2
    return torch.sigmoid(share.clamp_min(1e-300).log()[:, None] - normal**2 / 2 - for_native)
