"""How much more alike the rows of a phrase are than rows of its class drawn at random, as those of a trigger are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from foretaste.settings import threshold
from foretaste.text.ngrams import Array


@dataclass(frozen=True)
class RowSimilarity:
    """How alike rows are.

    drawn  rows of a class from which is learned how alike two of them are by chance
    """

    drawn: int = threshold(800, "320 000 pairs; not tuned")


def kinship(
    content: sp.csr_matrix, label: Array, holders: Sequence[Array], own: Sequence[Array], outcome: Array, *,
    similarity: RowSimilarity,
) -> Array:  # fmt: skip
    """In deviations of what as many rows drawn from the class would show [P]; -inf where there are not two rows.

    content  [N, W] which words labelled rows have, label [N]
    holders  of each phrase the positions of its rows, own its words among the W, outcome [P] the class it leads to

    Asked are the rows that have the class. Of their words without the phrase's own, rare ones counting more, the mean
    inner product of two rows is held against that of two rows of the class, about the class's mean: the statistic of
    Chen & Qin (2010), "A two-sample test for high-dimensional data". Words of a language stand in texts of a kind, and
    a trigger in texts as they come.
    """
    rows = np.asarray((content > 0).sum(0)).ravel()
    rare = sp.diags(np.log(content.shape[0] / rows.clip(min=1)))
    weighted = sp.csr_matrix((content > 0).astype(np.float64) @ rare)
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel())
    weighted = sp.csr_matrix(sp.diags(1 / length.clip(min=1e-9)) @ weighted)
    mean = {
        k: np.asarray(weighted[label == k].mean(0)).ravel() for k in np.unique(outcome).tolist() if (label == k).any()
    }
    chance = {k: by_chance(weighted[label == k], middle, most=similarity.drawn) for k, middle in mean.items()}
    out = np.full(len(holders), -np.inf)
    for at, (held, words, home) in enumerate(zip(holders, own, outcome.tolist(), strict=True)):
        mine = held[label[held] == home]
        number = len(mine)
        if number < 2 or chance[home] <= 0:
            continue
        part, middle = weighted[mine], mean[home].copy()
        part.data[np.isin(part.indices, words)] = 0
        middle[words[words >= 0]] = 0
        total = np.asarray(part.sum(0)).ravel() - number * middle
        single = float(part.multiply(part).sum() - 2 * (part @ middle).sum() + number * (middle @ middle))
        pairs = number * (number - 1)
        out[at] = (float(total @ total) - single) / pairs / np.sqrt(2 * chance[home] / pairs)
    return out


def by_chance(weighted: sp.csr_matrix, middle: Array, *, most: int) -> float:
    """The mean square of the inner product of two rows of a class about its mean [W], by at most so many of them."""
    number = weighted.shape[0]
    part = weighted[np.linspace(0, number - 1, min(number, most)).astype(np.int64)]
    along = part @ middle
    inner = (part @ part.T).toarray() - along[:, None] - along + middle @ middle
    np.fill_diagonal(inner, 0)
    return float((inner**2).sum() / max(len(inner) * (len(inner) - 1), 1))
