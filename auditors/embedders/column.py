"""Precomputed vectors in a Parquet column."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import embedder
from foretaste.errors import DataError, NotApplicable
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("column")
@dataclass(frozen=True)
class Column:
    """A Parquet column that already holds one vector per row, used unchanged."""

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.EMBEDDING})
    plain: ClassVar[bool] = True

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> ColumnEncoder:  # noqa: ARG002
        name = dataset.roles.payload[0]
        for payload in payloads:
            if len(payload):
                return ColumnEncoder(column=name, dim=payload.vectors().shape[1])
        raise NotApplicable(f"column {name!r} holds no vector: the dataset has no rows")


@dataclass(frozen=True)
class ColumnEncoder:
    """Reads the column; every vector must have the length `dim` of the first row's."""

    column: str
    dim: int

    @property
    def digest(self) -> str:
        return recipe("column", 1, self.column, self.dim)

    def embed(self, payload: Payload) -> Batch:
        if not len(payload):
            return Batch(payload.row, payload.label, torch.empty(0, self.dim))
        vectors = payload.vectors()  # [B, D]
        if vectors.shape[1] != self.dim:
            raise DataError(
                f"{payload.where}: vectors in {self.column!r} must have the length of the first row's, {self.dim}, "
                f"got {vectors.shape[1]}"
            )
        return Batch(payload.row, payload.label, vectors)
