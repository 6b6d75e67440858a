"""Feature hashing: Weinberger, Dasgupta, Langford, Smola & Attenberg (2009), "Feature Hashing for Large Scale Multitask
Learning": a feature's hash gives its dimension and its sign, so that collisions cancel on average.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def hashed(features: Iterable[Iterable[str]], *, rows: int, dim: int) -> Tensor:
    """Signed sums of each row's features, [B, dim] float32; MurmurHash3 with seed 0, the same on every machine."""
    if not rows:
        return torch.empty(0, dim)
    from sklearn.feature_extraction import FeatureHasher  # here: its import is slow

    sparse = FeatureHasher(dim, input_type="string", dtype=np.float32).transform(features)
    return torch.from_numpy(sparse.toarray())
