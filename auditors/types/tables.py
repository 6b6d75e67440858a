"""The Arrow schema of every stored table."""

from __future__ import annotations

import pyarrow as pa


def embeddings(dim: int, probs: int) -> pa.Schema:
    """One row per embedded row; `prob` only where the embedder provides class probabilities."""
    fields = [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
        pa.field("embedding", pa.list_(pa.float32(), dim), nullable=False),
    ]
    if probs:
        fields.append(pa.field("prob", pa.list_(pa.float32(), probs), nullable=False))
    return pa.schema(fields)


# Long format: a new detector adds rows, never columns. `evidence` is a JSON object of numbers.
SCORES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("detector", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("embedder", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("p_value", pa.float64(), nullable=False),
        pa.field("posterior", pa.float32(), nullable=False),
        pa.field("group", pa.int64(), nullable=False),
        pa.field("evidence", pa.string()),
    ]
)

# Rows whose payload could not be read.
BROKEN = pa.schema([pa.field("row", pa.int64(), nullable=False), pa.field("reason", pa.string(), nullable=False)])


def samples(id_type: pa.DataType | None) -> pa.Schema:
    """Every row of the dataset once."""
    fields = [
        *_identity(id_type),
        pa.field("risk", pa.float32(), nullable=False),
        pa.field("p_value", pa.float64(), nullable=False),
        pa.field("flagged", pa.bool_(), nullable=False),
        pa.field("kinds", pa.list_(pa.string()), nullable=False),
        pa.field("detectors", pa.list_(pa.string()), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
    return pa.schema(fields)


def manifest(id_type: pa.DataType | None) -> pa.Schema:
    """Every row once with the 16-byte digests, each in two words, of its payload and of the file its path names."""
    fields = [
        *_identity(id_type),
        pa.field("payload_high", pa.uint64(), nullable=False),
        pa.field("payload_low", pa.uint64(), nullable=False),
        pa.field("target_high", pa.uint64()),
        pa.field("target_low", pa.uint64()),
    ]
    return pa.schema(fields)


def _identity(id_type: pa.DataType | None) -> list[pa.Field]:
    """The row's position, file, id and label."""
    return [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("row_group", pa.int64(), nullable=False),
        pa.field("row_in_group", pa.int64(), nullable=False),
        *([pa.field("id", id_type)] if id_type is not None else []),
        pa.field("label", pa.string()),
    ]
