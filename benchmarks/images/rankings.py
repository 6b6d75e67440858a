"""Published methods, each as one ranking of all rows of a dataset by one number, with no oracle.

The papers rank the rows of one class, which they are told, and drop as many as they are told. Here scores whose unit
depends on the class are standardised in each class by median and median absolute deviation, so that rows of different
classes compare, and `dropped` is what a practitioner would drop at the method's default, or at what the paper says
with a poison rate of EPSILON where it wants to be told one.

spectral             Tran, Li & Madry (NeurIPS 2018, arXiv 1811.00636): squared projections on a class's first direction
whitened             the same after whitening by the pooled within-class covariance and on the unit sphere
SPECTRE              Hayase, Kong, Somani & Oh (ICML 2021, arXiv 2104.11315): robust covariance and QUE scores
SCAn                 Tang, Wang, Tang & Zhang (USENIX Security 2021, arXiv 1908.00686): two components in a class
sparse, dense        mean distance to the nearest rows of the class, large or small; near duplicates as in cleanlab
nearer to others     that distance in units of the same to the nearest rows of other classes
SLOF                 simplified local outlier factor (Schubert, Zimek & Kriegel 2014; on embeddings: arXiv 2502.01385)
other labels near    share of the nearest rows with another label (deep k-NN: Peri et al. 2020, arXiv 1909.13374)
label doubt          out-of-fold probability of the likeliest other class less that of the label (arXiv 1911.00068)
low confidence       mean probability of the label over the epochs of training, small (Swayamdipta et al. 2020)
small margin         area under the margin (Pleiss, Zhang, Elenberg & Weinberger 2020, arXiv 2001.10528)
learned last         the epoch from which on the label is predicted for the first time (Toneva et al. 2019)
forgotten            forgetting events (Toneva et al., ICLR 2019, arXiv 1812.05159); never learned counts as most
learned first        large margins in the first epochs (ABL: Li et al., NeurIPS 2021, arXiv 2110.11571)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import faiss
import numpy as np
import torch
from cleanlab.filter import find_label_issues
from scipy.linalg import eigh
from scipy.special import softmax
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.utils.extmath import randomized_svd

from foretaste.detectors.sweeps.whitening import Whitening
from foretaste.stats.moments import ClassMoments
from foretaste.stats.spectrum import spatial_sign

Array = np.ndarray[Any, np.dtype[Any]]
EPSILON = 0.05  # share of a class that the papers would be told is poisoned; they drop 1.5 times as much
ALPHA = 4.0  # of QUE
DIMENSIONS = (1, 4, 9, 16, 25, 36, 49, 64)  # that SPECTRE tries
NEAREST = 16
EARLY = 3  # epochs


class Ranking(NamedTuple):
    """What a method makes of N rows.

    score    [N] float64, larger is worse
    dropped  [N] bool, at the method's own cut; None where it has none
    """

    score: Array
    dropped: Array | None = None


def of_view(value: Array, label: Array) -> dict[str, Ranking]:
    """The methods that look at vectors `value` [N, D] with labels [N]."""
    value = np.asarray(value, dtype=np.float64)
    inner = whitened(value, label)
    return {
        "spectral": in_each(value, label, first_direction),
        "whitened": in_each(inner, label, first_direction),
        "SPECTRE": in_each(value, label, spectre),
        "SCAn": scan(inner, label),
        **of_neighbours(value, label),
    }


def in_each(value: Array, label: Array, method: Any) -> Ranking:
    """A method that scores the rows of one class; the worst 1.5 EPSILON of every class are dropped."""
    score, dropped = np.zeros(len(value)), np.zeros(len(value), dtype=bool)
    for k in np.unique(label):
        mine = np.flatnonzero(label == k)
        score[mine] = method(value[mine])
        dropped[mine[np.argsort(-score[mine])[: int(1.5 * EPSILON * len(mine))]]] = True
    return Ranking(standardised(score, label), dropped)


def standardised(score: Array, label: Array) -> Array:
    """Deviations [N] from the class's median, in median absolute deviations that estimate a standard deviation."""
    out = np.zeros(len(score))
    for k in np.unique(label):
        mine = label == k
        apart = score[mine] - np.median(score[mine])
        out[mine] = apart / max(1.4826 * np.median(np.abs(apart)), 1e-12)
    return out


def first_direction(value: Array) -> Array:
    """Squared projections [n] of centred rows [n, D] on their first right singular vector."""
    centred = value - value.mean(0)
    return (centred @ randomized_svd(centred, 1, random_state=0)[2][0]) ** 2


def whitened(value: Array, label: Array) -> Array:
    """Rows [N, d] less their class's mean, whitened by the pooled within-class covariance, of length sqrt(d) each."""
    given, where = torch.from_numpy(value), torch.from_numpy(label)
    moments = ClassMoments.of(given, where, classes=int(label.max()) + 1, pooled=True)
    turn = Whitening().turn(moments.scatter[0], float(len(value)), limit=value.shape[1])
    found: Array = spatial_sign((given - moments.mean[where]) @ turn).numpy()
    return found


