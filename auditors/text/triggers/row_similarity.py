"""Similarity of the rows of a phrase, compared with random rows of their class, as which a trigger's rows appear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from foretaste.settings import threshold
from foretaste.text.ngrams import Array


@dataclass(frozen=True)
class RowSimilarity:
    """The null distribution of row similarity.

    drawn  rows of each class, at most, from whose pairs the variance of similarity by chance is estimated
    """

    drawn: int = threshold(800, "gives 320 000 pairs; not tuned")


def excess_similarity(
    content: sp.csr_matrix, label: Array, holders: Sequence[Array], own: Sequence[Array], outcome: Array, *,
    similarity: RowSimilarity,
) -> Array:  # fmt: skip
    """Mean similarity of a phrase's rows [P], in standard deviations of as many random rows of the class; -inf below 2.

    content  [N, W] the words of labelled rows, label [N]
    holders  of each phrase the positions of its rows, own its words among the W, outcome [P] the class it predicts

    Only rows of the predicted class are used. The similarity of two rows is the inner product of their words without
    the phrase's own, weighted by inverse document frequency, about the class's mean: the statistic of Chen & Qin
    (2010), "A two-sample test for high-dimensional data". Ordinary words occur in texts of similar content, a trigger
    in texts of any.
    """
    rows = np.asarray((content > 0).sum(0)).ravel()
    rare = sp.diags(np.log(content.shape[0] / rows.clip(min=1)))
    weighted = sp.csr_matrix((content > 0).astype(np.float64) @ rare)
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    weighted = sp.csr_matrix(sp.diags(1 / length.clip(min=1e-9)) @ weighted)
    mean = {
        k: np.asarray(weighted[label == k].mean(0)).ravel() for k in np.unique(outcome).tolist() if (label == k).any()
    }
    variance = {k: null_variance(weighted[label == k], middle, most=similarity.drawn) for k, middle in mean.items()}
    out = np.full(len(holders), -np.inf)
    for at, (held, words, home) in enumerate(zip(holders, own, outcome.tolist(), strict=True)):
        mine = held[label[held] == home]
        number = len(mine)
        if number < 2 or variance[home] <= 0:
            continue
        part, middle = weighted[mine], mean[home].copy()
        part.data[np.isin(part.indices, words)] = 0
        middle[words[words >= 0]] = 0
        total = np.asarray(part.sum(0)).ravel() - number * middle
        single = float(part.multiply(part).sum() - 2 * (part @ middle).sum() + number * (middle @ middle))
        pairs = number * (number - 1)
        out[at] = (float(total @ total) - single) / pairs / np.sqrt(2 * variance[home] / pairs)
    return out


def null_variance(weighted: sp.csr_matrix, middle: Array, *, most: int) -> float:
    """Mean square of the inner product of two rows of a class about its mean `middle` [W], from at most `most` rows."""
    number = weighted.shape[0]
    part = weighted[np.linspace(0, number - 1, min(number, most)).astype(np.int64)]
    along = part @ middle
    inner = (part @ part.T).toarray() - along[:, None] - along + middle @ middle
    np.fill_diagonal(inner, 0)
    return float((inner**2).sum() / max(len(inner) * (len(inner) - 1), 1))
