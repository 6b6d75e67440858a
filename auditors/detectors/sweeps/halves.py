"""Rows in two halves by content: what is learned on one is tested on the other."""

from __future__ import annotations

from torch import Tensor

from foretaste.stats.sampling import content_key
from foretaste.types.batch import Batch

HALVES = 2


def half(batch: Batch) -> Tensor:
    """Which half [B] a row belongs to, by content."""
    return content_key(batch.embedding) % HALVES
