"""Insertion scores of phrases, and their p-values against reference phrases in a similar number of rows.

An inserted phrase carries little information about its neighbours, and its neighbours go together without it.
Reference phrases are phrases of the same texts that determine neither a label nor a response.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls
from scipy.special import erfc, ndtr, ndtri

from foretaste.dataset.payload import Payload
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Tally, Words
from foretaste.text.triggers.maximal_phrases import MaximalPhrases, maximal_phrases
from foretaste.text.triggers.neighbour_model import Contexts, NeighbourModel, Runs

Read = Callable[[Payload], Words]


@dataclass(frozen=True)
class InsertionScore:
    """How insertion scores are computed, and their null distribution, estimated from reference phrases.

    enough           reference phrases needed to estimate a null distribution; with fewer, no phrase is flagged
    telling          information about its neighbours, in nats, above which a candidate phrase counts as ordinary
                     language: its insertion score is then at most 0
    least_spread     lower bound of the reference phrases' standard deviation in any one statistic (in root nats, nats,
                     or shares)
    cap              largest contribution of one statistic to a score, in standard deviations of the reference phrases
    cap_told         largest contribution to a score of carrying no information about the neighbours, in standard
                     deviations of the reference phrases
    reference        reference phrases that a candidate is compared with, at least
    about            largest ratio between the numbers of rows of two phrases that are compared
    loose            upper tail of the reference phrases, as a share: a Gaussian is fitted at this quantile, and only
                     phrases with a smaller p-value count as inserted
    least_deviation  lower bound of the standard deviation of the reference phrases' insertion scores
    counted          standard deviations up to which the null distribution is Gaussian; beyond, its tail is exponential
    neighbours       how neighbours are counted and predicted
    maximal          when overlapping n-grams are one phrase
    """

    enough: int = threshold(20, "not tuned")
    telling: float = threshold(1.0, "ordinary words have about 1 nat, inserted ones about 0; not tuned")
    least_spread: float = threshold(0.15, "not tuned")
    cap: float = threshold(4.0, "the null distribution is unknown so far out")
    cap_told: float = threshold(6.0, "1.5 times `cap`; not tuned")
    reference: int = threshold(128, "gives a share of .05 with a standard error of 2 %; not tuned")
    about: float = threshold(2.0, "not tuned")
    loose: float = threshold(0.05, "as usual; not tuned")
    least_deviation: float = threshold(1.0, "that of each of the two standardised statistics in the sum; not tuned")
    counted: float = threshold(
        3.0,
        "natural phrases of ten corpora: Gaussian up to there; beyond, 7 in one half of the corpora and 5 in the rest, "
        "where the exponential tail has 6 and 7",
    )
    neighbours: NeighbourModel = field(default_factory=NeighbourModel)
    maximal: MaximalPhrases = field(default_factory=MaximalPhrases)

    def __post_init__(self) -> None:
        if not 0 < self.loose < 0.5:
            raise PlanError(f"insertion loose must lie between 0 and 0.5, got {self.loose}")

    @property
    def gauss(self) -> float:
        """The standard normal quantile at 1 - `loose`, to three decimals, as in printed tables."""
        return round(float(ndtri(1 - self.loose)), 3)


@dataclass(frozen=True)
class Measured:
    """A phrase with its neighbour statistics; `at` is the position in a tally of an n-gram with exactly its rows."""

    at: int
    key: int
    size: int
    rows: int
    text: str
    told: float  # information about its neighbours, nats per occurrence
    fits: float  # information of its two neighbours about each other, nats per occurrence
    placed: bool  # at a fixed relative position in its texts


def measured(
    payloads: Iterable[Payload], read: Read, kept: Tally, groups: Sequence[Array], whole: Tally, *,
    insertion: InsertionScore,
) -> list[Measured]:  # fmt: skip
    """The phrases formed by groups of n-grams of `kept`, a part of the tally `whole`. Two passes over the rows."""
    if not groups:
        return []
    phrases = maximal_phrases(payloads, read, kept, groups, insertion.maximal)
    order = np.argsort(kept.key[[phrase.left for phrase in phrases]], kind="stable")
    starts, ends = (kept.key[[getattr(phrases[at], side) for at in order]] for side in ("left", "right"))
    size = kept.size[[phrases[at].left for at in order]]
    runs = Runs(starts, ends, size, np.array([phrases[at].words for at in order]))
    contexts = Contexts(whole.commonest(insertion.neighbours.common), runs, insertion.neighbours)
    for payload in payloads:
        contexts.add(read(payload))
    fits, placed = contexts.fits(), contexts.placed()
    out: dict[int, Measured] = {}
    for spot, at in enumerate(order.tolist()):
        own = phrases[at].own
        number = int(kept.count[own].sum())
        out[at] = Measured(
            own, int(kept.key[own]), int(kept.size[own]), number, phrases[at].text, contexts.told(spot),
            float(fits[spot]), bool(placed[spot]),
        )  # fmt: skip
    return [out[at] for at in range(len(phrases))]


def insertion_scores(phrases: Sequence[Measured], reference: Array, insertion: InsertionScore) -> Array:
    """Insertion score of each phrase [P]: the sum of two statistics, each in standard deviations of the `reference`.

    reference  [P] bool, which phrases are the reference set; those at a fixed place are left out if enough remain
    """
    rows = np.array([phrase.rows for phrase in phrases], dtype=float)
    error = 1 / np.sqrt(rows)
    nats = np.array([phrase.told for phrase in phrases])
    told = -np.sign(nats) * np.sqrt(np.abs(nats))
    fits = np.array([phrase.fits for phrase in phrases])
    free = reference & ~np.array([phrase.placed for phrase in phrases])
    free = free if free.sum() >= insertion.enough else reference
    by_told, by_fits = (standardised(value, error, free, least=insertion.least_spread) for value in (told, fits))
    score = by_told.clip(-insertion.cap, insertion.cap_told) + by_fits.clip(-insertion.cap, insertion.cap)
    out: Array = np.where(~reference & (told < -math.sqrt(insertion.telling)), score.clip(max=0), score)
    return out


def standardised(value: Array, error: Array, reference: Array, *, least: float) -> Array:
    """Each value [P] in standard deviations of the reference values above their median."""
    median, deviation = reference_scale(value, error, reference, least=least)
    out: Array = (value - median) / deviation
    return out


def reference_scale(value: Array, error: Array, reference: Array, *, least: float) -> tuple[float, Array]:
    """The median of the reference values, and the standard deviation about it for each value [P] by its `error`.

    The deviation is linear in the error, with non-negative coefficients, fitted to the reference values above the
    median: the mean of a half Gaussian is sqrt(2 / pi) standard deviations. It is at least `least`.
    """
    precise = reference & (error <= np.median(error[reference]))
    median = float(np.median(value[precise]))
    above = reference & (value > median)
    if above.sum() < 2:
        return median, np.full(len(value), np.inf)
    design = np.stack([np.ones(int(above.sum())), error[above]], 1)
    own, noise = nnls(design, (value[above] - median) * math.sqrt(math.pi / 2))[0]
    return median, np.maximum(own + noise * error, least)


def gaussian(reference: Array, insertion: InsertionScore) -> tuple[float, float]:
    """Mean and standard deviation of the Gaussian through the median and the upper quantile of reference values."""
    middle, upper = np.quantile(reference, [0.5, 1 - insertion.loose])
    return middle, max((upper - middle) / insertion.gauss, insertion.least_deviation)


def gaussian_tail(value: Array, reference: Array, insertion: InsertionScore) -> Array:
    """P(value or more) [P] under the Gaussian fitted to the reference values."""
    middle, deviation = gaussian(reference, insertion)
    return 0.5 * erfc((value - middle) / deviation / math.sqrt(2))  # type: ignore[no-any-return]


def matched_tail(value: Array, rows: Array, reference: Array, insertion: InsertionScore) -> Array:
    """P-value [P] of each phrase's value, against the `reference` phrases [P] bool in a similar number of `rows` [P].

    These are the ones in half to twice as many rows, or the nearest `insertion.reference` if there are fewer. The null
    distribution is the Gaussian fitted to them, with an exponential tail beyond `insertion.counted`.
    """
    order = np.flatnonzero(reference)[rows[reference].argsort(kind="stable")]
    number = rows[order]
    out = np.ones(len(value))
    if not len(order):
        return out
    about, least = insertion.about, insertion.reference
    for at, here in enumerate(rows.tolist()):
        start, stop = np.searchsorted(number, here / about), np.searchsorted(number, about * here, side="right")
        if stop - start < least:
            start = min(max(int(np.searchsorted(number, here)) - least // 2, 0), max(len(order) - least, 0))
            stop = start + least
        middle, deviation = gaussian(value[order[start:stop]], insertion)
        out[at] = null_tail(float((value[at] - middle) / deviation), counted=insertion.counted)
    return out


def null_tail(deviations: float, *, counted: float) -> float:
    """Upper tail at so many standard deviations: Gaussian up to `counted`, then exponential with equal hazard there."""
    if deviations <= counted:
        return float(ndtr(-deviations))
    rate = math.exp(-(counted**2) / 2) / math.sqrt(2 * math.pi) / float(ndtr(-counted))
    return float(ndtr(-counted)) * math.exp(-rate * (deviations - counted))
