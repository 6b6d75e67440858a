"""Natural clusters: a group whose rows resemble each other in their whole content is not a planted pattern.

A trigger is planted on varied content. Once the pattern that a group shares is projected out, the nearest neighbours of
a poisoned row are rows with the same content: rows of other classes if the label was changed, any rows of its own class
if it was not (clean-label), and rows of the group only as often as their share of that content predicts. Rows of a
natural cluster (one way to write a digit, frames of one video, one studio) remain nearest to each other. A binomial
test of the neighbours within the group covers all these cases, after Schilling, "Multivariate two-sample tests based on
nearest neighbors" (JASA 1986). Its null hypothesis is the planted pattern, so its level is the share of planted groups
that are taken for natural.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl
import torch
from scipy.stats import binom
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from foretaste.decide.settings import NaturalClusters
from foretaste.decide.significance import GROUP
from foretaste.stats.neighbours import Neighbours
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Kind

K = TypeVar("K")


@dataclass(frozen=True)
class Candidate:
    """A group that may be a natural cluster: its class and its rows, ascending, all of that class.

    Of class -1 it is a group of the whole dataset, with rows of any class.
    """

    label: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Sums:
    """Sums of n rows [..., D], sums of their squares, and n [...]: mergeable over shards."""

    value: Tensor  # [..., D] float64
    square: Tensor  # [..., D] float64
    rows: Tensor  # [...] int64

    @classmethod
    def of(cls, value: Tensor, label: Tensor, classes: int) -> Sums:
        """By class [K + 1, D], the last for rows [B, D] without a label [B]."""
        place = torch.where(label < 0, classes, label)
        zero = torch.zeros(classes + 1, value.shape[1], dtype=torch.float64, device=value.device)
        wide = value.double()
        return cls(
            zero.index_add(0, place, wide),
            zero.index_add(0, place, wide.square()),
            torch.bincount(place, minlength=classes + 1),
        )

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.value + other.value, self.square + other.square, self.rows + other.rows)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.value - other.value, self.square - other.square, self.rows - other.rows)

    def __getitem__(self, which: Any) -> Sums:
        return Sums(self.value[which], self.square[which], self.rows[which])

    @property
    def total(self) -> Sums:
        return Sums(self.value.sum(0), self.square.sum(0), self.rows.sum(0))

    @property
    def mean(self) -> Tensor:
        return self.value / self.rows.clamp_min(1)[..., None]

    @property
    def variance(self) -> Tensor:
        return (self.square / self.rows.clamp_min(1)[..., None] - self.mean.square()).clamp_min(0)


@dataclass(frozen=True)
class Sample:
    """Moments of the rows of one group, their number by class, and the content of some of them."""

    inside: Sums  # [D]
    labels: Tensor  # [K] int64, rows of the group with each class label
    query: Tensor  # [Q, D] float32
    row: Tensor  # [Q] int64

    @classmethod
    def of(cls, batch: Batch, inside: Tensor, wanted: Tensor, classes: int) -> Sample:
        """Of the rows `inside` [B] bool of a batch; those `wanted` [B] bool are kept."""
        found = Sums.of(batch.embedding[inside], batch.label[inside], classes)
        return cls(found.total, found.rows[:-1], batch.embedding[wanted], batch.row[wanted])

    def __add__(self, other: Sample) -> Sample:
        return Sample(
            self.inside + other.inside,
            self.labels + other.labels,
            torch.cat([self.query, other.query]),
            torch.cat([self.row, other.row]),
        )


@dataclass(frozen=True)
class Outline:
    """Moments of all classes and samples of groups: what is needed to take the groups' patterns out."""

    classes: Sums  # [K + 1, D], the last for rows without a label
    groups: Mapping[int, Sample]

    def __add__(self, other: Outline) -> Outline:
        return Outline(self.classes + other.classes, {key: one + other.groups[key] for key, one in self.groups.items()})

    def rest(self, key: int, label: int) -> Sums:
        """The rows [D] of the class `label` outside a group; of the whole dataset for -1."""
        return (self.classes.total if label < 0 else self.classes[label]) - self.groups[key].inside

    def free(self, key: int, label: int, flat: float) -> Tensor:
        """Coordinates [D] bool whose variance in a group is at least `flat` of that in the rest of its class.

        All of them where there is no such coordinate.
        """
        overwritten: Tensor = self.groups[key].inside.variance < flat * self.rest(key, label).variance
        return ~overwritten if bool((~overwritten).any()) else torch.ones_like(overwritten)

    def axes(self, key: int, label: int, free: Tensor, sources: int) -> Tensor:
        """Orthonormal directions [D, r] that contain a group's pattern, in the `free` [D] coordinates.

        The pattern is the difference of the group's mean and that of its content without the pattern: of the rest of
        its class, of all rows, or of any mixture of the `sources` classes whose means are nearest. It lies in the span
        of the differences from all of these, also where a class has rows of the group in its mean.
        """
        mean, labelled = self.groups[key].inside.mean, self.classes[:-1]
        means = labelled.mean[(labelled.rows > 0) & (torch.arange(len(labelled.rows)) != label)]  # [k, D]
        near = (means - mean).mul(free).norm(dim=1).argsort(stable=True)[:sources]
        whole = (self.classes.total - self.groups[key].inside).mean
        gaps = (mean - torch.cat([torch.stack([self.rest(key, label).mean, whole]), means[near]])) * free  # [r, D]
        _, scale, axes = torch.linalg.svd(gaps, full_matrices=False)
        spanned: Tensor = axes[scale > 1e-6 * scale.max().clamp_min(1e-12)].T.float()
        return spanned


