"""Products with mostly zero matrices, such as hashed words, in a third of the time of dense ones."""

from __future__ import annotations

import torch
from torch import Tensor

SPARSE = 1 / 16  # largest share of non-zeros at which sparse products are faster


def product(value: Tensor, matrix: Tensor) -> Tensor:
    """`value` [B, D] @ `matrix` [D, d] float64, as float64 [B, d]."""
    found: Tensor = torch.sparse.mm(value.to_sparse().double(), matrix)
    return found


def gram(value: Tensor) -> Tensor:
    """`value` [B, D] transposed times itself, as float64 [D, D]."""
    found: Tensor = torch.sparse.mm(value.to_sparse().double().t(), value.double())
    return found


def sparse(value: Tensor) -> bool:
    """Whether a sparse product is faster: on a CPU, with few non-zeros."""
    return value.device.type == "cpu" and int(value.count_nonzero()) <= SPARSE * value.numel()
