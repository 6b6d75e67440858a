"""The proportion of mislabelled rows in a group, estimated from a reference set of rows of other classes.

Each row's score is its normal score among the reference set. Rows that truly belong to the other classes ("foreign")
are then standard normal by construction; correctly labelled ("native") rows are modelled as normal with a higher mean
and at least unit variance (the binormal model, Dorfman & Alf 1969). The share of foreign rows is the proportion of a
known component in a mixture (Blanchard, Lee & Scott, JMLR 2010).
"""

from __future__ import annotations

from typing import NamedTuple

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


class Binormal(NamedTuple):
    """share * N(0, 1) + (1 - share) * N(mean, spread^2) for each of G groups; all [G] float64.

    share   of foreign rows
    mean    score of the native rows, at least 0
    spread  standard deviation of their scores, at least 1
    gain    log-likelihood ratio of the mixture to a single normal distribution
    """

    share: Tensor
    mean: Tensor
    spread: Tensor
    gain: Tensor

    def odds(self, normal: Tensor) -> Tensor:
        """Posterior probability [G, BINS] that a row with this normal score is foreign; scores descend along the bins.

        A wide distribution of native rows would exceed that of foreign ones again far below 0; such rows look even less
        like their class, so the probability never falls.
        """
        foreign, native = self.logs(normal)
        return torch.sigmoid(foreign - native).cummax(-1).values

    def logs(self, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Log densities [G, BINS] of both components, times their shares."""
        share = self.share.clamp(1e-300, 1 - 1e-16)[:, None]
        return share.log() - normal**2 / 2, (1 - share).log() + gaussian(normal, self.mean, self.spread)


def mixed(normal: Tensor, own: Tensor, *, fewest: int) -> Binormal:
    """Maximum likelihood fit of the mixture, by EM, and its gain over a single normal distribution.

    normal [G, BINS] are the bins' normal scores, own [G, BINS] the group's row counts. Share and gain are 0 for groups
    of under `fewest` rows.

    The alternative to a share of foreign rows is a class whose rows the classifier knows better or worse by degrees:
    scores with a wide distribution, but with a single mode.
    """
    weight = own.double()
    one = torch.ones_like(weight[:, 0])
    mean, spread = moments(normal, weight)
    gain = -(weight * gaussian(normal, mean, spread)).sum(-1)
    fit = Binormal(START * one, mean.clamp_min(0), one, gain)
    for _ in range(STEPS):
        foreign = weight * fit.odds(normal)
        mean, spread = moments(normal, weight - foreign)
        # Native rows cannot look less like their class than foreign rows do.
        fit = Binormal(foreign.sum(-1) / weight.sum(-1).clamp_min(1), mean.clamp_min(0), spread, gain)
    gain = (gain + (weight * torch.logaddexp(*fit.logs(normal))).sum(-1)).clamp_min(0)
    enough = own.sum(-1) >= fewest
    return fit._replace(share=torch.where(enough, fit.share, 0.0), gain=torch.where(enough, gain, 0.0))


def moments(normal: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation [G] of scores [G, BINS]; the latter at least 1, as of foreign rows."""
    rows = weight.sum(-1).clamp_min(1e-9)
    mean = (weight * normal).sum(-1) / rows
    variance = (weight * (normal - mean[:, None]) ** 2).sum(-1) / rows
    return mean, variance.sqrt().clamp_min(1)


def gaussian(normal: Tensor, mean: Tensor, spread: Tensor) -> Tensor:
    """Log density [G, BINS] of a normal distribution, without the constant."""
    return -(((normal - mean[:, None]) / spread[:, None]) ** 2) / 2 - spread.log()[:, None]
