"""Settings of the decision: how the detectors' p-values and posteriors become findings, flags and a verdict."""

from __future__ import annotations

from dataclasses import dataclass, field

from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.stats.mixture import LIKELIER


@dataclass(frozen=True)
class NaturalClusters:
    """When a suspicious group is a natural cluster and is acquitted (decide/natural_clusters.py).

    neighbours  number of nearest neighbours searched for each query row
    sample      largest number of query rows from the group
    level       p-value, over all views, up to which a group is a natural cluster: the share of planted groups that are
                taken for one
    least       share of the neighbours that must lie in the group, at least: more than none where a pattern may have
                several parts, as several phrases, which cannot all be taken out
    sources     number of classes, those nearest to the group, of which its rows' content may be a mixture
    flat        a coordinate is ignored if its variance in the group is below this share of its variance in the rest of
                the class: a pattern has overwritten it
    """

    neighbours: int = threshold(5, "a usual k of k-NN; not tuned")
    sample: int = threshold(256, "the standard error of a share is then at most 3 %")
    level: float = threshold(
        0.01, "one in a hundred planted groups, as fdr takes one clean dataset in a hundred for planted"
    )
    least: float = threshold(0.0, "half of them for words, where the default plans have it: a majority")
    sources: int = threshold(16, "beyond that a mixture is close to the mean of all rows; not tuned")
    flat: float = threshold(0.25, "half the standard deviation; not tuned")


@dataclass(frozen=True)
class Corroboration:
    """When two runs on a class corroborate each other (decide/corroboration.py).

    shared  two sets of flagged rows corroborate each other if their overlap is at least this share of the smaller set
    """

    shared: float = threshold(0.5, "a majority; not tuned")


@dataclass(frozen=True)
class ExplainingAway:
    """When one finding explains another away (decide/explaining_away.py).

    shared   a finding is explained away if another one, in a single class, covers at least this share of its rows; one
             that only counts rows also if the other one is more significant
    times    a pattern found over all classes is attributed to one class if it is at least this many times as frequent
             there as in the other classes, and `chance` holds
    chance   largest binomial p-value of that many of its rows in that class, if it were equally frequent in all
    """

    shared: float = threshold(0.5, "a majority; not tuned")
    times: float = threshold(2.0, "not tuned")
    chance: float = threshold(0.01, "the same as fdr")


@dataclass(frozen=True)
class Decide:
    """How p-values and posteriors become findings, flags and a verdict.

    fdr              false discovery rate at which a class is suspicious: Benjamini-Hochberg over all tested classes,
                     for wrong labels, near copies and all other attacks separately
    watch            a class that is not suspicious at `fdr` but at this rate gives a warning; none of its rows is
                     flagged
    posterior        a row of a suspicious group is flagged from this posterior probability on (0.5 or more)
    label_posterior  a label is reported as wrong from this posterior probability on (0.5 or more)
    label_share      an audit warns if more than this share of all rows has a wrong label
    content          embedder in whose vectors natural clusters are recognised, one that shows a row's plain content;
                     "" acquits no group
    colour           embedder that shows the same content in colour, in whose vectors they are recognised as well; ""
                     for none
    beliefs          embedder whose out-of-fold class probabilities are passed to the detectors on the other embedders;
                     "" for none
    broken_rows      rows that cannot be read: "report" lists them and audits the others, "refuse" ends the audit
    """

    fdr: float = threshold(0.01, "a false alarm in one of a hundred clean datasets")
    watch: float = threshold(0.1, "a warning for one of ten clean datasets")
    posterior: float = threshold(0.5, "more likely poisoned than not")
    label_posterior: float = threshold(0.5, "more likely wrong than not")
    label_share: float = threshold(
        0.02, "not tuned; Northcutt, Athalye & Mueller (2021) find 3.3 % of wrong labels on average in ten test sets"
    )
    content: str = ""
    colour: str = ""
    beliefs: str = ""
    broken_rows: str = "report"
    natural: NaturalClusters = field(default_factory=NaturalClusters)
    corroboration: Corroboration = field(default_factory=Corroboration)
    explaining: ExplainingAway = field(default_factory=ExplainingAway)

    def __post_init__(self) -> None:
        for name in ("fdr", "watch", "posterior", "label_posterior", "label_share"):
            if not 0 < getattr(self, name) < 1:
                raise PlanError(f"[decide] {name} must lie between 0 and 1, got {getattr(self, name)}")
        for name in ("posterior", "label_posterior"):
            # Detectors select rows, phrases and copies at one half themselves; below that they cannot follow.
            if getattr(self, name) < LIKELIER:
                raise PlanError(
                    f"[decide] {name} must be at least {LIKELIER}, got {getattr(self, name)}: below it rows would be "
                    "accused that are more likely innocent"
                )
        if self.broken_rows not in ("report", "refuse"):
            raise PlanError(f"[decide] broken_rows must be 'report' or 'refuse', got {self.broken_rows!r}")
