"""P-values of candidate phrases, from their insertion scores and the contradiction of their rows' content and label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.text.ngrams import Array
from foretaste.text.triggers.insertion_score import InsertionScore, gaussian_tail, matched_tail, reference_scale
from foretaste.text.triggers.label_contradiction import Contradicted


@dataclass(frozen=True)
class PhraseSignificance:
    """How insertion scores and contradictions between content and label become p-values.

    silent         largest contribution to a score, up or down, of rows whose content does not contradict their label,
                   in standard deviations of the reference phrases
    least_spread   standard deviation of rows' positions between their class (0) and the others (1), added to the
                   standard error of a phrase's position (in quadrature)
    akin           similarity of a phrase's rows, in standard deviations of random rows of the class, up to which they
                   count as random rows of it
    opposed        p-value of the contradiction between content and label up to which phrases may be tested as a set
    taken          Benjamini-Hochberg rate at which phrases enter a set whose rows contradict their label, or join a
                   trigger phrase of their class
    taken_silent   Benjamini-Hochberg rate at which phrases enter a set whose rows need not contradict their label
    error_changed  share of the error rate for the test of changed labels: insertion score plus contradiction
    error_loose    share of the error rate for the test of true labels: insertion score alone; the rest is for phrases
                   at a fixed place in their texts
    """

    silent: float = threshold(1.0, "not tuned")
    least_spread: float = threshold(0.1, "not tuned")
    akin: float = threshold(3.0, "exceeded by .7 % of random sets of rows of a class")
    opposed: float = threshold(0.1, "not tuned")
    taken: float = threshold(0.1, "not tuned")
    taken_silent: float = threshold(0.01, "a tenth of `taken`, or ordinary words of the class would soon enter")
    error_changed: float = threshold(1 / 8, "not tuned")
    error_loose: float = threshold(1 / 2, "the least powerful test gets as much as the other two; not tuned")

    def __post_init__(self) -> None:
        if min(self.error_changed, self.error_loose) <= 0 or self.error_changed + self.error_loose >= 1:
            raise PlanError(
                "significance error_changed and error_loose must be above 0 and leave some of the error, got "
                f"{self.error_changed} and {self.error_loose}"
            )


def phrase_p_values(  # noqa: PLR0917
    score: Array, rows: Array, words: Array, placed: Array, own: Array, outcome: Array, against: Contradicted,
    similarity: Array, reference: Array, *, significance: PhraseSignificance, insertion: InsertionScore,
) -> Array:  # fmt: skip
    """P-values of the candidate phrases [S], which are those not in the `reference` set; all arguments are [P].

    score        insertion score
    rows, words  number of rows and of words
    placed, own  whether it has a fixed place in its texts; whether it is exclusive to the rows of its class
    against      how far the content of its rows contradicts the class `outcome` that it predicts
    similarity   how much more similar its rows are than random rows of that class

    Three tests. Changed labels show in the sum of insertion score and contradiction. With true labels only the
    insertion score remains, which is also high for interjections and for topic words of the class: the phrase must be
    exclusive to the class, its rows like random rows of it, and so the reference phrases it is compared with. A phrase
    at a fixed place may be how a source writes, so its rows must contradict their label. The p-values are corrected
    within a class (weighted Bonferroni), not over classes.
    """
    known = np.isfinite(against.error)
    contradiction = np.zeros(len(score))
    if (known & reference).any():
        contradiction[known] = contradiction_scores(against, known, reference[known], significance, insertion)
    total = score + contradiction
    candidate = ~reference
    similar = similar_reference(similarity, reference, most=significance.akin, fewest=insertion.reference)
    alone = matched_tail(score, rows, similar, insertion)[candidate]
    opposing = contradiction_p_values(against, least_spread=significance.least_spread)[candidate]
    # A keyword by which labels were chosen contradicts content as well, but need not look inserted.
    inserted = alone <= insertion.loose
    changed = np.where(inserted, gaussian_tail(total, total[reference], insertion)[candidate], 1.0)
    # Most phrases are short and rare; those of an attack are not.
    weight = (np.log2(rows) * np.log2(1 + words))[candidate]
    placed, own, outcome, similarity = placed[candidate], own[candidate], outcome[candidate], similarity[candidate]
    like_any = similarity <= significance.akin
    drawn = np.exp(-similarity.clip(min=0))  # about the probability that random rows of the class are so similar
    of_changed, of_loose = significance.error_changed, significance.error_loose
    tests = (
        (changed, ~placed & (like_any | (against.place > against.neutral)[candidate]), weight, of_changed),
        (alone, ~placed & own & like_any, weight * drawn, of_loose),
        (opposing, placed & inserted, weight, 1 - of_changed - of_loose),
    )
    p_value = np.min([weighted_bonferroni(p, part, family, outcome) / error for p, family, part, error in tests], 0)
    kinds = (
        (opposing <= significance.opposed, significance.taken),
        (own & like_any, significance.taken_silent),
    )
    sets = [set_p_values(alone, ~placed & kind, outcome, taken=taken) for kind, taken in kinds]
    out: Array = np.minimum(p_value, len(sets) * np.min(sets, 0)).clip(1e-30, 1)
    for p in (changed, alone):
        out = with_companions(out, p, ~placed & like_any, outcome, taken=significance.taken)
    return out


def similar_reference(similarity: Array, reference: Array, *, most: float, fewest: int) -> Array:
    """The reference phrases [P] bool of row similarity at most `most`, or the `fewest` lowest ones if they are more."""
    order = np.where(reference, similarity, np.inf).argsort(kind="stable")
    out: Array = reference & (similarity <= most)
    out[order[: min(fewest, int(reference.sum()))]] = True
    return out


def with_companions(chance: Array, p_value: Array, family: Array, outcome: Array, *, taken: float) -> Array:
    """The p-values `chance` [S], lowered for phrases of a `family` that accompany a significant one of their class.

    An attacker may plant several phrases, each too rare to be significant. Given that the leading phrases of a class
    are triggers, those whose own `p_value` [S] passes Benjamini & Hochberg at the rate `taken` get p-values that leave
    the class's Simes p-value unchanged, so they cannot make a class significant.
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


