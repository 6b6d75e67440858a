"""The nearest rows of a row, in vectors of its plain content, not of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foretaste import cache
from foretaste.dataset.parquet import payloads, picked
from foretaste.embedders.contract import EMBEDDERS, Embedder, Encoder
from foretaste.embedders.store import embed_shard, identity, read_shard, stored
from foretaste.errors import DataError
from foretaste.pipeline import default_plans
from foretaste.settings import kind_of, settings
from foretaste.types.dataset import Dataset, Shard

LIMIT = 1 << 28  # bytes of vectors in memory


@dataclass(frozen=True)
class NeighbourIndex:
    """Unit vectors [N, D] of all rows, or of a sample that fits into LIMIT, with their row numbers [N], ascending."""

    view: str
    dataset: Dataset
    encoder: Encoder
    centre: Tensor
    row: Tensor
    value: Tensor

    @classmethod
    def of(cls, dataset: Dataset, described: Mapping[str, Any]) -> NeighbourIndex:
        """The index of a dataset; `described` is the plan in report.json, which names the embedder of the content.

        Embeddings that are not stored any more are computed again. Raises DataError where rows cannot be read.
        """
        view, settings = _plain(dataset, described)
        encoder = settings.fit(payloads(dataset), dataset, torch.device("cpu"))
        most = max(1, LIMIT // (4 * encoder.dim))
        shards = _spread(dataset, most)
        step = max(1, -(-sum(shard.rows for shard in shards) // most))
        parts = []
        with cache.opened() as store:
            for shard in shards:
                embed_shard(shard, dataset=dataset, encoders=[encoder], folder=store)
                entry = stored(store, dataset, shard, identity(encoder))
                for batch in read_shard(entry, shard, device=torch.device("cpu")):
                    kept = batch.row % step == 0
                    parts.append((batch.row[kept], batch.embedding[kept]))
        row, value = (torch.cat(part) for part in zip(*parts, strict=True))
        centre = value.mean(0)
        value -= centre
        value /= value.norm(dim=1, keepdim=True).clamp_min(1e-12)
        return cls(view, dataset, encoder, centre, row, value)

    def nearest(self, row: int, count: int) -> list[tuple[int, float]]:
        """The nearest other rows with their cosine similarity, most similar first."""
        query = self._of(row)
        if query is None:
            return []
        alike = self.value @ query  # [N]
        alike[self.row == row] = -torch.inf
        best = alike.topk(min(count, len(alike)))
        near = zip(self.row[best.indices].tolist(), best.values.tolist(), strict=True)
        return [(other, value) for other, value in near if value > -torch.inf]

    def _of(self, row: int) -> Tensor | None:
        """Vector [D] of a row, held or not; None where it cannot be read."""
        held = (self.row == row).nonzero()
        if len(held):
            return self.value[held[0, 0]]
        for payload in picked(self.dataset, [row]):
            batch = self.encoder.embed(payload)
            if len(batch):
                return normalize(batch.embedding[0] - self.centre, dim=0)
        return None


def _plain(dataset: Dataset, described: Mapping[str, Any]) -> tuple[str, Embedder]:
    """The embedder of `decide.content` if it is plain, else another plain one of the plan, else of the default plan."""
    for document in (described, default_plans.default(dataset).describe()):
        views: dict[str, Embedder] = {}
        for name, table in document.get("embedders", {}).items():
            kind, rest = kind_of(name, dict(table), EMBEDDERS, f"[embedders.{name}]")
            views[name] = settings(EMBEDDERS[kind], rest, f"[embedders.{name}]")
        plain = [name for name, embedder in views.items() if embedder.plain]
        content = document.get("decide", {}).get("content")
        name = content if content in plain else next(iter(plain), None)
        if name is not None:
            return name, views[name]
    raise DataError("no view of the rows is plain enough to look for neighbours in")


def _spread(dataset: Dataset, most: int) -> list[Shard]:
    """At least one shard, and at most `most` rows in all, at equal steps."""
    shards = dataset.shards
    count = max(1, min(len(shards), most * len(shards) // max(1, dataset.rows)))
    return [shards[at * len(shards) // count] for at in range(count)]
