"""What turns p-values into flags: every number that decides after the detectors have spoken."""

from __future__ import annotations

from dataclasses import dataclass, field

from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.stats.mixture import LIKELIER


@dataclass(frozen=True)
class NaturalClusters:
    """When a suspicious group is a kind of content and not a planted pattern (decide/natural_clusters.py).

    neighbours  nearest rows that are looked up for a row
    sample      rows of a group, and of the rest of its class, whose neighbours are looked up, at most
    copies      share of neighbours inside the group from which on its rows are near copies of each other
    telling     share of neighbours in their own class from which on neighbours tell classes apart at all
    closer      share of neighbours inside the group, beyond what its number of rows makes of it, from which on it is
                natural
    flat        variance of a coordinate in the group, as a share of that in its class, below which a pattern has
                overwritten it
    """

    neighbours: int = threshold(5, "as usual for k-NN; not tuned")
    sample: int = threshold(256, "a share then has a standard error of at most 3 %")
    copies: float = threshold(0.6, "not tuned")
    telling: float = threshold(0.5, "more often than not; so they do in digits, and not in the pixels of CIFAR-10")
    closer: float = threshold(
        0.1,
        "ways to write a digit, 14 groups of 6 draws: 11 above .1, up to .22; planted on rows of one class of the same "
        "digits, 60 groups: patches of up to 8 of 32 pixels, blends of up to .3, signals at most .06",
    )
    flat: float = threshold(0.25, "half the standard deviation; not tuned")


@dataclass(frozen=True)
class Corroboration:
    """When two runs mean the same rows of a class (decide/corroboration.py).

    shared  share of the rows of one run that another has too, from which on they mean the same
    """

    shared: float = threshold(0.5, "most of them; not tuned")


@dataclass(frozen=True)
class ExplainingAway:
    """When one finding accounts for another (decide/explaining_away.py).

    shared     share of the rows of a finding that another is about, from which on that accounts for it
    certain    mean posterior of rows with a pattern; rows that only come close to one have less
    times      as many times as often in one class as in the others together is no pattern of all classes
    chance     probability below which a pattern is too frequent in one class to be one of all classes
    """

    shared: float = threshold(0.5, "most of them; not tuned")
    certain: float = threshold(0.75, "midway between likelier than not and certain")
    times: float = threshold(2.0, "not tuned")
    chance: float = threshold(0.01, "the rate of the audit")


@dataclass(frozen=True)
class Decide:
    """What turns p-values into flags.

    fdr              false discovery rate over all groups that all detectors looked at
    watch            groups beyond `fdr` up to this rate are worth a look and a warning; their rows are not accused
    posterior        a row of a suspicious group is flagged from this posterior probability on, at least one half
    label_posterior  a label is called wrong from this posterior probability on, at least one half
    label_share      more than this share of wrong labels is worth a warning
    content          the embedder that shows a row's plain content, by which natural clusters are told from planted
                     groups; "" leaves no group alone
    beliefs          the embedder whose out-of-fold class probabilities say which labels are doubted, for detectors that
                     look at other embedders' vectors; "" for none
    broken_rows      "report" rows that cannot be read and go on, or "refuse" the dataset
    """

    fdr: float = threshold(0.01, "one clean dataset in a hundred")
    watch: float = threshold(0.1, "one clean dataset in ten")
    posterior: float = threshold(0.5, "more likely than not")
    label_posterior: float = threshold(0.5, "more likely than not")
    label_share: float = threshold(
        0.02, "not tuned; Northcutt, Athalye & Mueller (2021) find 3.3 % in the mean of ten test sets"
    )
    content: str = ""
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
            # Which rows stand apart, and which phrases or copies are accused, is decided at one half by each detector.
            if getattr(self, name) < LIKELIER:
                raise PlanError(
                    f"[decide] {name} must be at least {LIKELIER}, got {getattr(self, name)}: below it rows would be "
                    "accused that are more likely innocent"
                )
        if self.broken_rows not in ("report", "refuse"):
            raise PlanError(f"[decide] broken_rows must be 'report' or 'refuse', got {self.broken_rows!r}")
