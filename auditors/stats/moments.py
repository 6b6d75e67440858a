"""Counts, means and scatter of the embeddings of each class, as a mergeable state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from foretaste.stats.sparse import gram, sparse


@dataclass(frozen=True)
class ClassMoments:
    """Count, mean and within-class scatter of K classes.

    count    [K] float64
    mean     [K, D] float64
    scatter  [K, D, D] float64 of each class, or [1, D, D] pooled over all classes
    """

    count: Tensor
    mean: Tensor
    scatter: Tensor

    @classmethod
    def zero(cls, classes: int, dim: int, *, pooled: bool) -> ClassMoments:
        empty = torch.zeros(1 if pooled else classes, dim, dim, dtype=torch.float64)
        return cls(torch.zeros(classes, dtype=torch.float64), torch.zeros(classes, dim, dtype=torch.float64), empty)

    @classmethod
    def of(cls, value: Tensor, label: Tensor, *, classes: int, pooled: bool) -> ClassMoments:
        """Moments of `value` [B, D], without rows whose `label` [B] is negative."""
        if bool((label < 0).any()):
            value, label = value[label >= 0], label[label >= 0]
        given, value = value, value.double()
        dim = value.shape[1]
        count = torch.zeros(classes, dtype=torch.float64, device=value.device)
        count.index_add_(0, label, torch.ones_like(label, dtype=torch.float64))
        mean = torch.zeros(classes, dim, dtype=torch.float64, device=value.device).index_add_(0, label, value)
        mean /= count.clamp_min(1)[:, None]
        if sparse(given):
            parts = [given] if pooled else [given[label == k] for k in range(classes)]
            within = [mean.T @ (count[:, None] * mean)] if pooled else torch.einsum("k,kd,ke->kde", count, mean, mean)
            scatter = torch.stack([gram(part) - outer for part, outer in zip(parts, within, strict=True)])
            return cls(count, mean, scatter)
        residual = value - mean[label]  # [B, D]
        if pooled:
            return cls(count, mean, (residual.T @ residual)[None])
        scatter = torch.zeros(classes, dim, dim, dtype=torch.float64, device=value.device)
        for k in torch.bincount(label, minlength=classes).nonzero()[:, 0].tolist():
            part = residual[label == k]
            scatter[k] = part.T @ part
        return cls(count, mean, scatter)

    def __add__(self, other: ClassMoments) -> ClassMoments:
        """Chan, Golub & LeVeque (1983), pairwise update of means and sums of squares."""
        # With many classes the scatters are gigabytes, so nothing is added to zero and no outer product is copied.
        for filled, empty in ((self, other), (other, self)):
            if not bool(empty.count.any()):
                return filled
        count = self.count + other.count
        weight = other.count / count.clamp_min(1)  # [K]
        gap = other.mean - self.mean  # [K, D]
        mean = self.mean + weight[:, None] * gap
        # A class that only one side has seen contributes nothing here: its weight or its count is 0.
        pull = (self.count * weight).sqrt()[:, None] * gap  # [K, D]
        if len(self.scatter) == 1 and len(count) > 1:
            return ClassMoments(count, mean, self.scatter + other.scatter + (pull.T @ pull)[None])
        scatter = (self.scatter + other.scatter).addcmul_(pull[:, :, None], pull[:, None, :])
        return ClassMoments(count, mean, scatter)
