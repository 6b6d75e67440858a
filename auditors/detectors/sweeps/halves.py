"""Sample splitting by content: directions estimated on one half of the rows are tested on the other."""

from __future__ import annotations

from torch import Tensor

from foretaste.stats.sampling import content_key
from foretaste.types.batch import Batch

HALVES = 2


def half(batch: Batch) -> Tensor:
    """The half [B] of each row, by content hash, so that copies are in the same half."""
    return content_key(batch.embedding) % HALVES
