"""A map of the dataset: a sample of its rows, flagged ones included, in two dimensions.

The horizontal axis is the discriminant between the rows of the strongest finding and the rest of their class (Fisher
1936, with ridge). In many dimensions a discriminant separates any rows from any others, so each row is projected on an
axis fitted without its fold: rows selected at random do not separate. Flagged rows were selected by their position, so
the map illustrates a finding and is no evidence for it. The vertical axis is the first principal component (Pearson
1901) of what remains.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn.functional import normalize

from foretaste.cache import Store
from foretaste.embedders.store import identity, read_shard, stored
from foretaste.explain.audited import Audited
from foretaste.stats.spectrum import top_directions
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.findings import Finding

ROWS = 2000  # on the map, at most
FLAGGED = 500  # of them flagged, at most
SHARDS = 16  # read, at most, half of them those with most flagged rows: reading all would cost a sweep
TAIL = 0.002  # share of the rows at each end of an axis that are drawn at the edge
RIDGE = 0.1  # as a share of the mean variance
FOLDS = 4
FEWEST = 8  # rows of a finding that a discriminant needs


def projected(audited: Audited, findings: Sequence[Finding]) -> Atlas | None:
    """The map in the vectors of the strongest finding's embedder, else of the plan's first; None without embedders."""
    ready = {name: identity(one) for name, one in audited.encoders.items()}
    seen = (test["embedder"] for one in findings for test in one.evidence.get("tests", ()))
    view = next((name for name in seen if name in ready), next(iter(ready), None))
    if view is None:
        return None
    return atlas(audited.dataset, audited.samples, findings, view=view, digest=ready[view], folder=audited.store)


def atlas(
    dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Finding], *, view: str, digest: str, folder: Store
) -> Atlas | None:
    """The map in the vectors of the embedder `view`, stored in `folder` under `digest`; None where they are absent.

    `rows` has the columns of samples.parquet, `groups` are the findings, the strongest first.
    """
    accused = rows.filter(pl.col("flagged")).select("row", "label", "kinds").collect().sort("row")
    flagged, shards = accused["row"].to_list(), _chosen(dataset, accused["row"].to_list())
    spans = [range(shard.first_row, shard.first_row + shard.rows) for shard in shards]
    near = [row for row in flagged if any(row in span for span in spans)]
    shown = set(near[:: max(1, -(-len(near) // FLAGGED))])
    step = max(1, -(-sum(map(len, spans)) // (ROWS - len(shown))))
    wanted = torch.tensor(sorted({row for span in spans for row in span[::step]} - set(flagged) | shown))
    parts = []
    for shard in shards:
        path = stored(folder, dataset, shard, digest)
        if not os.path.exists(path):
            return None
        for batch in read_shard(path, shard, device=torch.device("cpu")):
            parts.append(batch[torch.isin(batch.row, wanted)])
    value = torch.cat([part.embedding for part in parts])  # [N, D]
    row, label = (torch.cat([getattr(part, name) for part in parts]) for name in ("row", "label"))
    if len(value) < 2 * FEWEST or value.shape[1] < 2:
        return None
    first = next((one for one in groups if one.kind.fails_audit), None)
    inside = torch.zeros(len(row), dtype=torch.bool)
    if first is not None:
        in_class = pl.lit(True) if first.label is None else pl.col("label") == first.label
        kind = pl.col("kinds").list.contains(str(first.kind))
        inside = torch.isin(row, accused.filter(kind & in_class)["row"].to_torch())
    guided = int(inside.sum()) >= FEWEST
    spots = plane(value, label, inside if guided else None)
    names = [dataset.classes[at] if dataset.classes and at >= 0 else None for at in label.tolist()]
    places = tuple(
        Place(number, x, y, number in shown, name)
        for number, (x, y), name in zip(row.tolist(), spots.tolist(), names, strict=True)
    )
    return Atlas(view, guided, dataset.rows, places)


def write(drawn: Atlas, rows: pl.LazyFrame, path: str) -> None:
    """Write the map as a table: its rows in the columns of samples.parquet (`rows`), and x and y."""
    at = pl.DataFrame([(one.row, one.x, one.y) for one in drawn.places], schema=["row", "x", "y"], orient="row")
    at = at.with_columns(pl.col("x", "y").cast(pl.Float32))
    shown = rows.join(at.lazy(), on="row").sort("row").collect()
    # By pyarrow, which says by an OSError that the disk is full.
    pq.write_table(shown.to_arrow(compat_level=pl.CompatLevel.oldest()), path, compression="zstd")


def plane(value: Tensor, label: Tensor, inside: Tensor | None) -> Tensor:
    """Coordinates [N, 2] in [0, 1] of rows [N, D] with labels [N]; without `inside` [N], principal components."""
    value = value - value.mean(0)
    if inside is None:
        right, up = principal(value, 2).unbind(1)
    else:
        beside = ~inside & torch.isin(label, label[inside])
        beside = beside if int(beside.sum()) >= FEWEST else ~inside
        fold = torch.zeros(len(value), dtype=torch.int64)
        for part in (inside, ~inside):
            fold[part] = torch.arange(int(part.sum())) % FOLDS
        right, rest = torch.zeros(len(value)), value.clone()
        for turn in range(FOLDS):
            held = fold == turn
            axis = discriminant(value[~held], inside[~held], beside[~held])
            along = value[held] @ axis
            ordinary = along[~inside[held]]
            right[held] = (along - ordinary.mean()) / ordinary.std().clamp_min(1e-9)
            rest[held] -= along[:, None] * axis
        up = principal(rest, 1)[:, 0]
    at = torch.stack([right, up], 1)
    low, high = at.quantile(TAIL, 0), at.quantile(1 - TAIL, 0)
    return ((at - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)


def discriminant(value: Tensor, inside: Tensor, beside: Tensor) -> Tensor:
    """Fisher's discriminant, a unit vector [D], between the rows `inside` [N] and those `beside` [N]."""
    means = [value[part].mean(0) for part in (inside, beside)]
    within = torch.cat([value[part] - mean for part, mean in zip((inside, beside), means, strict=True)])
    scatter = within.T @ within / len(within)
    scatter.diagonal().add_(RIDGE * scatter.diagonal().mean().clamp_min(1e-9))
    factor = torch.linalg.cholesky(scatter)
    return normalize(torch.cholesky_solve((means[0] - means[1])[:, None], factor)[:, 0], dim=0)


