"""Clean picture datasets of many kinds, on which an audit should find nothing.

python -m benchmarks.images.clean SOURCE OUT --kind frames --seed 1

writes OUT.parquet and OUT.truth.parquet as `plant` does, with not one row poisoned. Kinds differ in what they put a
detector to the test with: near copies, imbalance, few or many classes, few or many rows, no colour, compression.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import typer
from PIL import Image
from torch import Tensor
from torch.nn import functional

from benchmarks.images.plant import ENCODERS, Pictures, load, write
from foretaste.attacks.contract import Poisoned
from foretaste.errors import DataError, ForetasteError, PlanError

TRACK = 30  # frames of one picture
IMBALANCE = 100  # rows of the largest class for one of the smallest
PARTS = 10  # sub-classes of a class
QUALITIES = (50, 65, 75, 85, 95)  # of JPEG


def natural(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """A plain sample."""
    return take(source, some(len(source.label), rows, generator))


def frames(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """Near copies: every picture becomes a track of frames, in which the view drifts as in a video.

    Shift by up to 2 pixels, zoom by up to a tenth, contrast by up to 15 %, brightness by up to 15 grey levels, from one
    end of the track to the other, and noise of 2 grey levels in each frame.
    """
    tracks = natural(source, math.ceil(rows / TRACK), generator)
    rows = min(rows, TRACK * len(tracks.label))
    track = torch.arange(rows) // TRACK
    moment = (torch.arange(rows) % TRACK / (TRACK - 1))[:, None]  # 0 to 1
    ends = torch.rand(2, len(tracks.label), 5, generator=generator) * 2 - 1
    drift = torch.lerp(ends[0][track], ends[1][track], moment)  # [N, 5], each -1 to 1
    shift, zoom, contrast, brightness = drift[:, :2], drift[:, 2], drift[:, 3], drift[:, 4]
    view = torch.zeros(rows, 2, 3)
    view[:, 0, 0] = view[:, 1, 1] = 0.95 + 0.05 * zoom
    view[:, :, 2] = shift * 2 * 2 / source.images.shape[-1]  # a picture is 2 wide
    moved = []
    for part in torch.arange(rows).split(1000):  # [b]
        seen = tracks.images[track[part]].float()
        grid = functional.affine_grid(view[part], list(seen.shape), align_corners=False)
        seen = functional.grid_sample(seen, grid, padding_mode="reflection", align_corners=False)
        mean = seen.mean((1, 2, 3), keepdim=True)
        seen = mean + (seen - mean) * (1 + 0.15 * contrast[part, None, None, None])
        seen += 15 * brightness[part, None, None, None] + 2 * torch.randn(seen.shape, generator=generator)
        moved.append(seen.round().clamp(0, 255).to(torch.uint8))
    return Pictures(torch.cat(moved), tracks.label[track], source.classes, numbered(rows))


def long_tailed(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """Classes, in a random order, each smaller than the one before by the same factor, down to a hundredth."""
    present = source.label.unique()
    order = present[torch.randperm(len(present), generator=generator)]
    share = IMBALANCE ** -torch.linspace(0, 1, len(order), dtype=torch.float64)
    share /= share.sum()
    there = source.label.bincount()[order]
    upto = (min(rows, int((there / share).min())) * share.cumsum(0)).round().long()
    kept = []
    for number, size in zip(order.tolist(), upto.diff(prepend=torch.zeros(1, dtype=torch.int64)).tolist(), strict=True):
        own = (source.label == number).nonzero().flatten()
        kept.append(own[some(len(own), size, generator)])
    return take(source, torch.cat(kept).sort().values)


def two_class(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """Two of the classes, drawn at random."""
    present = source.label.unique()
    pair = present[torch.randperm(len(present), generator=generator)[:2]].sort().values
    own = take(source, torch.isin(source.label, pair).nonzero().flatten())
    drawn = natural(own, rows, generator)
    names = tuple(source.classes[number] for number in pair.tolist())
    return drawn._replace(label=torch.searchsorted(pair, drawn.label), classes=names)


def hundred_class(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """Each class split into ten by k-means on its pictures at 4×4 pixels: by colours and rough composition."""
    drawn = natural(source, rows, generator)
    coarse = functional.adaptive_avg_pool2d(drawn.images.float(), 4).flatten(1).numpy()  # [N, 48]
    if len(drawn.label) and drawn.label.bincount()[drawn.label].min() < PARTS:
        raise PlanError(f"a class with fewer than {PARTS} rows cannot be split into {PARTS}")
    label = torch.empty_like(drawn.label)
    for number in drawn.label.unique().tolist():
        own = (drawn.label == number).nonzero().flatten()
        seed = int(torch.randint(2**31, (), generator=generator))
        means = faiss.Kmeans(coarse.shape[1], PARTS, seed=seed, min_points_per_centroid=1)
        means.train(coarse[own])
        label[own] = number * PARTS + torch.from_numpy(means.index.search(coarse[own], 1)[1][:, 0])
    names = tuple(f"{name}-{part}" for name in source.classes for part in range(PARTS))
    return drawn._replace(label=label, classes=names)


def mirrored(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """Pictures and their mirror images, shuffled."""
    both = torch.cat((source.images, source.images.flip(-1)))
    order = torch.randperm(len(both), generator=generator)[:rows]
    return Pictures(both[order], source.label.repeat(2)[order], source.classes, numbered(rows))


def grey(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """A plain sample without colour: the luminance of BT.601 in all three channels."""
    drawn = natural(source, rows, generator)
    weight = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    bright = (drawn.images * weight).sum(1, keepdim=True).round().to(torch.uint8)
    return drawn._replace(images=bright.repeat(1, 3, 1, 1))


def jpeg_mixed(source: Pictures, rows: int, generator: torch.Generator) -> Pictures:
    """A plain sample, each picture compressed with a quality of its own before all are stored alike."""
    drawn = natural(source, rows, generator)
    quality = torch.tensor(QUALITIES)[torch.randint(len(QUALITIES), drawn.label.shape, generator=generator)]
    worn = [
        compressed(one, quality=at)
        for one, at in zip(drawn.images.permute(0, 2, 3, 1).numpy(), quality.tolist(), strict=True)
    ]
    return drawn._replace(images=torch.from_numpy(np.stack(worn)).permute(0, 3, 1, 2).contiguous())


# How each kind is drawn, and its usual number of rows. "digits" and "human-labels" are plain samples too: what makes
# them is the source.
KINDS: dict[str, tuple[Callable[[Pictures, int, torch.Generator], Pictures], int]] = {
    "natural": (natural, 10_000),
    "digits": (natural, 10_000),
    "human-labels": (natural, 10_000),
    "frames": (frames, 10_000),
    "long-tailed": (long_tailed, 10_000),
    "two-class": (two_class, 10_000),
    "hundred-class": (hundred_class, 25_000),
    "small": (natural, 500),
    "large": (mirrored, 50_000),
    "grey": (grey, 10_000),
    "jpeg-mixed": (jpeg_mixed, 10_000),
}


def draw(kind: str, source: Pictures, *, seed: int, rows: int | None = None) -> Pictures:
    """A clean dataset of one of KINDS with exactly `rows` rows, or its usual number as far as the source reaches.

    "digits" wants a source of digits, "human-labels" one that `human_labels` made; every other kind takes any.

    Raises PlanError for a kind that does not exist, or more rows than the source has for it.
    """
    if kind not in KINDS:
        raise PlanError(f"there is no kind {kind!r}, only {', '.join(KINDS)}")
    drawer, usual = KINDS[kind]
    drawn = drawer(source, usual if rows is None else rows, torch.Generator().manual_seed(seed))
    if rows is not None and len(drawn.label) != rows:
        raise PlanError(f"cannot draw {rows} rows of kind {kind}: the source has {len(drawn.label)} for it")
    return drawn


def human_labels(source: Pictures, path: str | Path, *, column: str = "label_aggre") -> Pictures:
    """`source` with the labels of a Parquet file that has them beside the same `id`, such as CIFAR-10N.

    Wei, Zhu, Cheng, Liu, Niu & Liu, "Learning with Noisy Labels Revisited", ICLR 2022, arXiv:2110.12088.

    Raises DataError where the column or a row is missing.
    """
    table = pq.read_table(path)
    for name in ("id", column):
        if name not in table.column_names:
            raise DataError(f"{path} has no column {name!r}, only {', '.join(table.column_names)}")
    place = pc.index_in(source.id, value_set=table["id"].combine_chunks())
    if place.null_count:
        raise DataError(f"{path} has no labels for {place.null_count} of {len(source.id)} rows")
    return source._replace(label=torch.from_numpy(table[column].take(place).to_numpy().astype(np.int64)))


def some(there: int, rows: int, generator: torch.Generator) -> Tensor:
    """Ascending positions of up to `rows` of so many."""
    return torch.randperm(there, generator=generator)[:rows].sort().values


def take(source: Pictures, rows: Tensor) -> Pictures:
    """The rows at these positions."""
    return Pictures(source.images[rows], source.label[rows], source.classes, source.id.take(pa.array(rows.numpy())))


def numbered(rows: int) -> pa.Array:
    """Fresh ids, for rows that are not one row of the source each."""
    return pa.array(np.arange(rows))


def compressed(pixels: np.ndarray, *, quality: int) -> np.ndarray:
    """[S, S, 3] uint8 after a JPEG file of that quality (1 to 95)."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="JPEG", quality=quality)
    return np.asarray(Image.open(file))


