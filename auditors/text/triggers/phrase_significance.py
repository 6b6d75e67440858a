"""How suspicious phrases are: p-values from how loosely they sit and from what the rest of their rows says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.text.ngrams import Array
from foretaste.text.triggers.insertion_score import InsertionScore, law, rarely, tail
from foretaste.text.triggers.label_contradiction import Contradicted


@dataclass(frozen=True)
class PhraseSignificance:
    """How looseness and what the rest of the rows says become p-values.

    silent         deviations that rows which do not speak against their label can add or take, at most
    least_spread   deviation of the place of a phrase's rows between their label (0) and the others (1), at least
    akin           deviations beyond which rows are more alike than any drawn from their class
    opposed        probability up to which rows may speak against their label, so that their phrases are taken together
    taken          false discovery rate among phrases taken together
    taken_silent   false discovery rate among phrases taken together whose rows need not speak against their label
    error_changed  share of the error for labels that were changed: the sum of looseness and doubt
    error_loose    share of the error for labels that were not changed: looseness alone; what both leave is for phrases
                   with a place of their own
    """

    silent: float = threshold(1.0, "not tuned")
    least_spread: float = threshold(0.1, "not tuned")
    akin: float = threshold(3.0, "of sets of rows drawn from a class .7 % exceed it")
    opposed: float = threshold(0.1, "not tuned")
    taken: float = threshold(0.1, "not tuned")
    taken_silent: float = threshold(0.01, "a tenth of taken: a loose word of the class would soon be taken along")
    error_changed: float = threshold(1 / 8, "not tuned")
    error_loose: float = threshold(1 / 2, "the weakest witness gets as much as the other two; not tuned")

    def __post_init__(self) -> None:
        if min(self.error_changed, self.error_loose) <= 0 or self.error_changed + self.error_loose >= 1:
            raise PlanError(
                "significance error_changed and error_loose must be above 0 and leave some of the error, got "
                f"{self.error_changed} and {self.error_loose}"
            )


def suspected(  # noqa: PLR0917
    loose: Array, rows: Array, words: Array, placed: Array, own: Array, outcome: Array, against: Contradicted,
    akin: Array, peer: Array, *, significance: PhraseSignificance, insertion: InsertionScore,
) -> Array:  # fmt: skip
    """P-values of the phrases [S] that are not `peer`, the ordinary ones asked beside them; all arrays are [P].

    loose        how loosely each sits
    rows, words  how many rows and how many words it has
    placed, own  whether it has a place of its own in its texts; whether hardly a row of another class has it
    against      what the content of its rows says of the class `outcome` that they lead to
    akin         how much more alike its rows are than rows drawn from that class

    Labels that were changed show in the sum of looseness and doubt, labels that were not in the looseness alone: two
    tests. Expletives are loose as well, but other rows have them too, and what a class is about stands in texts of a
    kind: without contradiction only what hardly another row has, and what stands in texts like any of its class, is
    doubted, beside ordinary phrases of which the same is true. What has its own place in the texts of a class may be
    how its source writes: the content must speak against it as well. The p-values of the phrases of one class share
    its error; classes are for others to correct.
    """
    known = np.isfinite(against.error)
    doubt = np.zeros(len(loose))
    if (known & peer).any():
        doubt[known] = doubted(against, known, peer[known], significance, insertion)
    total = loose + doubt
    asked, crowd = ~peer, unrelated(akin, peer, most=significance.akin, fewest=insertion.reference)
    alone = rarely(loose, rows, crowd, insertion)[asked]
    opposing = opposed(against, least_spread=significance.least_spread)[asked]
    # A word by which somebody chose the labels is contradicted as well, but it need not sit loosely.
    inserted = alone <= insertion.loose
    changed = np.where(inserted, tail(total, total[peer], insertion)[asked], 1.0)
    # Most phrases are short and in few rows, those of an attack are neither.
    share = (np.log2(rows) * np.log2(1 + words))[asked]
    placed, own, outcome, akin = placed[asked], own[asked], outcome[asked], akin[asked]
    like_any = akin <= significance.akin
    drawn = np.exp(-akin.clip(min=0))  # about as likely are rows drawn from the class to be so akin
    # Looseness alone is the weakest witness: of the error it gets as much as the other two.
    of_changed, of_loose = significance.error_changed, significance.error_loose
    families = (
        (changed, ~placed & (like_any | (against.place > against.neutral)[asked]), share, of_changed),
        (alone, ~placed & own & like_any, share * drawn, of_loose),
        (opposing, placed & inserted, share, 1 - of_changed - of_loose),
    )
    chance = np.min([shared(p_value, part, family, outcome) / error for p_value, family, part, error in families], 0)
    # Where the content does not speak as well, a loose word of the class would soon be taken along.
    kinds = (
        (opposing <= significance.opposed, significance.taken),
        (own & like_any, significance.taken_silent),
    )
    sets = [together(alone, ~placed & kind, outcome, taken=taken) for kind, taken in kinds]
    out: Array = np.minimum(chance, len(sets) * np.min(sets, 0)).clip(1e-30, 1)
    for p_value in (changed, alone):
        out = joined(out, p_value, ~placed & like_any, outcome, taken=significance.taken)
    return out


def unrelated(akin: Array, peer: Array, *, most: float, fewest: int) -> Array:
    """The ordinary phrases whose rows are at most so akin, or the `fewest` that come nearest to it [P] bool."""
    order = np.where(peer, akin, np.inf).argsort(kind="stable")
    out: Array = peer & (akin <= most)
    out[order[: min(fewest, int(peer.sum()))]] = True
    return out


def joined(chance: Array, p_value: Array, family: Array, outcome: Array, *, taken: float) -> Array:
    """The p-values [S] once more, given that what leads a class is a trigger: others of the family may go with it.

    Who plants one phrase plants several, each of which may be too rare to be suspected. In a class they are as sure as
    its surest phrases are if Benjamini & Hochberg's rate `taken` lets them in, so nothing is suspected for them.
    """
    out: Array = chance.copy()
    for k in np.unique(outcome):
        mine = np.flatnonzero(outcome == k)
        mine = mine[chance[mine].argsort(kind="stable")]
        simes = chance[mine] / np.arange(1, len(mine) + 1)
        leading = mine[: int(simes.argmin()) + 1]
        others = np.setdiff1d(np.flatnonzero(family & (outcome == k)), leading)
        others = others[p_value[others].argsort(kind="stable")]
        place = len(leading) + np.arange(1, len(others) + 1)
        within = np.flatnonzero(p_value[others] <= taken * place / (len(leading) + len(others)))
        inside = slice(within[-1] + 1 if len(within) else 0)
        out[others[inside]] = np.minimum(out[others[inside]], simes.min() * place[inside])
    return out


def doubted(
    against: Contradicted, known: Array, ordinary: Array, significance: PhraseSignificance, insertion: InsertionScore
) -> Array:
    """How far the content of the known phrases speaks against their label, in deviations of the ordinary ones.

    Words that the label is about may stand in rows that say nothing else of it: up to there little is held against
    them. Rows that say something else speak against the label itself.
    """
    place, neutral, error = against.place[known], against.neutral[known], against.error[known]
    middle, deviation = law(place, error, ordinary, least=insertion.least_spread)
    silent = (np.minimum(place, neutral) - middle) / deviation
    out: Array = silent.clip(-significance.silent, significance.silent)
    out += ((place - neutral) / deviation).clip(0, insertion.cap)
    return out


def opposed(against: Contradicted, *, least_spread: float) -> Array:
    """P(rows that say so clearly something else than their label), where they should at most say nothing of it [P]."""
    out: Array = ndtr((against.neutral - against.place) / np.hypot(against.error, least_spread))
    return np.where(np.isfinite(against.error), out, 1.0)


def shared(p_value: Array, share: Array, family: Array, outcome: Array) -> Array:
    """The p-values of a family [S] bool of phrases as if all of their class had been looked at; 1 for the others.

    They share the error of the class as `share` says (Genovese, Roeder & Wasserman 2006).
    """
    out = np.ones(len(share))
    for k in np.unique(outcome):
        mine = family & (outcome == k)
        out[mine] = p_value[mine] * share[mine].sum() / (len(share) * share[mine])
    return out


def together(alone: Array, family: Array, outcome: Array, *, taken: float) -> Array:
    """P-values of phrases as sets that lead to one class, each too rare to be found by itself [S]; 1 outside of sets.

    Among the phrases of a `family` there should be as many loose ones as among any others: P(so many so loose), as
    higher criticism asks (Donoho & Jin 2004), for as many as Benjamini & Hochberg's rate `taken` lets in.
    """
    out = np.ones(len(alone))
    for k in np.unique(outcome):
        mine = np.flatnonzero(family & (outcome == k))
        mine = mine[alone[mine].argsort(kind="stable")]
        place = np.arange(1, len(mine) + 1)
        within = np.flatnonzero(alone[mine] <= taken * place / max(len(mine), 1))
        if len(within) and within[-1] >= 1:
            inside = slice(within[-1] + 1)
            chance = binom.sf(place[inside] - 1, len(mine), alone[mine[inside]]).min()
            out[mine[inside]] = min(1.0, chance * (within[-1] + 1))
    return out