def principal(value: Tensor, rank: int) -> Tensor:
    """First principal components [N, rank] of rows [N, D], with positive skewness."""
    value = value - value.mean(0)
    at = value @ top_directions((value.T @ value)[None], rank)[0]
    return at * torch.where(at.pow(3).sum(0) < 0, -1.0, 1.0)


def _chosen(dataset: Dataset, flagged: list[int]) -> list[Shard]:
    """At most SHARDS shards in order: those with most flagged rows, and others at equal steps."""
    shards = dataset.shards
    if len(shards) <= SHARDS:
        return list(shards)
    ends = torch.tensor([shard.first_row + shard.rows for shard in shards])
    count = Counter(torch.searchsorted(ends, torch.tensor(flagged, dtype=torch.int64), right=True).tolist())
    kept = {at for at, _ in count.most_common(SHARDS // 2)}
    step = max(1, len(shards) // (SHARDS // 2))
    kept |= set(range(0, len(shards), step)[: SHARDS - len(kept)])
    return [shards[at] for at in sorted(kept)]


@dataclass(frozen=True)
class Place:
    """A row on the map; x and y lie in [0, 1]."""

    row: int
    x: float
    y: float
    flagged: bool
    label: str | None


@dataclass(frozen=True)
class Atlas:
    """A map of the dataset.

    view    the embedder whose vectors it shows
    guided  whether x is the discriminant of the strongest finding; else the first principal component
    whole   number of rows of the dataset
    """

    view: str
    guided: bool
    whole: int
    places: tuple[Place, ...]
