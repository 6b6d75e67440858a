"""Whitening of embeddings, with what it leaves out declared."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from foretaste.settings import threshold
from foretaste.stats.spectrum import whitening


@dataclass(frozen=True)
class Whitening:
    """What is left out where rows are turned so that all directions vary alike.

    floor               added to every eigenvalue, as a share of their mean: what varies less is rounding
    rows_per_dimension  rows needed for each direction that is kept, the ones of largest variance first
    """

    floor: float = threshold(1e-3, "rounding errors of a picture may not outvote its content; not tuned")
    rows_per_dimension: int = threshold(
        8, "by the Marchenko-Pastur law the smallest eigenvalue is then off by 1 - (1 - 8**-0.5)**2 = 58 %"
    )

    def turn(self, scatter: Tensor, rows: float, *, limit: int) -> Tensor:
        """W [D, d], so that x @ W has about unit covariance when x has `scatter` [D, D] / `rows`; d at most `limit`."""
        kept = min(limit, int(rows) // self.rows_per_dimension)
        return whitening(scatter, rows, limit=kept, floor=self.floor)
