"""Activation clustering: a poisoned class splits into two clusters, the smaller of which looks like another class."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import faiss
import numpy as np
import torch
from torch import Tensor

from foretaste.detectors.contract import CLUSTERING, Aggregator, Claim, GroupFacts, detector
from foretaste.detectors.sweeps.whitening import Whitening
from foretaste.errors import NotApplicable, PlanError
from foretaste.settings import threshold
from foretaste.stats.moments import ClassMoments
from foretaste.stats.sampling import content_key, smallest
from foretaste.stats.significance import binomial_tail, extreme_value_tail
from foretaste.stats.spectrum import top_directions
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

SCATTER_BYTES = 2**31


@detector("activation-clustering")
@dataclass(frozen=True)
class ActivationClustering:
    """Two clusters in the activations of a class, the smaller of which would be classified as another class.

    Chen et al. (SafeAI 2019, arXiv 1811.03728): reduce each class, 2-means (faiss), then relative size, silhouette and
    exclusionary reclassification. A class is suspected if its smaller cluster has less than 35 % of it, the silhouette
    is larger than in the other classes, and a classifier built without this cluster (the linear discriminant of all
    classes) assigns its rows to other classes. The other classes are the null distribution: with fewer than five
    classes none can be significant.

    reduce       dimensions to which each class is reduced before clustering
    sample       rows of a class used by k-means, at most (a sample by content hash)
    small        share of its class below which a cluster may be suspected
    fewest       rows of a suspected cluster, at least; classes with under four times as many rows are not tested
    least_scale  lower bound of the scale of the Gumbel null distribution of silhouettes
    foreign      null probability that a row of a suspected cluster is assigned to another class, at least; higher where
                 the rest of its class is assigned to others more often
    whitening    the dimensions and the regularisation of the linear discriminant
    """

    reduce: int = threshold(10, "as usual for this method; not tuned")
    sample: int = threshold(4096, "not tuned")
    small: float = threshold(0.35, "Chen et al. call a cluster suspicious below 35 % of its class")
    fewest: int = threshold(12, "not tuned")
    least_scale: float = threshold(0.05, "not tuned")
    foreign: float = threshold(0.5, "most of a poisoned cluster looks like the classes its rows came from")
    whitening: Whitening = field(default_factory=Whitening)

    def __post_init__(self) -> None:
        if self.reduce < 1 or self.sample < 2:
            raise PlanError(f"reduce must be at least 1 and sample at least 2, got {self.reduce} and {self.sample}")

    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, CLUSTERING)

    def begin(self, schema: Schema) -> Aggregator:
        if schema.classes < 2:
            raise NotApplicable("needs at least two classes: exclusionary reclassification needs another class")
        if schema.rows < 4 * self.fewest:
            raise NotApplicable(f"needs at least {4 * self.fewest} rows, the dataset has {schema.rows}")
        if schema.classes * schema.dim**2 * 8 > SCATTER_BYTES:
            raise NotApplicable(
                f"{schema.classes} classes of {schema.dim} dimensions need more than 2 GiB of covariances"
            )
        return _Moments(self, schema)

    def describe(self, group: GroupFacts) -> str:
        foreign = group.evidence["foreign"]
        return (
            f"{group.counted} form a cluster of their own ({group.views}), and {foreign:.0%} of it would be classified "
            "as another class"
        )


@dataclass(frozen=True)
class _Moments:
    """First pass: mean and covariance of each class."""

    settings: ActivationClustering
    schema: Schema

    def zero(self) -> ClassMoments:
        return ClassMoments.zero(self.schema.classes, self.schema.dim, pooled=False)

    def reduce(self, state: ClassMoments, batch: Batch) -> ClassMoments:
        return state + ClassMoments.of(batch.embedding, batch.label, classes=self.schema.classes, pooled=False)

    def merge(self, left: ClassMoments, right: ClassMoments) -> ClassMoments:
        return left + right

    def finish(self, state: ClassMoments) -> Aggregator:
        covariance = state.scatter / state.count.clamp_min(1)[:, None, None]
        rank = min(self.settings.reduce, self.schema.dim)
        within = state.scatter.sum(0)
        whitener = self.settings.whitening.turn(within, float(state.count.sum()), limit=self.schema.dim)
        if whitener.shape[1] == 0:
            raise NotApplicable("the embeddings do not vary within classes, or there are too few rows to tell")
        return _Sample(self.settings, state.count, state.mean, top_directions(covariance, rank), within)


@dataclass(frozen=True)
class _Drawn:
    key: Tensor  # [S] int64
    label: Tensor  # [S] int64
    value: Tensor  # [S, r] float64


@dataclass(frozen=True)
class _Sample:
    """Second pass: a sample of each class, by content hash, for k-means."""

    settings: ActivationClustering
    count: Tensor  # [K]
    mean: Tensor  # [K, D]
    axis: Tensor  # [K, D, r]
    within: Tensor  # [D, D], pooled scatter

    def reduced(self, batch: Batch) -> Tensor:
        label = batch.label.clamp_min(0)
        centred = batch.embedding.double() - self.mean[label]
        out = torch.zeros(len(batch), self.axis.shape[2], dtype=torch.float64, device=centred.device)
        for k in torch.bincount(label).nonzero()[:, 0].tolist():
            out[label == k] = centred[label == k] @ self.axis[k]
        return out  # [B, r]

    def zero(self) -> _Drawn:
        none = torch.zeros(0, dtype=torch.int64)
        return _Drawn(none, none, torch.zeros(0, self.axis.shape[2], dtype=torch.float64))

    def reduce(self, state: _Drawn, batch: Batch) -> _Drawn:
        batch = batch[batch.label >= 0]
        return self.merge(state, _Drawn(content_key(batch.embedding), batch.label, self.reduced(batch)))

    def merge(self, left: _Drawn, right: _Drawn) -> _Drawn:
        device = right.value.device if len(right.key) else left.value.device
        key = torch.cat([left.key.to(device), right.key.to(device)])
        label = torch.cat([left.label.to(device), right.label.to(device)])
        value = torch.cat([left.value.to(device), right.value.to(device)])
        order = smallest(key, len(key))
        order = order[label[order].argsort(stable=True)]  # by class, then by key
        run = label[order]
        first = torch.searchsorted(run.contiguous(), run.contiguous())
        order = order[torch.arange(len(run), device=device) - first < self.settings.sample]
        return _Drawn(key[order], label[order], value[order])

    def finish(self, state: _Drawn) -> Aggregator:
        classes, rank = self.axis.shape[0], self.axis.shape[2]
        centre = torch.zeros(classes, 2, rank, dtype=torch.float64, device=state.value.device)
        for k in range(classes):
            part = state.value[state.label == k]
            if len(part) >= 4 * self.settings.fewest:
                centre[k] = two_means(part, sample=self.settings.sample)
        return _Clusters(self, centre)


def two_means(value: Tensor, *, sample: int) -> Tensor:
    """Centres [2, r] of `value` [N, r] by faiss k-means, the best of eight random starts."""
    rows = np.ascontiguousarray(value.cpu().numpy(), dtype=np.float32)
    kmeans = faiss.Kmeans(
        rows.shape[1], 2, niter=30, nredo=8, seed=1, min_points_per_centroid=1, max_points_per_centroid=sample
    )
    kmeans.train(rows)
    return torch.from_numpy(np.array(kmeans.centroids)).double().to(value.device)


@dataclass(frozen=True)
class _Sizes:
    count: Tensor  # [K, 2] int64
    silhouette: Tensor  # [K] float64, sum of simplified silhouettes
    total: Tensor  # [K, 2, D] float64, sum of embeddings of each cluster


@dataclass(frozen=True)
class _Clusters:
    """Third pass: size, silhouette and mean of both clusters of each class."""

    frame: _Sample
    centre: Tensor  # [K, 2, r]

    def assign(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nearest cluster [B] and silhouette [B], simplified to distances to centres (Hruschka et al. 2006)."""
        reduced = self.frame.reduced(batch)
        distance = (reduced[:, None, :] - self.centre[batch.label.clamp_min(0)]).norm(dim=2)  # [B, 2]
        near, far = distance.min(1).values, distance.max(1).values
        return distance.argmin(1), (far - near) / far.clamp_min(1e-300)

    def zero(self) -> _Sizes:
        classes, dim, _ = self.frame.axis.shape
        return _Sizes(
            torch.zeros(classes, 2, dtype=torch.int64),
            torch.zeros(classes, dtype=torch.float64),
            torch.zeros(classes, 2, dim, dtype=torch.float64),
        )

    def reduce(self, state: _Sizes, batch: Batch) -> _Sizes:
        batch = batch[batch.label >= 0]
        device, classes = batch.embedding.device, len(self.centre)
        cluster, silhouette = self.assign(batch)
        cell = batch.label * 2 + cluster
        total = torch.zeros_like(state.total, device=device).view(classes * 2, -1)
        total.index_add_(0, cell, batch.embedding.double())
        width = torch.zeros(classes, dtype=torch.float64, device=device).index_add_(0, batch.label, silhouette)
        return _Sizes(
            state.count.to(device) + torch.bincount(cell, minlength=classes * 2).view(classes, 2),
            state.silhouette.to(device) + width,
            state.total.to(device) + total.view_as(state.total),
        )

    def merge(self, left: _Sizes, right: _Sizes) -> _Sizes:
        return _Sizes(left.count + right.count, left.silhouette + right.silhouette, left.total + right.total)

    def finish(self, state: _Sizes) -> Aggregator:
        small = state.count.argmin(1)  # [K]
        index = torch.arange(len(small), device=small.device)
        rest = state.total[index, 1 - small] / state.count[index, 1 - small].clamp_min(1)[:, None]  # [K, D]
        # The scatter between the clusters is removed too: a strong trigger would otherwise be whitened away.
        mean = state.total / state.count.clamp_min(1)[..., None]  # [K, 2, D]
        pull = (state.count.prod(1) / state.count.sum(1).clamp_min(1)).sqrt()[:, None] * (mean[:, 0] - mean[:, 1])
        scatter = self.frame.within - pull.T @ pull
        whitener = self.frame.settings.whitening.turn(scatter, float(state.count.sum()), limit=len(scatter))
        return _Reclassified(self, state, small, rest, whitener)


