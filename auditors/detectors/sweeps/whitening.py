"""Whitening of embeddings, with its regularisation as settings."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from foretaste.settings import threshold
from foretaste.stats.spectrum import whitening


@dataclass(frozen=True)
class Whitening:
    """Regularisation of the whitening by a covariance.

    floor               added to every eigenvalue of the covariance, as a share of their mean
    rows_per_dimension  rows needed for each dimension kept; those of largest variance are kept
    """

    floor: float = threshold(1e-3, "so that rounding errors of a picture are not amplified; not tuned")
    rows_per_dimension: int = threshold(
        8, "by the Marchenko-Pastur law the smallest eigenvalue is then too small by 1 - (1 - 8**-0.5)**2 = 58 %"
    )

    def turn(self, scatter: Tensor, rows: float, *, limit: int) -> Tensor:
        """W [D, d], so that x @ W has about unit covariance when x has `scatter` [D, D] / `rows`; d at most `limit`."""
        kept = min(limit, int(rows) // self.rows_per_dimension)
        return whitening(scatter, rows, limit=kept, floor=self.floor)
