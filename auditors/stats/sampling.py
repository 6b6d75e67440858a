"""Samples and folds drawn by a hash of the content: independent of row order, sharding and machine."""

from __future__ import annotations

import torch
from torch import Tensor


def content_key(value: Tensor) -> Tensor:
    """Hash [B] int64 in [0, 2**62) of the content of each row of `value` [B, D, ...]; equal rows have equal keys.

    Multilinear hashing modulo 2**64 with a random odd weight per position (Carter & Wegman 1979), then bit mixing.
    """
    flat = value.flatten(1)
    flat = (flat + 0.0).view(torch.int32).long() if flat.dtype == torch.float32 else flat.long()  # -0.0 becomes 0.0
    generator = torch.Generator().manual_seed(0x5EED)
    weight = torch.randint(-(2**62), 2**62, (flat.shape[1],), generator=generator).to(flat.device) * 2 + 1
    key = (flat * weight).sum(1)
    for shift, factor in ((31, 0x7FB5D329728EA185), (29, 0x1D8E4E27C47D124F)):
        key = (key ^ (key >> shift)) * factor
    return (key ^ (key >> 33)) & (2**62 - 1)


def smallest(key: Tensor, count: int) -> Tensor:
    """Positions of the `count` smallest keys, ascending: a mergeable sample without replacement (bottom-k sketch)."""
    return key.argsort(stable=True)[:count]
