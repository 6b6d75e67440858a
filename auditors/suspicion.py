"""How suspicious phrases are: p-values from how loosely they sit and from what the rest of their rows says."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr
from scipy.stats import binom

from auditors.contradiction import Contradicted
from auditors.looseness import CAP, law, rarely, tail
from auditors.ngrams import Array

SILENT = (-1.0, 1.0)  # bounds of what rows can add that do not speak against their label
LEAST_SPREAD = 0.1  # of the place of a phrase's rows between their label (0) and the others (1)
LOOSE = 0.05  # probability up to which what has a place of its own may have been put there
OPPOSED = 0.1  # probability up to which rows may speak against their label, so that their phrases are taken together
TAKEN = 0.1  # false discovery rate among phrases taken together


def suspected(  # noqa: PLR0917
    loose: Array, rows: Array, placed: Array, own: Array, outcome: Array, against: Contradicted, peer: Array,
    crowd: tuple[Array, Array],
) -> Array:  # fmt: skip
    """P-values of the phrases [S] that are not `peer`, the ordinary ones asked beside them; all arrays are [P].

    loose, rows  how loosely each sits and how many rows it has; `crowd` are those of all ordinary phrases
    placed, own  whether it has a place of its own in its texts; whether hardly a row of another class has it
    against      what the content of its rows says of the class `outcome` that they lead to

    Labels that were changed show in the sum of looseness and doubt, labels that were not in the looseness alone: two
    tests. Expletives are loose as well, but other rows have them too: without contradiction only what hardly another
    row has is doubted. What has its own place in the texts of a class may be how its source writes: the content must
    speak against it as well.
    """
    known = np.isfinite(against.error)
    doubt = np.zeros(len(loose))
    if (known & peer).any():
        doubt[known] = doubted(against, known, peer[known])
    total = loose + doubt
    asked = ~peer
    alone, opposing = rarely(loose, rows, *crowd)[asked], opposed(against)[asked]
    changed = tail(total, total[peer])[asked]
    rows, placed, own, outcome = rows[asked], placed[asked], own[asked], outcome[asked]
    families = (
        (changed, ~placed),
        (alone, ~placed & own),
        (opposing, placed & (alone <= LOOSE)),
    )
    chance = np.min([shared(p_value, rows, family) for p_value, family in families], 0)
    # Where the content does not speak as well, a loose word of the class would soon be taken along.
    kinds = ((opposing <= OPPOSED, TAKEN), (own, TAKEN / 10))
    sets = [together(alone, ~placed & kind, outcome, taken) for kind, taken in kinds]
    out: Array = np.minimum(len(families) * chance, len(sets) * np.min(sets, 0)).clip(1e-30, 1)
    return out


def doubted(against: Contradicted, known: Array, ordinary: Array) -> Array:
    """How far the content of the known phrases speaks against their label, in deviations of the ordinary ones.

    Words that the label is about may stand in rows that say nothing else of it: up to there little is held against
    them. Rows that say something else speak against the label itself.
    """
    place, neutral, error = against.place[known], against.neutral[known], against.error[known]
    middle, deviation = law(place, error, ordinary)
    silent = (np.minimum(place, neutral) - middle) / deviation
    out: Array = silent.clip(*SILENT) + ((place - neutral) / deviation).clip(0, CAP)
    return out


def opposed(against: Contradicted) -> Array:
    """P(rows that say so clearly something else than their label), where they should at most say nothing of it [P]."""
    out: Array = ndtr((against.neutral - against.place) / np.hypot(against.error, LEAST_SPREAD))
    return np.where(np.isfinite(against.error), out, 1.0)


def shared(p_value: Array, rows: Array, family: Array) -> Array:
    """The p-values of a family [S] bool of phrases as if all had been looked at; 1 for the others.

    They share the error unevenly (Genovese, Roeder & Wasserman 2006): most phrases have few rows, those of an attack
    have many, so each octave of rows gets as much again.
    """
    share = np.log2(rows)
    out = np.ones(len(rows))
    out[family] = p_value[family] * share[family].sum() / (len(rows) * share[family])
    return out


def together(alone: Array, family: Array, outcome: Array, taken: float = TAKEN) -> Array:
    """P-values of phrases as sets that lead to one class, each too rare to be found by itself [S]; 1 outside of sets.

    Among the phrases of a `family` there should be as many loose ones as among any others: P(so many so loose), as
    higher criticism asks (Donoho & Jin 2004), for as many as Benjamini & Hochberg's rate `taken` lets in.
    """
    out = np.ones(len(alone))
    classes = np.unique(outcome)
    for k in classes:
        mine = np.flatnonzero(family & (outcome == k))
        mine = mine[alone[mine].argsort(kind="stable")]
        place = np.arange(1, len(mine) + 1)
        within = np.flatnonzero(alone[mine] <= taken * place / max(len(mine), 1))
        if len(within) and within[-1] >= 1:
            inside = slice(within[-1] + 1)
            chance = binom.sf(place[inside] - 1, len(mine), alone[mine[inside]]).min()
            out[mine[inside]] = min(1.0, chance * (within[-1] + 1) * len(classes))
    return out
