"""Near copies whose words were exchanged here and there, which is how floods are hidden, and not how texts repeat.

What people repeat they repeat as it is, cut it short, go on from it or fill in a form: then copies differ in the same
places. Exchanged words stand alone, and in each copy elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher

import numpy as np

from foretaste.dataset.payload import Payload
from foretaste.text.ngrams import Array, Words, mixed

COPIES = 32  # of a cluster that are compared
LONGEST = 256  # words of a copy
EDIT = 2  # words exchanged for others at one place, at most
KEPT = 0.6  # share of the copies that keep a place, or it is one that is filled in
TWICE = 2  # places of a copy: one may be a slip
USUAL = 0.05  # share of such copies in a cluster with any, before one was seen; of 358 natural ones one has 0.25
WEIGHT = 10.0  # clusters that this counts as much as


def edited(payloads: Iterable[Payload], read: Callable[[Sequence[str]], Words], clusters: Sequence[Array]) -> Array:
    """Share of the copies of each of the clusters, rows of the dataset, that were edited here and there [G]."""
    home: dict[int, int] = {}
    for at, rows in enumerate(clusters):
        drawn = rows[np.argsort(mixed(rows + 1), kind="stable")[:COPIES]]
        home |= dict.fromkeys(drawn.tolist(), at)
    copies: list[list[list[str]]] = [[] for _ in clusters]
    for payload in payloads if home else ():
        wanted = [(at, home[row]) for at, row in enumerate(payload.row.tolist()) if row in home]
        for words, (_, cluster) in zip(read([payload.texts[at] for at, _ in wanted]).words, wanted, strict=True):
            copies[cluster].append(words[:LONGEST])
    return np.array([scattered(one) for one in copies])


def scattered(copies: Sequence[Sequence[str]]) -> float:
    """Share of some copies that exchange words in several places where most others keep them."""
    if len(copies) <= TWICE:
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
            elif kind == "replace" and max(end - start, right - left) <= EDIT:
                mine.append((start, end))
        places.append(mine)
    fixed = kept >= KEPT * len(places)
    return float(np.mean([sum(bool(fixed[start:end].all()) for start, end in one) >= TWICE for one in places]))


def unusual(share: Array) -> Array:
    """How rarely a cluster is edited as much as each of G, by what the others show, which falls exponentially [G].

    Only those with edits teach: of how far edits go the others say nothing.
    """
    others = share.sum() - share
    number = (share > 0).sum() - (share > 0)
    chance: Array = (1 + share / (others + WEIGHT * USUAL)) ** -(number + WEIGHT)
    return chance
