"""Near-duplicate clusters as columns, with the p-value of their size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import embedder
from foretaste.errors import PlanError
from foretaste.text import near_duplicates
from foretaste.text.copy_differences import CopyDifferences
from foretaste.text.minhash import MinHash, Sketch
from foretaste.text.near_duplicates import Cluster, DuplicateLaw, Index
from foretaste.text.ngrams import Array, Words, key
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("copies")
@dataclass(frozen=True, kw_only=True)
class Copies:
    """Clusters of near copies, with the probability of such a cluster under the size distribution of the others.

    A column is a cluster: 0 for rows outside it, else the cluster's p-value (text/near_duplicates.py). Texts are
    sketched by MinHash over word 3-grams; two are near copies if they share an LSH band and 6 of 16 hashes, as do nine
    in ten pairs that share half of their 3-grams, and hardly any that share a tenth.

    clusters  columns, at most: the clusters with the smallest p-values
    limit     characters read of a text, half from its start, half from its end
    minhash   how texts are sketched, and when two of them are near copies
    law       which clusters are tested, and the null distribution of their sizes
    edits     when a text is a copy with edits at scattered places, or has content of its own
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT, Modality.MESSAGES, Modality.PAIR})
    plain: ClassVar[bool] = False

    clusters: int = 32
    limit: int = 20_000
    minhash: MinHash = field(default_factory=MinHash)
    law: DuplicateLaw = field(default_factory=DuplicateLaw)
    edits: CopyDifferences = field(default_factory=CopyDifferences)

    def __post_init__(self) -> None:
        if self.clusters < 1 or self.limit < 2:
            raise PlanError(f"copies needs clusters ≥ 1 and limit ≥ 2, got {self}")

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> CopiesEncoder:  # noqa: ARG002
        rows = dataset.rows or sum(dataset.class_rows)
        frame = near_duplicates.frame(payloads, self.read, rows=rows, minhash=self.minhash, law=self.law)
        kept = near_duplicates.kept(
            payloads, self.read, sources, rows=rows, frame=frame, minhash=self.minhash, law=self.law
        )
        found, index = near_duplicates.gathered(
            kept, payloads, self.read, most=self.clusters, minhash=self.minhash, law=self.law, edits=self.edits
        )
        return CopiesEncoder(self, tuple(found), index, frame)

    def read(self, texts: Sequence[str]) -> Words:
        """The words of each text."""
        return Words.of(texts, limit=self.limit)


@dataclass(frozen=True, eq=False)
class CopiesEncoder:
    """The clusters and the index to look up their rows; without clusters, one column that is always 0."""

    settings: Copies
    clusters: tuple[Cluster, ...]
    index: Index
    frame: Array

    @property
    def dim(self) -> int:
        return max(1, len(self.clusters))

    @property
    def digest(self) -> str:
        known = (self.index.key, self.index.check, self.index.cluster, self.frame)
        return recipe("copies", 2, self.settings, self.clusters, [array.tobytes().hex() for array in known])

    def embed(self, payload: Payload) -> Batch:
        minhash = self.settings.minhash
        which = self.index.find(Sketch.of(self.settings.read(payload.texts), self.frame, minhash), minhash)  # [B]
        out = np.zeros((len(payload), self.dim), dtype=np.float32)
        copy = (which >= 0).nonzero()[0]
        p_value = np.array([cluster.p_value for cluster in self.clusters], dtype=np.float32)
        out[copy, which[copy]] = p_value[which[copy]].clip(min=1e-30)
        return Batch(payload.row, payload.label, torch.from_numpy(out))


def sources(payload: Payload) -> Array:
    """A 64-bit key of each row's source [B], 0 where it is not known."""
    name = payload.roles.source
    if name is None:
        return np.zeros(len(payload), dtype=np.uint64)
    named = payload.columns[name].to_pylist()
    return np.array([0 if source is None else key(str(source)) for source in named], dtype=np.uint64)
