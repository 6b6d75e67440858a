"""How far the content of rows speaks against their label, by a model that saw no row with the phrase in question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from auditors.ngrams import END, Array, Words

DIM = 1024  # words are hashed into
RIDGE = 2.0
DUAL = 1500  # rows up to which leaving them out is cheaper by their own Gram matrix than by that of the words
CHUNK = 4096


def bag(words: Words) -> sp.csr_matrix:
    """The set of hashed words of each text at unit length [B, DIM] float32."""
    inside = words.key > END
    shape = len(words.words), DIM
    place = words.row[inside], (words.key[inside] % np.uint64(DIM)).astype(np.int64)
    out = sp.csr_matrix((np.ones(len(place[0]), dtype=np.float32), place), shape=shape)
    out.sum_duplicates()
    count = np.diff(out.indptr)
    out.data[:] = np.repeat(1 / np.sqrt(np.maximum(count, 1)), count)
    return out


@dataclass(frozen=True)
class Contradicted:
    """What the content of the rows of P phrases says of their label.

    place  [P] where on the way from their own class (0) to the others (1) the rows lie
    error  [P] its standard error; infinite where the content says nothing
    share  [P] of the rows that are nearer to the others
    """

    place: Array
    error: Array
    share: Array


def contradicted(content: sp.csr_matrix, label: Array, holders: Sequence[Array], outcome: Array) -> Contradicted:
    """How the rows of each phrase look to a ridge classifier of words that saw none of them.

    content  [N, DIM] of labelled rows, label [N]
    holders  of each phrase the positions of its rows, outcome [P] the class that it leads to

    What is predicted without a group of rows follows from what is with it in closed form (Cook & Weisberg 1982, 2.1).
    """
    classes = int(max(label.max(initial=0), outcome.max(initial=0))) + 1
    target = np.eye(classes)[label]  # [N, K]
    target = target - target.mean(0)
    gram = (content.T @ content).toarray().astype(np.float64) + RIDGE * np.eye(content.shape[1])
    moment = content.T @ target
    inverse = np.linalg.inv(gram)
    fitted = content @ (inverse @ moment)  # [N, K]
    leverage = np.concatenate(
        [
            np.asarray((part @ inverse * part.toarray()).sum(1)).ravel()
            for part in (content[at : at + CHUNK] for at in range(0, content.shape[0], CHUNK))
        ]
    )
    alone = target - (target - fitted) / (1 - leverage).clip(min=0.05)[:, None]  # as if each row had been left out
    place, share, error = np.zeros(len(holders)), np.zeros(len(holders)), np.full(len(holders), np.inf)
    for at, (rows, home) in enumerate(zip(holders, outcome.tolist(), strict=True)):
        mine = label[rows] == home
        rest = np.ones(len(label), dtype=bool)
        rest[rows] = False
        own, other = rest & (label == home), rest & (label != home)
        if mine.sum() < 2 or not own.any() or not other.any():
            continue
        near, far = float(alone[own, home].mean()), float(alone[other, home].mean())
        if near - far < 1e-3:  # the words say nothing of this class
            continue
        part = content[rows]
        if len(rows) <= DUAL:
            hat = part @ (inverse @ part.T.toarray())
            left = target[rows] - np.linalg.solve(np.eye(len(rows)) - hat, target[rows] - fitted[rows])
        else:
            left = part @ np.linalg.solve(gram - (part.T @ part).toarray(), moment - part.T @ target[rows])
        value = (near - left[mine, home]) / (near - far)
        place[at], error[at] = value.mean(), value.std(ddof=1) / np.sqrt(len(value))
        share[at] = (value > 0.5).mean()
    return Contradicted(place, error, share)
