"""Worlds as foretaste.testing makes them, and as a dataset on disk."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.testing.worlds import (
    CPU,
    TARGET,
    World,
    auroc,
    backdoored,
    chain,
    clean,
    flipped,
    folded,
    learned,
    phrased,
    schema_of,
    shards,
)

__all__ = [
    "CPU",
    "TARGET",
    "World",
    "auroc",
    "backdoored",
    "chain",
    "clean",
    "flipped",
    "folded",
    "learned",
    "phrased",
    "schema_of",
    "shards",
    "vectors",
]


def vectors(place, batch, *, group=64, classes=None):
    """The embeddings and labels of a batch as a Parquet file, and the dataset that it is."""
    label = batch.label.tolist() if classes is None else [classes[one] if one >= 0 else None for one in batch.label]
    flat = pa.array(batch.embedding.reshape(-1).numpy())
    table = pa.table(
        {"vector": pa.FixedSizeListArray.from_arrays(flat, batch.embedding.shape[1]), "label": pa.array(label)}
    )
    pq.write_table(table, place, row_group_size=group)
    return open_dataset([str(place)], request=Request(embedding="vector", label="label"), shard_rows=2 * group)
