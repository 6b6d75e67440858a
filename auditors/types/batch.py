"""The values that hold tensors: a batch of embedded rows, and a detector's scores and group tests for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from foretaste.errors import DetectorError

LEAST_PROBABILITY = 1e-35  # smaller than any difference from zero a float32 softmax resolves, but no float32 underflow


@dataclass(frozen=True, eq=False)
class Batch:
    """B embedded rows. Rows whose payload could not be read are absent, so `row` may have gaps.

    row        [B] int64, position over the dataset's files in sorted order
    label      [B] int64, class index; -1 where the label is missing
    embedding  [B, D] float32, finite
    prob       [B, K] float32 out-of-fold class probabilities, or None
    """

    row: Tensor
    label: Tensor
    embedding: Tensor
    prob: Tensor | None = None

    def __post_init__(self) -> None:
        rows = len(self.row)
        if self.row.shape != (rows,) or self.label.shape != (rows,):
            raise ValueError(f"row {tuple(self.row.shape)} and label {tuple(self.label.shape)} must both be [B]")
        if self.embedding.ndim != 2 or len(self.embedding) != rows:
            raise ValueError(f"embedding must be [{rows}, D], got {tuple(self.embedding.shape)}")
        if self.prob is not None and (self.prob.ndim != 2 or len(self.prob) != rows):
            raise ValueError(f"prob must be [{rows}, K], got {tuple(self.prob.shape)}")

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: Tensor | slice) -> Batch:
        prob = None if self.prob is None else self.prob[index]
        return Batch(self.row[index], self.label[index], self.embedding[index], prob)

    @property
    def log_prob(self) -> Tensor:
        """Logarithms [B, K] float64 of the class probabilities, clamped so that all are finite.

        Raises ValueError where the batch has none.
        """
        if self.prob is None:
            raise ValueError("the batch has no class probabilities")
        return self.prob.double().clamp_min(LEAST_PROBABILITY).log()

    def to(self, device: torch.device | str) -> Batch:
        prob = None if self.prob is None else self.prob.to(device)
        return replace(
            self,
            row=self.row.to(device),
            label=self.label.to(device),
            embedding=self.embedding.to(device),
            prob=prob,
        )


@dataclass(frozen=True, eq=False)
class Scores:
    """A detector's scores for the B rows of a batch, in the batch's order.

    value      [B] float32, larger is always more suspicious
    p_value    [B] float64, probability of a value this large for a clean row of a clean group
    posterior  [B] float32, 1 - local false discovery rate (Efron 2008), given that the row's group is poisoned
    group      [B] int64, index into the scorer's groups; -1 where the row belongs to none
    evidence   [B] tensors by name
    """

    value: Tensor
    p_value: Tensor
    posterior: Tensor
    group: Tensor
    evidence: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = {"p_value": self.p_value, "posterior": self.posterior, "group": self.group, **self.evidence}
        for name, column in columns.items():
            if column.shape != self.value.shape:
                raise DetectorError(f"{name} has shape {tuple(column.shape)} for {tuple(self.value.shape)} values")
        for name, column in (("value", self.value), ("p_value", self.p_value), ("posterior", self.posterior)):
            if not bool(torch.isfinite(column).all()):
                raise DetectorError(f"{name} holds {int((~torch.isfinite(column)).sum())} values that are not finite")


@dataclass(frozen=True, eq=False)
class GroupTests:
    """The groups a detector tested for poison: classes, clusters or sources.

    label      [G] int64, class index of the group; -1 where it has none
    statistic  [G] float64, larger is more suspicious
    p_value    [G] float64, probability of a statistic this large for a clean group
    evidence   [G] tensors by name
    tested     [G] bool, whether the group had rows enough to be tested; None where all had
    """

    label: Tensor
    statistic: Tensor
    p_value: Tensor
    evidence: Mapping[str, Tensor] = field(default_factory=dict)
    tested: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tested is not None and (self.tested.shape != self.label.shape or self.tested.dtype != torch.bool):
            raise DetectorError(f"tested must be a bool for each of {len(self.label)} groups")
        for name, column in {"statistic": self.statistic, "p_value": self.p_value, **self.evidence}.items():
            if column.shape != self.label.shape:
                raise DetectorError(f"{name} has shape {tuple(column.shape)} for {len(self.label)} groups")
        if not bool(((self.p_value >= 0) & (self.p_value <= 1)).all()):
            raise DetectorError("a group's p-value must lie in [0, 1]")
        if not bool(torch.isfinite(self.statistic).all()):
            raise DetectorError("a group's statistic must be finite")
