"""Keys by content: equal for equal rows, and for nothing else; samples that do not depend on the order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from foretaste.stats.sampling import content_key, smallest


def rows(count=2000, seed=0, *shape):
    return torch.randn(count, *(shape or (8,)), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    "value", [rows(), (rows(500, 1, 3, 4, 4) * 99).byte(), (rows() * 9).long()], ids=["float", "picture", "int"]
)
def test_equal_rows_have_equal_keys_wherever_they_stand(value, device):
    key = content_key(value)
    order = torch.randperm(len(value))
    assert torch.equal(content_key(value[order].to(device)).cpu(), key[order])
    alone = torch.cat([content_key(value[at : at + 1]) for at in range(20)])
    assert torch.equal(alone, key[:20])
    assert bool(((key >= 0) & (key < 2**62)).all())
    assert len(key.unique()) == len(value.unique(dim=0))


def test_one_bit_or_one_place_makes_another_key():
    value = rows(1)
    nudged = torch.stack(
        [
            value[0].nextafter(torch.full_like(value[0], torch.inf)).where(torch.arange(8) == k, value[0])
            for k in range(8)
        ]
    )
    swapped = torch.stack([value[0].roll(k) for k in range(8)])
    assert len(content_key(torch.cat([nudged, swapped])).unique()) == 16


def test_negative_zero_is_zero():
    assert torch.equal(content_key(torch.tensor([[0.0, 1.0]])), content_key(torch.tensor([[-0.0, 1.0]])))


def test_folds_by_key_are_even_and_say_nothing_of_the_content():
    value = rows(20_000)
    for folds in (2, 3, 5):
        fold = content_key(value) % folds
        assert stats.chisquare(torch.bincount(fold, minlength=folds).numpy()).pvalue > 1e-4
        # Any one coordinate is alike in all folds.
        assert stats.ks_2samp(value[fold == 0, 0].numpy(), value[fold == 1, 0].numpy()).pvalue > 1e-4


def test_no_rows_have_no_keys():
    assert content_key(torch.zeros(0, 8)).shape == (0,)
    assert content_key(torch.zeros(0, 3, 4, 4, dtype=torch.uint8)).shape == (0,)


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(0, 45), st.integers(0, 40))
def test_the_smallest_of_all_are_the_smallest_of_the_smallest_of_parts(keys, count, cut):
    key = torch.tensor(keys, dtype=torch.int64)
    whole = key[smallest(key, count)]
    assert whole.tolist() == sorted(keys)[:count]
    left, right = key[:cut], key[cut:]
    merged = torch.cat([left[smallest(left, count)], right[smallest(right, count)]])
    assert torch.equal(merged[smallest(merged, count)], whole)
