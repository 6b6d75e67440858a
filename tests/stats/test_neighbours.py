"""Nearest rows, held against scikit-learn, and merged in any order."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from foretaste.stats.neighbours import Neighbours

K = 5


def rows(count=300, dim=12, seed=0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def found_in(value, parts, query_rows, number=None):
    number = torch.arange(len(value)) if number is None else number
    query = value[query_rows], number[query_rows]
    found = (Neighbours.among(*query, value[at], number[at], number[at] % 3, K) for at in parts)
    return functools.reduce(Neighbours.__add__, found)


def test_agrees_with_scikit_learn(device):
    value, query = rows(), torch.arange(0, 300, 7)
    found = found_in(value.to(device), [torch.arange(300)], query)
    expected = NearestNeighbors(n_neighbors=K + 1, algorithm="brute").fit(value.double().numpy())
    distance, index = expected.kneighbors(value[query].double().numpy())
    np.testing.assert_array_equal(found.row.cpu(), index[:, 1:])  # the first is the query itself
    np.testing.assert_allclose(found.distance.cpu(), distance[:, 1:], rtol=1e-5)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.lists(st.integers(0, 80), max_size=4))
def test_parts_in_any_order_give_the_nearest_of_all(seed, cuts):
    value = rows(80, seed=seed)
    query = torch.tensor([0, 17, 55])
    whole = found_in(value, [torch.arange(80)], query)
    order = torch.randperm(80, generator=torch.Generator().manual_seed(seed))
    parts = order.tensor_split(sorted(cuts))
    for one in (parts, tuple(reversed(parts))):
        found = found_in(value, one, query)
        assert torch.equal(found.row, whole.row)
        np.testing.assert_allclose(found.distance, whole.distance, atol=1e-6)


def test_near_copies_far_from_the_origin_are_told_apart():
    value = rows(400, 64, 3) * 100
    value[1] = value[0] + 1e-3
    value[2] = value[0] + 3e-3
    found = found_in(value, [torch.arange(400)], torch.arange(40))
    assert found.row[0, :2].tolist() == [1, 2]
    assert found.distance[0, 0].item() == pytest.approx(8e-3, rel=0.05)


def test_nothing_is_the_zero_and_fewer_rows_than_asked_for_leave_gaps():
    value, number = rows(4), torch.tensor([10, 11, 12, 13])
    found = Neighbours.among(value, number, value, number, number % 3, K)
    assert found.row.shape == (4, K)
    assert found.row[0, 3:].tolist() == [-1, -1]
    assert torch.equal(found.label, torch.where(found.row >= 0, found.row % 3, -1))
    assert found.distance[:, 3:].isinf().all()
    assert not bool((found.row == number[:, None]).any())  # no query is its own neighbour
    for total in (Neighbours.none(4, K) + found, found + Neighbours.none(4, K)):
        assert torch.equal(total.row, found.row)
        assert torch.equal(total.distance, found.distance)
        assert torch.equal(total.label, found.label)


def test_equal_distances_go_to_the_smaller_number():
    value = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    number = torch.tensor([7, 3, 2, 1])
    query = value[:1], number[:1]
    whole = Neighbours.among(*query, value, number, number + 40, 2)
    parts = [
        Neighbours.among(*query, value[at : at + 1], number[at : at + 1], number[at : at + 1] + 40, 2)
        for at in (2, 0, 1, 3)
    ]
    total = functools.reduce(Neighbours.__add__, parts)
    assert whole.row.tolist() == total.row.tolist() == [[1, 2]]
    assert whole.label.tolist() == total.label.tolist() == [[41, 42]]
