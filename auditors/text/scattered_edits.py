"""Scattered edits: near copies in which single words were replaced at random places, to hide a flood.

Natural duplicates are verbatim, truncated, continued, or fill in a form, so they differ at the same places. Scattered
edits replace single words, in each copy elsewhere.
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
    """When the copies of a cluster count as edited at scattered places.

    rows       rows of a cluster from which on its copies are compared for scattered edits
    clusters   clusters whose copies are compared, at most: the largest
    copies     copies of a cluster that are compared, at most: a random sample
    words      words of a copy that are compared, at most: the first
    exchanged  words replaced at one place, at most: a longer replacement is no scattered edit
    kept       share of the copies that must agree at a place for it to be fixed text, not a slot of a form
    places     replacements within fixed text from which on a copy counts as edited
    usual      prior mean of the share of edited copies, in clusters that have any
    """

    rows: int = threshold(16, "not tuned")
    clusters: int = threshold(256, "bounds the work; not tuned")
    copies: int = threshold(32, "bounds the work; standard error of a share of at most 9 %")
    words: int = threshold(256, "bounds the work; not tuned")
    exchanged: int = threshold(2, "not tuned")
    kept: float = threshold(0.6, "more than half; not tuned")
    places: int = threshold(2, "one may be a typing error")
    usual: float = threshold(0.05, "of 358 natural clusters in five corpora one has .25, none more")


def edited(
    payloads: Iterable[Payload], read: Callable[[Sequence[str]], Words], clusters: Sequence[Array],
    edits: ScatteredEdits,
) -> Array:  # fmt: skip
    """Share [G] of the copies with scattered edits in each of G clusters, given by their rows of the dataset."""
    home: dict[int, int] = {}
    for at, rows in enumerate(clusters):
        drawn = rows[np.argsort(mixed(rows + 1), kind="stable")[: edits.copies]]
        home |= dict.fromkeys(drawn.tolist(), at)
    copies: list[list[list[str]]] = [[] for _ in clusters]
    for payload in payloads if home else ():
        wanted = [(at, home[row]) for at, row in enumerate(payload.row.tolist()) if row in home]
        for words, (_, cluster) in zip(read([payload.texts[at] for at, _ in wanted]).words, wanted, strict=True):
            copies[cluster].append(words[: edits.words])
    return np.array([scattered(texts, edits) for texts in copies])


def scattered(copies: Sequence[Sequence[str]], edits: ScatteredEdits) -> float:
    """Share of the copies that replace words at several places where most other copies agree (with the medoid)."""
    if len(copies) < 3:  # of two copies either may be the edited one
        return 0.0
    sets = [set(copy) for copy in copies]
    similarity = [sum(len(mine & other) / max(len(mine | other), 1) for other in sets) for mine in sets]
    middle = int(np.argmax(similarity))
    medoid = copies[middle]
    kept = np.zeros(len(medoid))
    replaced: list[list[tuple[int, int]]] = []
    for copy in [*copies[:middle], *copies[middle + 1 :]]:
        mine = []
        for kind, start, end, left, right in SequenceMatcher(None, medoid, copy, autojunk=False).get_opcodes():
            if kind == "equal":
                kept[start:end] += 1
            elif kind == "replace" and max(end - start, right - left) <= edits.exchanged:
                mine.append((start, end))
        replaced.append(mine)
    fixed = kept >= edits.kept * len(replaced)
    several = [sum(bool(fixed[start:end].all()) for start, end in places) >= edits.places for places in replaced]
    return float(np.mean(several))


def unusual(share: Array, edits: ScatteredEdits, *, weight: float) -> Array:
    """P-value [G] of each cluster's share of edited copies, under an exponential distribution fitted to the others.

    Only clusters with edits enter the fit; the prior mean `edits.usual` counts as much as `weight` of them.
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
