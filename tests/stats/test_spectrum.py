"""Whitening and leading directions, held against numpy's eigenvectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from foretaste.stats.spectrum import spatial_sign, top_directions, whitening

FLOOR = 1e-3


def scatter(spread, rows=5000, seed=0):
    turn = torch.linalg.qr(
        torch.randn(len(spread), len(spread), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    ).Q
    return (turn * torch.tensor(spread, dtype=torch.float64) ** 2) @ turn.T * rows


def test_whitened_rows_have_unit_covariance():
    covariance = scatter([3, 2, 1, 0.5, 0.2])
    white = whitening(covariance, 5000, limit=99, floor=FLOOR)
    assert white.shape == (5, 5)
    found = white.T @ (covariance / 5000) @ white
    # The floor takes a known part from each direction.
    value = np.linalg.eigvalsh((covariance / 5000).numpy())
    np.testing.assert_allclose(found, np.diag(value / (value + FLOOR * value.mean())), atol=1e-9)
    assert_close(found, torch.eye(5, dtype=torch.float64), rtol=0, atol=0.1)


def test_directions_that_do_not_vary_are_left_out():
    assert whitening(scatter([3, 2, 1, 0, 0]), 5000, limit=99, floor=FLOOR).shape == (5, 3)
    assert whitening(torch.zeros(5, 5, dtype=torch.float64), 5000, limit=99, floor=FLOOR).shape == (5, 0)


@pytest.mark.parametrize(("rows", "limit", "kept"), [(5000, 2, 2), (24, 3, 3), (7, 0, 0), (7, -1, 0)])
def test_keeps_the_directions_of_most_variance_as_far_as_rows_and_limit_allow(rows, limit, kept):
    covariance = scatter([5, 4, 3, 2, 1])
    white = whitening(covariance / 5000 * rows, rows, limit=limit, floor=FLOOR)
    assert white.shape == (5, kept)
    if kept:
        lead = np.linalg.eigh(covariance.numpy())[1][:, -kept:]
        np.testing.assert_allclose(lead @ lead.T @ white.numpy(), white.numpy(), atol=1e-9)


@pytest.mark.parametrize(("dim", "rank"), [(40, 3), (12, 3), (4, 1), (64, 6)])
def test_top_directions_span_what_numpy_finds(dim, rank, device):
    spread = [float(2 * rank - k) if k < rank else 0.5 for k in range(dim)]
    covariance = torch.stack([scatter(spread, 1, seed) for seed in range(3)])
    found = top_directions(covariance.to(device), rank).cpu()
    assert found.shape == (3, dim, rank)
    for k in range(3):
        lead = np.linalg.eigh(covariance[k].numpy())[1][:, ::-1][:, :rank]
        agreement = np.abs(np.sum(lead * found[k].numpy(), 0))  # directions have no sign
        np.testing.assert_allclose(agreement, 1, atol=1e-6)


def test_nearly_equal_eigenvalues_still_span_unit_vectors_of_the_leading_space():
    covariance = scatter([2.0, 2.0, 2.0] + [0.5] * 37, 1)[None]
    found = top_directions(covariance, 3)[0]
    assert_close(found.T @ found, torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-9)
    lead = np.linalg.eigh(covariance[0].numpy())[1][:, -3:]
    np.testing.assert_allclose(lead @ lead.T @ found.numpy(), found.numpy(), atol=1e-6)


def test_more_directions_than_dimensions_are_padded_with_nothing():
    found = top_directions(scatter([3, 1], 1)[None], 6)
    assert found.shape == (1, 2, 6)
    assert found[..., 2:].abs().sum() == 0


def test_no_variance_gives_finite_directions():
    assert bool(top_directions(torch.zeros(2, 40, 40, dtype=torch.float64), 3).isfinite().all())


def test_spatial_signs_have_one_length_and_keep_their_direction():
    value = torch.randn(50, 7, dtype=torch.float64) * torch.logspace(-9, 9, 50, dtype=torch.float64)[:, None]
    sign = spatial_sign(torch.cat([value, torch.zeros(1, 7, dtype=torch.float64)]))
    assert_close(sign[:50].norm(dim=1), torch.full((50,), 7**0.5, dtype=torch.float64))
    assert_close(torch.cosine_similarity(sign[:50], value, eps=0), torch.ones(50, dtype=torch.float64))
    assert sign[50].abs().sum() == 0