def evenly_spaced(rows: Sequence[int], most: int) -> Tensor:
    """At most `most` of the rows, at equal steps."""
    step = max(1, -(-len(rows) // most))
    return torch.tensor(rows[::step])


def projected_out(value: Tensor, axes: Tensor) -> Tensor:
    """Rows [B, D] without their components along `axes` [D, r], normalised: a strong pattern may leave little else."""
    return normalize(value - (value @ axes) @ axes.T, dim=1)


@dataclass(frozen=True)
class NeighbourShares:
    """Where the nearest neighbours of a group's rows lie.

    inside     share of them that lie in the group
    by_chance  the same, expected of a pattern planted on content of the classes in which the other neighbours lie
    rows       number of rows whose neighbours were searched
    """

    inside: float
    by_chance: float
    rows: int

    @property
    def p_value(self) -> float:
        """P-value of so many neighbours in the group, if a pattern was planted on varied content.

        Each row counts as one trial, since its neighbours are neighbours of each other.
        """
        return float(binom.sf(math.floor(self.inside * self.rows + 1e-9) - 1, self.rows, self.by_chance))


def natural(views: Sequence[NeighbourShares], settings: NaturalClusters) -> bool:
    """Whether a group is a natural cluster, by its neighbours in any of several views (Bonferroni)."""
    return any(len(views) * view.p_value <= settings.level and view.inside >= settings.least for view in views)


def shares(found: Neighbours, group: Candidate, dataset: Dataset, *, labels: Tensor) -> NeighbourShares:
    """The shares of a group from the neighbours `found` of its rows.

    labels  number of the group's rows with each class label [K] int64; empty without labels
    """
    members = torch.tensor(group.rows)
    near, label = found.row.cpu(), found.label.cpu()
    exists, inside = near >= 0, torch.isin(near, members)
    of_group = exists.any(1)
    share = float(inside[exists].double().mean()) if bool(exists.any()) else 0.0
    return NeighbourShares(share, by_chance(label[exists & ~inside], group, dataset, labels), int(of_group.sum()))


def by_chance(outside: Tensor, group: Candidate, dataset: Dataset, labels: Tensor) -> float:
    """The share of neighbours expected in the group, if it is a pattern on rows of all content of some classes.

    outside  class index of each neighbour that is not in the group [M]: they have the same content as the group's rows.
             One row of the group's own class is added, so that a group without such neighbours has a class.

    Of a class that makes the share w of them, w of the group's rows lie among its N rows outside the group, and a
    neighbour of one of them is one of the others with probability about (n - 1) w / (N + (n - 1) w).
    """
    others = len(group.rows) - 1
    if not dataset.class_rows:
        return others / max(dataset.rows - 1, 1)
    classes = torch.tensor(dataset.class_rows, dtype=torch.float64)
    rest = (classes - labels).clamp_min(0)  # [K]
    own = rest / rest.sum().clamp_min(1) if group.label < 0 else one_hot(torch.tensor(group.label), len(classes))
    count = torch.bincount(outside[outside >= 0], minlength=len(classes)) + own  # [K]
    weight = count / count.sum()
    return float((weight * others * weight / (rest + others * weight).clamp_min(1.0)).sum())


def candidates(groups: pl.DataFrame, members: pl.DataFrame) -> dict[tuple[Hashable, ...], Candidate]:
    """The suspicious or watched groups that may be natural clusters, by their key (GROUP).

    `groups` are as significance.significance returns them, `members` as significance.members does.
    """
    found = members.join(groups.filter("acquittable").select(*GROUP), on=GROUP, how="semi", maintain_order="left")
    return {
        tuple(key): Candidate(label, tuple(rows)) for *key, label, rows in found.select(*GROUP, "label", "rows").rows()
    }


def acquitted(
    groups: pl.DataFrame,
    found: Mapping[tuple[Hashable, ...], Candidate],
    near: Mapping[tuple[Hashable, ...], Sequence[NeighbourShares]],
    dataset: Dataset,
    settings: NaturalClusters,
) -> tuple[pl.DataFrame, list[str]]:
    """`groups`, where natural clusters are neither suspicious nor watched any more, and a note for each such class."""
    cleared = [key for key, views in near.items() if natural(views, settings)]
    if not cleared:
        return groups, []
    notes: dict[int, str] = {}
    for key in cleared:
        label, rows = found[key].label, found[key].rows
        who = f"class {dataset.classes[label]}" if label >= 0 and dataset.classes else "the dataset"
        clearest = min(near[key], key=lambda view: view.p_value)
        inside, chance = clearest.inside, clearest.by_chance
        notes.setdefault(
            label,
            f"{len(rows)} rows of {who} stand apart but are taken for a natural cluster: even without the pattern they "
            f"share, {inside:.0%} of their nearest neighbours are among them, where {chance:.0%} would be by chance "
            f"(row {rows[0]} is one of them).",
        )
    schema = {name: groups.schema[name] for name in GROUP}
    marked = pl.DataFrame(cleared, schema=schema, orient="row").with_columns(natural=True)
    groups = groups.join(marked, on=GROUP, how="left", maintain_order="left")
    innocent = pl.col("natural").fill_null(value=False) & (pl.col("kind") != str(Kind.LABEL))
    groups = groups.with_columns(pl.col("suspicious") & ~innocent, pl.col("watched") & ~innocent)
    return groups.drop("natural"), list(notes.values())
