"""Whitening by a pooled covariance, spatial signs, and the top eigenvectors of each class."""

from __future__ import annotations

import torch
from torch import Tensor


def whitening(scatter: Tensor, rows: float, *, limit: int, floor: float) -> Tensor:
    """W [D, d], so that x @ W has about unit covariance when x has `scatter` [D, D] / `rows`.

    d is the numerical rank, at most `limit`, and keeps the directions of largest variance. `floor` times the mean
    eigenvalue is added to each eigenvalue, lest the smallest ones amplify rounding errors.
    """
    value, vector = torch.linalg.eigh(scatter / max(rows, 1.0))
    rank = int((value > value[-1] * 1e-7).sum()) if float(value[-1]) > 0 else 0
    keep = max(0, min(rank, limit))
    value, vector = value[len(value) - keep :], vector[:, len(vector) - keep :]
    added = floor * float(value.mean()) if keep else 1.0
    whitener: Tensor = vector * (value + added).rsqrt()
    return whitener


def spatial_sign(value: Tensor) -> Tensor:
    """Every row of `value` [B, d] scaled to length sqrt(d), so that single outliers cannot determine a direction.

    Source: Visuri, Koivunen & Oja (2000), sign covariance matrices.
    """
    length = value.norm(dim=1, keepdim=True)
    sign: Tensor = value / length.clamp_min(torch.finfo(value.dtype).tiny) * value.shape[1] ** 0.5
    return sign


def top_directions(covariance: Tensor, rank: int, *, sweeps: int = 24) -> Tensor:
    """Leading eigenvectors [K, d, rank] of `covariance` [K, d, d], by block power iteration.

    Source: Halko, Martinsson & Tropp (2011), algorithm 4.4, oversampled by `rank` vectors. Eigenvectors of nearly equal
    eigenvalues may come out mixed, which does not matter to a search for outliers along them.
    """
    classes, dim, _ = covariance.shape
    if dim <= 4 * rank:
        vector = torch.linalg.eigh(covariance).eigenvectors
        found = vector[..., -rank:].flip(-1)
        return torch.nn.functional.pad(found, (0, rank - found.shape[-1]))
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(dim, 2 * rank, generator=generator, dtype=torch.float64).to(covariance)
    basis = torch.linalg.qr(start.expand(classes, -1, -1)).Q
    for _ in range(sweeps):
        basis = torch.linalg.qr(covariance @ basis).Q
    inner = basis.mT @ covariance @ basis
    vector = torch.linalg.eigh((inner + inner.mT) / 2).eigenvectors
    leading: Tensor = (basis @ vector)[..., -rank:].flip(-1)
    return leading
