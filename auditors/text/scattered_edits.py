"""Near copies whose words were exchanged here and there, which is how floods are hidden, and not how texts repeat.

What people repeat they repeat as it is, cut it short, go on from it or fill in a form: then copies differ in the same
places. Exchanged words stand alone, and in each copy elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import torch

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.stats.significance import predictive_tail
from foretaste.text.ngrams import Array, Words, mixed


@dataclass(frozen=True)
class ScatteredEdits:
    """When words were exchanged here and there in the copies of a cluster.

    rows       rows of a cluster from which on it is asked how its copies differ
    clusters   clusters of which it is asked how their copies differ, at most: the largest
    copies     copies of a cluster that are compared, at most
    words      words of a copy that are compared
    exchanged  words exchanged for others at one place, at most
    kept       share of the copies from which on they keep a place; one that fewer keep is filled in
    places     places of a copy from which on it is edited
    usual      share of edited copies in a cluster with any, before one was seen
    """

    rows: int = threshold(16, "not tuned")
    clusters: int = threshold(256, "bounds the work; not tuned")
    copies: int = threshold(32, "bounds the work; standard error of a share of at most 9 %")
    words: int = threshold(256, "bounds the work; not tuned")
    exchanged: int = threshold(2, "not tuned")
    kept: float = threshold(0.6, "more than half; not tuned")
    places: int = threshold(2, "one may be a slip")
    usual: float = threshold(0.05, "of 358 natural clusters in five corpora one has .25, none more")


def edited(
    payloads: Iterable[Payload], read: Callable[[Sequence[str]], Words], clusters: Sequence[Array],
    edits: ScatteredEdits,
) -> Array:  # fmt: skip
    """Share of the copies of each of the clusters, rows of the dataset, that were edited here and there [G]."""
    home: dict[int, int] = {}
    for at, rows in enumerate(clusters):
        drawn = rows[np.argsort(mixed(rows + 1), kind="stable")[: edits.copies]]
        home |= dict.fromkeys(drawn.tolist(), at)
    copies: list[list[list[str]]] = [[] for _ in clusters]
    for payload in payloads if home else ():
        wanted = [(at, home[row]) for at, row in enumerate(payload.row.tolist()) if row in home]
        for words, (_, cluster) in zip(read([payload.texts[at] for at, _ in wanted]).words, wanted, strict=True):
            copies[cluster].append(words[: edits.words])
    return np.array([scattered(one, edits) for one in copies])


def scattered(copies: Sequence[Sequence[str]], edits: ScatteredEdits) -> float:
    """Share of some copies that exchange words in several places where most others keep them."""
    if len(copies) < 3:  # of two nobody knows which was edited
        return 0.0
    sets = [set(one) for one in copies]
    alike = [sum(len(one & other) / max(len(one | other), 1) for other in sets) for one in sets]
    middle = int(np.argmax(alike))
    typical = copies[middle]
    kept = np.zeros(len(typical))
    places: list[list[tuple[int, int]]] = []
    for one in [*copies[:middle], *copies[middle + 1 :]]:
        mine = []
        for kind, start, end, left, right in SequenceMatcher(None, typical, one, autojunk=False).get_opcodes():
            if kind == "equal":
                kept[start:end] += 1
            elif kind == "replace" and max(end - start, right - left) <= edits.exchanged:
                mine.append((start, end))
        places.append(mine)
    fixed = kept >= edits.kept * len(places)
    several = [sum(bool(fixed[start:end].all()) for start, end in one) >= edits.places for one in places]
    return float(np.mean(several))


def unusual(share: Array, edits: ScatteredEdits, *, weight: float) -> Array:
    """How rarely a cluster is edited as much as each of G, by what the others show, which falls exponentially [G].

    Only those with edits teach: of how far edits go the others say nothing. What is usual counts as `weight` clusters.
    """
    others = share.sum() - share
    number = (share > 0).sum() - (share > 0)
    chance = predictive_tail(
        torch.from_numpy(share),
        total=torch.from_numpy(others),
        count=torch.from_numpy(number),
        prior_total=weight * edits.usual,
        prior_count=weight,
    )
    out: Array = chance.numpy()
    return out
