"""Exact nearest neighbours of a few rows among many, as a mergeable state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Neighbours:
    """The k nearest rows found so far for Q queries, nearest first.

    distance  [Q, k] float64, infinite where fewer than k rows were seen
    row       [Q, k] int64, row number, -1 where fewer than k rows were seen
    label     [Q, k] int64, class index of that row, -1 where there is no row or no label
    """

    distance: Tensor
    row: Tensor
    label: Tensor

    @classmethod
    def none(cls, queries: int, k: int) -> Neighbours:
        missing = torch.full((queries, k), -1)
        return cls(torch.full((queries, k), torch.inf, dtype=torch.float64), missing, missing)

    @classmethod
    def among(  # noqa: PLR0917
        cls, query: Tensor, own_row: Tensor, value: Tensor, row: Tensor, label: Tensor, k: int
    ) -> Neighbours:
        """The k nearest of `value` [B, D], with row numbers `row` [B] and classes `label` [B], to `query` [Q, D].

        Rows with a query's own row number `own_row` [Q] are not its neighbours.
        """
        # In float64, because float32 products cannot distinguish exact copies from near copies.
        distance = torch.cdist(query.double(), value.double())  # [Q, B]
        distance[own_row[:, None] == row[None, :]] = torch.inf
        rows, labels = row.expand(len(query), -1), label.expand(len(query), -1)
        return cls(distance, rows, labels) + cls.none(len(query), k)

    def __add__(self, other: Neighbours) -> Neighbours:
        """The nearest of both, as many as `other` holds. Ties go to the smaller row number."""
        keep = other.row.shape[1]
        row = torch.cat([self.row, other.row.to(self.row.device)], 1)
        distance = torch.cat([self.distance, other.distance.to(self.distance.device)], 1)
        label = torch.cat([self.label, other.label.to(self.label.device)], 1)
        by_row = row.argsort(dim=1, stable=True)
        order = by_row.gather(1, distance.gather(1, by_row).argsort(dim=1, stable=True))[:, :keep]
        distance, row, label = distance.gather(1, order), row.gather(1, order), label.gather(1, order)
        found = distance.isfinite()
        return Neighbours(distance, torch.where(found, row, -1), torch.where(found, label, -1))