def contradiction_scores(
    against: Contradicted, known: Array, reference: Array, significance: PhraseSignificance, insertion: InsertionScore
) -> Array:
    """Contradiction of content and label for the `known` phrases, in standard deviations of the reference ones.

    Rows of a topic word may have no other evidence for their label, so positions up to neutral count little (`silent`);
    positions beyond it are evidence for another class and count in full.
    """
    place, neutral, error = against.place[known], against.neutral[known], against.error[known]
    middle, deviation = reference_scale(place, error, reference, least=insertion.least_spread)
    silent = (np.minimum(place, neutral) - middle) / deviation
    out: Array = silent.clip(-significance.silent, significance.silent)
    out += ((place - neutral) / deviation).clip(0, insertion.cap)
    return out


def contradiction_p_values(against: Contradicted, *, least_spread: float) -> Array:
    """P-value [P] of the rows' mean position under the null that it is neutral; 1 where content is no evidence."""
    out: Array = ndtr((against.neutral - against.place) / np.hypot(against.error, least_spread))
    return np.where(np.isfinite(against.error), out, 1.0)


def weighted_bonferroni(p_value: Array, weight: Array, family: Array, outcome: Array) -> Array:
    """P-values [S] of a `family` [S] bool, in proportion to `weight` [S] within each class; 1 outside the family.

    Weighted Bonferroni (Genovese, Roeder & Wasserman 2006), divided by the number of all candidates S: the result is
    that of a single one of them.
    """
    out = np.ones(len(weight))
    for k in np.unique(outcome):
        mine = family & (outcome == k)
        out[mine] = p_value[mine] * weight[mine].sum() / (len(weight) * weight[mine])
    return out


def set_p_values(alone: Array, family: Array, outcome: Array, *, taken: float) -> Array:
    """P-values [S] of phrases tested as one set per class, for phrases each too rare to be significant; 1 outside sets.

    A set has the phrases of the `family` that pass Benjamini & Hochberg at the rate `taken`. Its p-value is the
    binomial probability of as many p-values `alone` so small, minimised over its size (higher criticism, Donoho & Jin
    2004) with Bonferroni's factor.
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
