"""Moments of classes: those of numpy, in any grouping of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from foretaste.stats.moments import ClassMoments


def rows(count=200, dim=5, classes=4, seed=0, offset=0.0):
    draw = np.random.default_rng(seed)
    value = draw.normal(size=(count, dim)) @ draw.normal(size=(dim, dim)) + offset
    return torch.from_numpy(value), torch.from_numpy(draw.integers(-1, classes - 1, count))  # the last class is empty


def moments(value, label, *, pooled, classes=4):
    return ClassMoments.of(value, label, classes=classes, pooled=pooled)


@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_agrees_with_numpy(offset):
    value, label = rows(offset=offset)
    found, pooled = moments(value, label, pooled=False), moments(value, label, pooled=True)
    total = np.zeros((5, 5))
    for k in range(3):
        part = value[label == k].numpy()
        assert found.count[k] == len(part)
        np.testing.assert_allclose(found.mean[k], part.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.scatter[k] / (len(part) - 1), np.cov(part.T), rtol=1e-7, atol=1e-9)
        total += np.cov(part.T, bias=True) * len(part)
    np.testing.assert_allclose(pooled.scatter[0], total, rtol=1e-7, atol=1e-7)
    assert found.count[3] == found.mean[3].abs().sum() == found.scatter[3].abs().sum() == 0


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 60), max_size=5), st.booleans(), st.sampled_from([0.0, 1e5]))
def test_parts_add_up_to_the_whole_in_any_grouping(seed, cuts, pooled, offset):
    value, label = rows(60, seed=seed, offset=offset)
    whole = moments(value, label, pooled=pooled)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    parts = [moments(value[at], label[at], pooled=pooled) for at in order.tensor_split(sorted(cuts))]
    zero = ClassMoments.zero(4, 5, pooled=pooled)
    forwards, backwards = zero, zero
    for part in parts:
        forwards = forwards + part
    for part in reversed(parts):
        backwards = part + backwards
    for total in (forwards, backwards):
        assert torch.equal(total.count, whole.count)
        assert_close(total.mean, whole.mean, rtol=1e-10, atol=1e-10)
        assert_close(total.scatter, whole.scatter, rtol=1e-6, atol=1e-6)


def test_one_class_pooled_is_that_class():
    value, _ = rows()
    label = torch.zeros(len(value), dtype=torch.int64)
    one = moments(value[:80], label[:80], pooled=True, classes=1) + moments(
        value[80:], label[80:], pooled=True, classes=1
    )
    np.testing.assert_allclose(one.scatter[0] / (len(value) - 1), np.cov(value.numpy().T), rtol=1e-9)


def test_float32_rows_far_from_zero_keep_their_covariance():
    value, label = rows(offset=1e3)
    found = moments(value.float(), label, pooled=True)
    assert found.scatter.dtype == torch.float64
    assert_close(found.scatter, moments(value, label, pooled=True).scatter, rtol=1e-3, atol=1e-2)