def spectre(value: Array) -> Array:
    """QUE scores [n] of the rows of one class [n, D], in as many dimensions as tell most of what was dropped there.

    For every k: the first k principal components, their robust covariance, whitened by it the QUE scores, without the
    worst 1.5 EPSILON of which a covariance in the largest space whitens all rows. The k after which all rows look
    least like that is taken: the greatest mean QUE score (algorithm 4 and section 3.3).
    """
    centred = value - value.mean(0)
    most = min(DIMENSIONS[-1], *centred.shape)
    plane = centred @ randomized_svd(centred, most, random_state=0)[2].T  # [n, most]
    best, chosen = -np.inf, np.zeros(len(value))
    for k in (one for one in DIMENSIONS if one <= most):
        centre, covariance = robust(plane[:, :k])
        score = que(divided(plane[:, :k] - centre, covariance))
        kept = np.argsort(score)[: len(score) - int(1.5 * EPSILON * len(score))]
        apart = que(divided(plane - plane[kept].mean(0), np.cov(plane[kept].T).reshape(most, most))).mean()
        if apart > best:
            best, chosen = apart, score
    return chosen


def que(value: Array) -> Array:
    """Quantum entropy scores [n] of whitened rows [n, k]: how much each adds where the covariance is too large.

    Dong, Hopkins & Li (NeurIPS 2019, arXiv 1906.11366): x' Q x / tr Q with Q = exp(alpha (S - 1) / (|S| - 1)).
    """
    size, axis = np.linalg.eigh(value.T @ value / len(value))
    power = ALPHA * (size - 1) / max(abs(size[-1] - 1), 1e-12)
    weight = np.exp(power - power.max())
    return ((value @ axis) ** 2) @ weight / weight.sum()


def divided(value: Array, covariance: Array) -> Array:
    """Rows [n, k] whitened by a covariance [k, k]."""
    size, axis = eigh(covariance)
    return value @ (axis / np.sqrt(np.maximum(size, 1e-9 * size[-1])))


def robust(value: Array, *, share: float = 0.75, steps: int = 30) -> tuple[Array, Array]:
    """Centre [k] and covariance [k, k] of most rows [n, k]: minimum covariance determinant, reweighted.

    Rousseeuw & Van Driessen (1999): concentration steps, here from one start, the rows nearest to the median: what
    scikit-learn's MinCovDet gives from 500 random ones, in a fraction of the time: SPECTRE asks 480 times a dataset.
    """
    number, width = value.shape
    half = int(share * number)
    spread = np.median(np.abs(value - np.median(value, 0)), 0) * 1.4826
    distance = (((value - np.median(value, 0)) / np.maximum(spread, 1e-12)) ** 2).sum(1)
    held = np.zeros(0, dtype=np.int64)
    for _ in range(steps):
        before, held = held, np.sort(np.argsort(distance)[:half])
        distance = held_against(value, held)[2]
        if np.array_equal(before, held):
            break
    # Distances in the units of a normal law, by their median; then all rows that such a law would make.
    distance /= np.median(distance) / chi2.median(width)
    inside = np.flatnonzero(distance < chi2.isf(0.025, width))
    return held_against(value, inside)[:2]


def held_against(value: Array, held: Array) -> tuple[Array, Array, Array]:
    """Mean [k] and covariance [k, k] of some rows, and the squared Mahalanobis distances [n] of all from them."""
    centre = value[held].mean(0)
    covariance = np.cov(value[held].T, bias=True).reshape(value.shape[1], -1)
    return centre, covariance, (divided(value - centre, covariance) ** 2).sum(1)


def scan(value: Array, label: Array) -> Ranking:
    """SCAn on whitened rows [N, d]: the smaller part of a class that falls in two, by how well its class does.

    With one covariance for both components the paper's alternation is 2-means in the whitened space, and its J is
    what that takes off the mean squared distance. A class whose J is more than e^2 (its published threshold)
    deviations from the median of all is dropped by its smaller part. Rows of one class rank by how much nearer they are
    to the smaller part, classes by J.
    """
    classes = np.unique(label)
    gain, margin, smaller = np.zeros(len(classes)), np.zeros(len(value)), np.zeros(len(value), dtype=bool)
    for at, k in enumerate(classes):
        mine = np.flatnonzero(label == k)
        means = KMeans(2, n_init=3, random_state=0).fit(value[mine])
        few = int(np.bincount(means.labels_, minlength=2).argmin())
        gain[at] = ((value[mine] - value[mine].mean(0)) ** 2).sum(1).mean() - means.inertia_ / len(mine)
        distance = means.transform(value[mine])
        margin[mine], smaller[mine] = distance[:, 1 - few] - distance[:, few], means.labels_ == few
    unusual = np.abs(standardised(gain, np.zeros(len(gain), dtype=np.int64)))[np.searchsorted(classes, label)]
    order = np.lexsort((margin, unusual, smaller))
    score = np.empty(len(value))
    score[order] = np.arange(len(value))
    return Ranking(score, smaller & (unusual > np.exp(2)))


