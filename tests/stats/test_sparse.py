"""Products that skip zeros: those of all numbers."""

from __future__ import annotations

import torch
from torch.testing import assert_close

from foretaste.stats.moments import ClassMoments
from foretaste.stats.sparse import gram, product, sparse


def words(rows=400, dim=64):
    draw = torch.Generator().manual_seed(0)
    value = torch.zeros(rows, dim)
    return value.scatter_(1, torch.randint(0, dim, (rows, 3), generator=draw), torch.rand(rows, 3, generator=draw))


def test_products_are_those_of_all_numbers():
    value, matrix = words(), torch.randn(64, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert sparse(value)
    assert_close(product(value, matrix), value.double() @ matrix)
    assert_close(gram(value), value.double().T @ value.double())


def test_few_zeros_and_none_at_all_are_not_sparse():
    assert not sparse(torch.ones(4, 4))
    assert sparse(torch.zeros(0, 4))
    assert product(torch.zeros(0, 4), torch.ones(4, 2, dtype=torch.float64)).shape == (0, 2)


def test_moments_of_sparse_rows_are_those_of_the_same_rows_moved():
    value = words()
    label = torch.arange(len(value)) % 4 - 1  # the last class is empty
    for pooled in (False, True):
        skipping = ClassMoments.of(value, label, classes=4, pooled=pooled)
        moved = ClassMoments.of(value.double() + 1, label, classes=4, pooled=pooled)
        assert_close(skipping.count, moved.count)
        assert_close(skipping.mean + (skipping.count > 0)[:, None], moved.mean)
        assert_close(skipping.scatter, moved.scatter)
