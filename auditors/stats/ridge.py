"""Ridge regression of class membership in closed form from mergeable sums, and calibration of its probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot


@dataclass(frozen=True)
class Totals:
    """Sufficient statistics of a ridge classifier.

    count  [K] rows of each class
    label  [K, D] sum of the values of each class
    gram   [D, D] Gram matrix of the values
    """

    count: Tensor
    label: Tensor
    gram: Tensor

    @classmethod
    def zero(cls, width: int, classes: int, device: torch.device) -> Totals:
        return cls(
            torch.zeros(classes, device=device, dtype=torch.float64),
            torch.zeros(classes, width, device=device, dtype=torch.float64),
            torch.zeros(width, width, device=device, dtype=torch.float64),
        )

    @classmethod
    def of(cls, value: Tensor, label: Tensor, classes: int) -> Totals:
        member = one_hot(label, classes).double()  # [B, K]
        value = value.double()  # float32 sums lose the variation of nearly constant columns
        return cls(member.sum(0), member.T @ value, value.T @ value)

    def __add__(self, other: Totals) -> Totals:
        return Totals(self.count + other.count, self.label + other.label, self.gram + other.gram)

    def __sub__(self, other: Totals) -> Totals:
        return Totals(self.count - other.count, self.label - other.label, self.gram - other.gram)


def solved(totals: list[Totals], *, without: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight [D, K] and offset [K] of the ridge regression of class membership on standardised values.

    `totals` has one entry per fold; fold `without` is held out.
    """
    total = sum((fold for k, fold in enumerate(totals) if k != without), start=totals[without] - totals[without])
    rows = total.count.sum().clamp_min(1)
    mean = total.label.sum(0) / rows  # [D]
    gram = total.gram / rows - torch.outer(mean, mean)
    spread = gram.diagonal().clamp_min(0).sqrt() + 1e-6
    share = total.count / rows  # [K]
    cross = (total.label.T / rows - torch.outer(mean, share)) / spread[:, None]  # [D, K]
    system = gram / torch.outer(spread, spread)
    system.diagonal().add_(penalty)
    weight = torch.cholesky_solve(cross, torch.linalg.cholesky(system)) / spread[:, None]
    return weight.float(), (share - mean @ weight).float()


def scale(logit: Tensor, label: Tensor) -> float:
    """The factor on held-out logits [S, K] (an inverse temperature) that calibrates their softmax probabilities.

    Source: Guo et al. (ICML 2017, arXiv 1706.04599), section 4.2, minimising the negative log-likelihood on a grid.
    """
    grid = torch.logspace(-1, 2, 61)
    loss = torch.stack([cross_entropy(logit.double().cpu() * float(at), label) for at in grid])
    return float(grid[loss.argmin()])