@dataclass(frozen=True)
class _Votes:
    foreign: Tensor  # [K, 2] int64, rows of the (rest, small) cluster assigned to another class


@dataclass(frozen=True)
class _Reclassified:
    """Fourth pass: classification of both clusters by the linear discriminant built without the small clusters."""

    clusters: _Clusters
    sizes: _Sizes
    small: Tensor  # [K], index of the smaller cluster
    rest: Tensor  # [K, D], mean of each class without its smaller cluster
    turn: Tensor  # [D, d]

    def classify(self, batch: Batch) -> Tensor:
        """Class [B] with the nearest mean after whitening (Fisher's linear discriminant with equal priors)."""
        present = self.sizes.count.sum(1) > 0
        distance = torch.cdist(batch.embedding.double() @ self.turn, self.rest @ self.turn)  # [B, K]
        return torch.where(present, distance, torch.inf).argmin(1)

    def in_small(self, batch: Batch) -> Tensor:
        return self.clusters.assign(batch)[0] == self.small[batch.label.clamp_min(0)]

    def zero(self) -> _Votes:
        return _Votes(torch.zeros(len(self.small), 2, dtype=torch.int64))

    def reduce(self, state: _Votes, batch: Batch) -> _Votes:
        batch = batch[batch.label >= 0]
        foreign = self.classify(batch) != batch.label
        cell = batch.label * 2 + self.in_small(batch).long()
        count = torch.bincount(cell[foreign], minlength=2 * len(self.small)).view(-1, 2)
        return _Votes(state.foreign.to(count.device) + count)

    def merge(self, left: _Votes, right: _Votes) -> _Votes:
        return _Votes(left.foreign + right.foreign)

    def finish(self, state: _Votes) -> ClusterScorer:
        index = torch.arange(len(self.small), device=self.small.device)
        size = self.sizes.count[index, self.small]
        rows = self.sizes.count.sum(1)
        share = size / rows.clamp_min(1)
        silhouette = self.sizes.silhouette / rows.clamp_min(1)
        settings = self.clusters.frame.settings
        tested = (rows >= 4 * settings.fewest) & (size >= settings.fewest)
        p_silhouette = torch.ones_like(silhouette)
        if bool(tested.any()):
            reference = silhouette[tested]
            p_silhouette[tested] = extreme_value_tail(reference, reference, least_scale=settings.least_scale)
        # Null: the cluster is assigned to other classes as often as the rest of its class, and at least `foreign`.
        rate = (state.foreign[:, 0] / (rows - size).clamp_min(1)).clamp_min(settings.foreign)
        p_foreign = binomial_tail(state.foreign[:, 1], size, rate)
        p_value = torch.where(tested & (share < settings.small), torch.maximum(p_silhouette, p_foreign), 1.0)
        return ClusterScorer(
            self, p_value, share, silhouette, state.foreign[:, 1] / size.clamp_min(1), rows >= 4 * settings.fewest
        )