def of_neighbours(value: Array, label: Array) -> dict[str, Ranking]:
    """Density and labels among the nearest rows, in coordinates of unit variance."""
    plain = (value - value.mean(0)) / np.maximum(value.std(0), 1e-9)
    (own, own_row), (other, other_row) = nearest(plain.astype(np.float32), label, NEAREST)
    distance = np.concatenate([own, other], 1)
    order = np.argsort(distance, 1, kind="stable")[:, :NEAREST]
    row = np.take_along_axis(np.concatenate([own_row, other_row], 1), order, 1)  # [N, k]
    reach = np.take_along_axis(distance, order[:, -1:], 1)[:, 0]  # to the k-th nearest of all rows
    local = (reach[:, None] / np.maximum(reach[row], 1e-9)).mean(1)
    relative = own.mean(1) / np.maximum(other.mean(1), 1e-9)
    votes = (label[row][:, :, None] == np.unique(label)).sum(1)  # [N, K]
    agreeing = votes[np.arange(len(label)), np.searchsorted(np.unique(label), label)]
    close = own[:, 0]
    return {
        "sparse": Ranking(standardised(np.log(own.mean(1) + 1e-9), label)),
        "dense": Ranking(standardised(-np.log(own.mean(1) + 1e-9), label), close < 0.13 * np.median(close)),
        "nearer to others": Ranking(relative, relative > 1),
        "SLOF": Ranking(local, local > 1.5),
        # Shares have few values; among equals the nearer to others go first.
        "other labels near": Ranking(1 - agreeing / NEAREST + 1e-3 * relative, agreeing < votes.max(1)),
    }


def nearest(value: Array, label: Array, k: int) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Distances and rows [N, k] of the nearest other rows of the same class, and of the nearest of other classes."""
    found = [(np.zeros((len(value), k)), np.zeros((len(value), k), dtype=np.int64)) for _ in range(2)]
    for one in np.unique(label):
        mine = np.flatnonzero(label == one)
        for (distance, row), pool in zip(found, (mine, np.flatnonzero(label != one)), strict=True):
            index = faiss.IndexFlatL2(value.shape[1])
            index.add(np.ascontiguousarray(value[pool]))
            square, at = index.search(np.ascontiguousarray(value[mine]), k + 1)
            self_last = np.argsort(pool[at] == mine[:, None], 1, kind="stable")[:, :k]
            distance[mine] = np.sqrt(np.maximum(np.take_along_axis(square, self_last, 1), 0))
            row[mine] = np.take_along_axis(pool[at], self_last, 1)
    return found[0], found[1]


def of_probabilities(prob: Array, label: Array) -> dict[str, Ranking]:
    """Doubt by out-of-fold probabilities [N, K]; cleanlab at its defaults says which labels are wrong."""
    prob = np.asarray(prob, dtype=np.float64)
    prob = prob / prob.sum(1, keepdims=True)
    return {"label doubt": Ranking(-margins(prob, label), find_label_issues(label, prob, n_jobs=1))}


def margins(value: Array, label: Array) -> Array:
    """Of [..., N, K] the label's value less the largest other one [..., N]."""
    own = np.take_along_axis(value, np.broadcast_to(label[..., None], (*value.shape[:-1], 1)), -1)
    others = np.where(np.arange(value.shape[-1]) == label[:, None], -np.inf, value)
    return own[..., 0] - others.max(-1)


def of_epochs(logits: Array, label: Array) -> dict[str, Ranking]:
    """What training a network on the rows was like, by their logits [E, N, K] when their turn came; NaN: it did not."""
    there = ~np.isnan(logits).any(2)  # [E, N]
    logits = np.where(there[..., None], logits, 0.0).astype(np.float64)
    margin = margins(logits, label)  # [E, N]
    sure = np.take_along_axis(softmax(logits, 2), np.broadcast_to(label[:, None], (*there.shape, 1)), 2)[..., 0]
    confidence, area = mean(sure, there), mean(margin, there)
    epochs = len(logits)
    right = there & (margin > 0)
    learned = np.where(right.any(0), right.argmax(0), epochs)
    # Between the turns a row had: an epoch without one repeats the last.
    forgotten, last = np.zeros(len(label)), np.zeros(len(label), dtype=bool)
    for epoch in range(epochs):
        forgotten += there[epoch] & last & ~right[epoch]
        last = np.where(there[epoch], right[epoch], last)
    forgotten[learned == epochs] = epochs
    early = standardised(mean(margin[:EARLY], there[:EARLY]), label)
    return {
        "low confidence": Ranking(-confidence),
        "small margin": Ranking(-area, area < 0),
        "learned last": Ranking(learned - confidence, learned == epochs),
        "forgotten": Ranking(forgotten - confidence),
        "learned first": Ranking(early, early >= np.quantile(early, 0.99)),
    }


def mean(value: Array, there: Array) -> Array:
    """Means [N] over the epochs of `value` [E, N] in which a row had its turn."""
    return np.where(there, value, 0.0).sum(0) / np.maximum(there.sum(0), 1)
