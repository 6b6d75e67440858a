"""How the copies of one text differ: content of their own, as in the blanks of a form, or edits at scattered places.

Natural duplicates are verbatim, truncated, continued, or fill in a form, so they differ at the same places. Texts that
say something of their own within a common frame are not copies of each other, however many there are. Scattered edits
replace single words, in each copy elsewhere, to hide a flood.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import numpy as np
import torch

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.stats.significance import predictive_tail
from foretaste.text.ngrams import Array, Words, mixed

Place = tuple[str, int, int, int, int]  # kind, from and to in the consensus and in a copy, as difflib gives them


@dataclass(frozen=True)
class CopyDifferences:
    """What counts as an edit at a scattered place, and when the copies of a cluster are edited.

    rows       rows of a cluster from which on its copies are tested for scattered edits
    clusters   clusters whose copies are compared, at most: the largest
    copies     copies of a cluster that are compared, at most: a random sample
    words      words of a copy that are compared, at most: the first
    exchanged  words replaced at one place, at most: a longer replacement is content of the copy's own
    kept       share of the copies with words at a place that must agree for it to be fixed text, not a blank of a form
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


@dataclass(frozen=True, eq=False)
class Differences:
    """Of each of G clusters, the share of its copies that are edited at scattered places, or have own content.

    edited  [G] share of the copies that replace words at several places where most other copies agree
    own     [G] share of the copies whose words outside the fixed text no other copy has: 0 where all are equal there
    """

    edited: Array
    own: Array


def differences(
    payloads: Iterable[Payload], read: Callable[[Sequence[str]], Words], clusters: Sequence[Array],
    law: CopyDifferences,
) -> Differences:  # fmt: skip
    """How the copies of each of G clusters, given by their rows of the dataset, differ: one pass over the rows."""
    home: dict[int, int] = {}
    for at, rows in enumerate(clusters):
        drawn = rows[np.argsort(mixed(rows + 1), kind="stable")[: law.copies]]
        home |= dict.fromkeys(drawn.tolist(), at)
    copies: list[list[list[str]]] = [[] for _ in clusters]
    for payload in payloads if home else ():
        wanted = [(at, home[row]) for at, row in enumerate(payload.row.tolist()) if row in home]
        for words, (_, cluster) in zip(read([payload.texts[at] for at, _ in wanted]).words, wanted, strict=True):
            copies[cluster].append(words[: law.words])
    shares = np.array([compared(texts, law) for texts in copies]).reshape(-1, 2)
    return Differences(edited=shares[:, 0], own=shares[:, 1])


def compared(copies: Sequence[Sequence[str]], law: CopyDifferences) -> tuple[float, float]:
    """Shares of the copies that are edited, and that have content of their own, both against their consensus."""
    if len(copies) < 3:  # of two copies either may be the edited one
        return 0.0, 0.0
    middle = _consensus(_medoid(copies), copies)
    places = [_places(middle, copy) for copy in copies]
    same, other = np.zeros((2, len(middle)))
    for found in places:
        for kind, start, end, _, _ in found:
            same[start:end] += kind == "equal"
            other[start:end] += kind == "replace"
    fixed = same >= law.kept * (same + other)  # a copy that is cut short says nothing else there
    edits = [[_scattered(place, fixed, law) for place in found] for found in places]
    replaced = [
        sum(edit and place[0] == "replace" for place, edit in zip(found, edit_of, strict=True))
        for found, edit_of in zip(places, edits, strict=True)
    ]
    own = {_own(*copy, fixed) for copy in zip(copies, places, edits, strict=True)}
    edited = sum(number >= law.places for number in replaced) / len(copies)
    return edited, (len(own) - 1) / (len(copies) - 1)


def _medoid(copies: Sequence[Sequence[str]]) -> Sequence[str]:
    sets = [set(copy) for copy in copies]
    similarity = [sum(len(mine & other) / max(len(mine | other), 1) for other in sets) for mine in sets]
    return copies[int(np.argmax(similarity))]


def _consensus(medoid: Sequence[str], copies: Sequence[Sequence[str]]) -> list[str]:
    """The medoid with the most common word at each of its places: the medoid may be edited itself."""
    seen: list[Counter[str]] = [Counter() for _ in medoid]
    for copy in copies:
        for _, start, end, left, right in _places(medoid, copy):
            if end - start == right - left:
                for at in range(end - start):
                    seen[start + at][copy[left + at]] += 1
    return [count.most_common(1)[0][0] for count in seen]  # the medoid agrees with itself, so that none is empty


def _places(middle: Sequence[str], copy: Sequence[str]) -> list[Place]:
    return list(SequenceMatcher(None, middle, copy, autojunk=False).get_opcodes())


def _scattered(place: Place, fixed: Array, law: CopyDifferences) -> bool:
    """Whether a difference is a few words, replaced by or inserted between words that most copies have there."""
    kind, start, end, left, right = place
    if kind not in ("replace", "insert") or max(end - start, right - left) > law.exchanged:
        return False
    around = fixed[start:end] if kind == "replace" else fixed[max(start - 1, 0) : start + 1]
    return bool(around.all())


def _own(copy: Sequence[str], places: Sequence[Place], scattered: Sequence[bool], fixed: Array) -> tuple[str, ...]:
    """The words of a copy that are neither fixed text nor scattered edits."""
    words: list[str] = []
    for (kind, start, _, left, right), edit in zip(places, scattered, strict=True):
        if kind == "equal":
            words += [copy[at] for at in range(left, right) if not fixed[start + at - left]]
        elif not edit:
            words += copy[left:right]
    return tuple(words)


def unusual(share: Array, law: CopyDifferences, *, weight: float) -> Array:
    """P-value [G] of each cluster's share of edited copies, under an exponential distribution fitted to the others.

    Only clusters with edits enter the fit; the prior mean `law.usual` counts as much as `weight` of them.
    """
    others = share.sum() - share
    number = (share > 0).sum() - (share > 0)
    chance = predictive_tail(
        torch.from_numpy(share),
        total=torch.from_numpy(others),
        count=torch.from_numpy(number),
        prior_total=weight * law.usual,
        prior_count=weight,
    )
    out: Array = chance.numpy()
    return out
