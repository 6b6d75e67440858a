"""Pictures that are one colour throughout as they were decoded: what is planted in such a picture cannot be seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from torch import Tensor

from foretaste.dataset.parquet import payloads
from foretaste.types.dataset import Dataset, Modality

PLACES = 4  # row groups that are looked at
ROWS = 64  # rows of each
SIDE = 32  # pixels


def note(dataset: Dataset) -> str | None:
    """A sentence where most of the pictures that were looked at are blank; None otherwise."""
    if dataset.roles.modality is not Modality.IMAGE:
        return None
    seen = blank = 0
    for pictures in _looked_at(dataset):
        spread = pictures.amax((2, 3)) - pictures.amin((2, 3))  # [B, 3]
        seen, blank = seen + len(pictures), blank + int((spread == 0).all(1).sum())
    if 2 * blank <= seen:
        return None
    return (
        f"{blank} of {seen} pictures that were looked at are one colour throughout as they were decoded, so nothing in "
        "them was tested: if a viewer shows more in them, convert them to 8 bits a channel without transparency."
    )


def _looked_at(dataset: Dataset) -> Iterator[Tensor]:
    """The readable ones [B, 3, SIDE, SIDE] of the first pictures of a few shards."""
    shards = dataset.shards[:: -(-len(dataset.shards) // PLACES)]
    for shard in shards:
        first = replace(shard, groups=shard.groups[:1])
        for payload in islice(payloads(dataset, [first], rows=ROWS), 1):
            pictures, broken = payload.images(SIDE)
            yield pictures[[at for at in range(len(payload)) if at not in broken]]