@dataclass(frozen=True)
class ClusterScorer:
    """The tests of the small clusters, and the posteriors of their rows."""

    frame: _Reclassified
    p_value: Tensor  # [K]
    share: Tensor  # [K]
    silhouette: Tensor  # [K]
    foreign: Tensor  # [K]
    tested: Tensor  # [K] bool

    @property
    def groups(self) -> GroupTests:
        return GroupTests(
            label=torch.arange(len(self.p_value), device=self.p_value.device),
            statistic=self.silhouette,
            p_value=self.p_value.clamp(0, 1),
            evidence={"share": self.share, "silhouette": self.silhouette, "foreign": self.foreign.double()},
            tested=self.tested,
        )

    def score(self, batch: Batch) -> Scores:
        known = batch.label >= 0
        label = batch.label.clamp_min(0)
        _, silhouette = self.frame.clusters.assign(batch)
        small = self.frame.in_small(batch)
        value = torch.where(small, silhouette, -silhouette)
        inside = small & known & (self.share[label] < self.frame.clusters.frame.settings.small)
        strength = 1 - self.p_value[label].clamp(max=1.0)
        share = self.share[label].clamp(1e-9, 1.0).double()
        return Scores(
            value=torch.where(known, value, 0.0).float(),
            p_value=torch.where(inside, share, torch.ones_like(share)),
            posterior=torch.where(inside, strength * (0.5 + 0.5 * silhouette), 0.0).float(),
            group=torch.where(known, label, -1),
            evidence={"small_cluster": inside.float()},
        )