def main(
    source: Path,
    out: Path,
    *,
    kind: Annotated[str, typer.Option(help=", ".join(KINDS))],
    seed: Annotated[int, typer.Option(help="Decides which rows are drawn, and how they vary.")] = 0,
    rows: Annotated[int | None, typer.Option(help="Exactly so many; otherwise the usual number of the kind.")] = None,
    labels: Annotated[Path | None, typer.Option(help="Parquet with id and labels, for the kind human-labels.")] = None,
    column: Annotated[str, typer.Option(help="Of the labels.")] = "label_aggre",
    encoder: Annotated[str, typer.Option(help=", ".join(ENCODERS))] = "png",
) -> None:
    """Draw one clean dataset from SOURCE: OUT.parquet and OUT.truth.parquet."""
    try:
        if (kind == "human-labels") != (labels is not None):
            raise PlanError("the kind human-labels and the option --labels go together")
        pictures = load(source)
        drawn = draw(
            kind, pictures if labels is None else human_labels(pictures, labels, column=column), seed=seed, rows=rows
        )
        nobody = torch.zeros(0, dtype=torch.int64)
        written = write(Poisoned.at(drawn.images, drawn.label, rows=nobody), drawn, out, encoder=encoder)
    except (ForetasteError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    print(f"{written}: {kind}, {len(drawn.label)} rows, {len(drawn.classes)} classes", file=sys.stderr)


if __name__ == "__main__":
    typer.run(main)
