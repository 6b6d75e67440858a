"""Exact nearest neighbours of a few rows among many, as values that merge."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Neighbours:
    """The k nearest rows found so far of Q queries, nearest first.

    distance  [Q, k] float64, infinite where fewer than k rows were seen
    row       [Q, k] int64, -1 there
    label     [Q, k] int64, class index of that row, -1 there or where it has none
    """

    distance: Tensor
    row: Tensor
    label: Tensor

    @classmethod
    def none(cls, queries: int, k: int) -> Neighbours:
        nobody = torch.full((queries, k), -1)
        return cls(torch.full((queries, k), torch.inf, dtype=torch.float64), nobody, nobody)

    @classmethod
    def among(  # noqa: PLR0917
        cls, query: Tensor, own_row: Tensor, value: Tensor, row: Tensor, label: Tensor, k: int
    ) -> Neighbours:
        """Nearest of `value` [B, D] with numbers `row` [B] and classes `label` [B] to `query` [Q, D].

        A query is not its own neighbour.
        """
        # In float64, because a matrix product in float32 cannot tell copies from near copies.
        distance = torch.cdist(query.double(), value.double())  # [Q, B]
        distance[own_row[:, None] == row[None, :]] = torch.inf
        rows, labels = row.expand(len(query), -1), label.expand(len(query), -1)
        return cls(distance, rows, labels) + cls.none(len(query), k)

    def __add__(self, other: Neighbours) -> Neighbours:
        """The nearest of both; as many as `other` holds. Equal distances go to the smaller row number."""
        keep = other.row.shape[1]
        row = torch.cat([self.row, other.row.to(self.row.device)], 1)
        distance = torch.cat([self.distance, other.distance.to(self.distance.device)], 1)
        label = torch.cat([self.label, other.label.to(self.label.device)], 1)
        by_row = row.argsort(dim=1, stable=True)
        order = by_row.gather(1, distance.gather(1, by_row).argsort(dim=1, stable=True))[:, :keep]
        distance, row, label = distance.gather(1, order), row.gather(1, order), label.gather(1, order)
        there = distance.isfinite()
        return Neighbours(distance, torch.where(there, row, -1), torch.where(there, label, -1))
