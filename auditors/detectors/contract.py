"""The contract of detectors: frozen settings, one file each, registered by a decorator and found by a scan.

Objects never change: a detector's `begin` returns an Aggregator, and an Aggregator's `finish` returns the next
Aggregator or a Scorer. The rest of foretaste knows a detector only by its Claim and its `describe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch

from foretaste.registry import Registry
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

State = Any  # a frozen dataclass whose fields are tensors, or such dataclasses
D = TypeVar("D", bound="type[Detector]")


@dataclass(frozen=True)
class Family:
    """Detectors of one kind of evidence: runs of a family are averaged, families are combined as independent."""

    name: str


SPECTRAL = Family("spectral")  # outliers along few directions
CONTRAST = Family("contrast")  # patterns of rows with doubted labels
CLUSTERING = Family("clustering")  # separate clusters within a class
LABEL = Family("label")  # labels contradicted by out-of-fold probabilities
RELABELLING = Family("relabelling")  # random rows of other classes in a class
FORM = Family("form")  # writing style
TRIGGER = Family("trigger")  # phrases
COPIES = Family("copies")  # near duplicates


class Unit(NamedTuple):
    """The number displayed for a group: the name of its evidence ("" for the statistic), and its unit in words."""

    evidence: str = ""
    words: str = ""


STATISTIC = Unit()
UNACCUSED = 0.4  # largest posterior of a row that must not be flagged: no plan flags below one half


@dataclass(frozen=True)
class Claim:
    """What the findings of a detector claim, and how they are corroborated or rejected.

    kind        what is wrong with the rows
    family      detectors of different families are independent on clean data, and corroborate each other
    unit        the number displayed for its groups
    names_rows  whether its posteriors identify single rows; a detector that only counts them (evidence `foreign_rows`)
                needs no corroboration, and is explained away where another finding accounts for as many rows
    acquittable whether a group is released if it is a natural cluster of similar content
    """

    kind: Kind
    family: Family
    unit: Unit = STATISTIC
    names_rows: bool = True
    acquittable: bool = True


@dataclass(frozen=True)
class GroupFacts:
    """A suspicious group, as needed to describe it in a sentence.

    rows      number of rows flagged in it
    of        number of rows of its class, or of the dataset
    label     the name of its class; None where it is not of one class
    views     the embedders in whose vectors it was found, as in "grey32, rgb16"
    evidence  the detector's evidence for the group, by name
    classes   all class names in label order; empty without labels
    answered  whether rows are prompts with responses
    """

    rows: int
    of: int
    label: str | None
    views: str
    evidence: Mapping[str, float]
    classes: tuple[str, ...]
    answered: bool = False

    @property
    def who(self) -> str:
        """The class or dataset that the rows belong to."""
        return "the dataset" if self.label is None else f"class {self.label}"

    @property
    def counted(self) -> str:
        """The number of rows, as in "12 of 1,000 rows of class cat"."""
        return f"{self.rows:,} of {self.of:,} rows of {self.who}"


@runtime_checkable
class Aggregator(Protocol):
    """One pass over the data, with the four methods of Spark's Aggregator.

    `merge` is associative with `zero` as its identity, and no method changes its arguments.
    """

    def zero(self) -> State: ...

    def reduce(self, state: State, batch: Batch) -> State: ...

    def merge(self, left: State, right: State) -> State: ...

    def finish(self, state: State) -> Aggregator | Scorer: ...


@runtime_checkable
class Scorer(Protocol):
    """A fitted detector. A row's score does not depend on the batch it is in."""

    @property
    def groups(self) -> GroupTests: ...

    def score(self, batch: Batch) -> Scores: ...


class Detector(Protocol):
    """A test for poison among embedded rows."""

    claim: ClassVar[Claim]

    def begin(self, schema: Schema) -> Aggregator:
        """The first pass. Raises NotApplicable where the detector does not apply to the data."""
        ...

    def describe(self, group: GroupFacts) -> str:
        """One sentence on what distinguishes the rows of this group.

        It is called for every group as soon as the run has its Scorer; an exception fails the run.
        """
        ...


@runtime_checkable
class SeparatesRows(Scorer, Protocol):
    """A Scorer that can select the outlying rows of each group, whether or not the group is significant.

    It uses no class probabilities, so it can run before they are estimated (for GroupedCrossFit).
    """

    def apart(self, batch: Batch) -> torch.Tensor:
        """Outlying rows of each group [B, G] bool, including rows of other classes as far out in the same direction."""
        ...


@runtime_checkable
class AccusesColumns(Protocol):
    """A Scorer of an embedding whose columns are single objects (phrases, clusters), some of which it flags."""

    @property
    def accused(self) -> Mapping[int, float]:
        """The columns flagged, with the p-value or adjusted p-value of each."""
        ...


DETECTORS: Registry[type[Detector]] = Registry("detector", ("foretaste.detectors",), "foretaste.detectors")


def detector(name: str) -> Callable[[D], D]:
    """Class decorator: registers a detector; a name has one owner."""
    return DETECTORS.register(name)  # type: ignore[return-value]
