"""Products with matrices of which most numbers are zero, as in hashed words: no others, in a third of the time."""

from __future__ import annotations

import torch
from torch import Tensor

SPARSE = 1 / 16  # share of numbers that are not zero, up to which it pays to skip the others


def product(value: Tensor, matrix: Tensor) -> Tensor:
    """`value` [B, D] @ `matrix` [D, d] float64, as float64 [B, d]."""
    found: Tensor = torch.sparse.mm(value.to_sparse().double(), matrix)
    return found


def gram(value: Tensor) -> Tensor:
    """`value` [B, D] transposed times itself, as float64 [D, D]."""
    found: Tensor = torch.sparse.mm(value.to_sparse().double().t(), value.double())
    return found


def sparse(value: Tensor) -> bool:
    """Whether most numbers are zero, where skipping them pays."""
    return value.device.type == "cpu" and int(value.count_nonzero()) <= SPARSE * value.numel()
