"""Directions are kept as far as there are rows to know them by."""

import pytest
import torch

from foretaste.detectors.sweeps.whitening import Whitening


@pytest.mark.parametrize(("rows", "limit", "kept"), [(5000, 2, 2), (3 * 8, 99, 3), (3 * 8 - 1, 99, 2), (7, 99, 0)])
def test_a_direction_needs_rows(rows, limit, kept):
    scatter = torch.diag(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0], dtype=torch.float64)) * rows
    assert Whitening().turn(scatter, rows, limit=limit).shape == (5, kept)


def test_settings_decide_how_many_and_how_small():
    scatter = torch.diag(torch.tensor([1.0, 1e-6], dtype=torch.float64)) * 100
    assert Whitening(rows_per_dimension=100).turn(scatter, 100, limit=9).shape == (2, 1)
    small = Whitening(floor=1.0).turn(scatter, 100, limit=9)
    large = Whitening(floor=1e-9).turn(scatter, 100, limit=9)
    assert large.abs().max() > 100 * small.abs().max()
