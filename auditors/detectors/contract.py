"""What a detector is: frozen settings, one file, registered by a decorator and found by a scan.

Nothing is ever learned in place: a detector's `begin` returns an Aggregator, and an Aggregator's `finish` returns the
next Aggregator or a Scorer. All that anybody else must know of a detector stands in its Claim and its `describe`.
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
    """Detectors that look at one thing: their runs are averaged, where families are independent witnesses."""

    name: str


SPECTRAL = Family("spectral")  # rows far out along few directions
CONTRAST = Family("contrast")  # what doubted rows share and others do not
CLUSTERING = Family("clustering")  # a cluster of its own inside a class
LABEL = Family("label")  # labels that out-of-fold probabilities contradict
RELABELLING = Family("relabelling")  # rows that are draws from other classes
FORM = Family("form")  # a way of writing
TRIGGER = Family("trigger")  # phrases
COPIES = Family("copies")  # near copies


class Unit(NamedTuple):
    """What a number about a group says: which evidence ("" for the statistic), and what it counts, for people."""

    evidence: str = ""
    words: str = ""


STATISTIC = Unit()


@dataclass(frozen=True)
class Claim:
    """What the findings of a detector claim, and what may speak against them.

    kind        what is wrong with the rows
    family      detectors of different families fail independently and corroborate each other
    unit        what is drawn of its groups
    names_rows  whether its posteriors say which rows it means; what only counts them (evidence `foreign_rows`) does
                without corroboration, and is explained away where another finding accounts for as many
    acquittable whether a group that is a natural cluster of contents is let go
    """

    kind: Kind
    family: Family
    unit: Unit = STATISTIC
    names_rows: bool = True
    acquittable: bool = True


@dataclass(frozen=True)
class GroupFacts:
    """A suspicious group, to be put into words.

    rows      accused in it, of so many rows `of` its class, or of the dataset
    label     the name of its class; None where it is of none
    views     the embedders in whose vectors it shows, as in "grey32, rgb16"
    evidence  what the detector said of the group, by name
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
        """Whose rows they are."""
        return "the dataset" if self.label is None else f"class {self.label}"

    @property
    def counted(self) -> str:
        """How many rows of whose."""
        return f"{self.rows:,} of {self.of:,} rows of {self.who}"


@runtime_checkable
class Aggregator(Protocol):
    """One sweep over the data, in Spark's four verbs.

    `merge` is associative with `zero` as its identity, and neither verb changes its arguments.
    """

    def zero(self) -> State: ...

    def reduce(self, state: State, batch: Batch) -> State: ...

    def merge(self, left: State, right: State) -> State: ...

    def finish(self, state: State) -> Aggregator | Scorer: ...


@runtime_checkable
class Scorer(Protocol):
    """What a detector has learned. Scoring a row alone gives what it gives in any batch."""

    @property
    def groups(self) -> GroupTests: ...

    def score(self, batch: Batch) -> Scores: ...


class Detector(Protocol):
    """What is suspicious about embedded rows."""

    claim: ClassVar[Claim]

    def begin(self, schema: Schema) -> Aggregator:
        """Raises NotApplicable where the data has nothing for it to look at."""
        ...

    def describe(self, group: GroupFacts) -> str:
        """One sentence for a person: what sets the rows of this group apart.

        It is tried on every group as soon as the run has its Scorer: what it raises fails the run.
        """
        ...


@runtime_checkable
class SeparatesRows(Scorer, Protocol):
    """A Scorer that also says which rows of each group stand apart most, even where chance does the same.

    It reads no class probabilities, so it may have looked before there are any.
    """

    def apart(self, batch: Batch) -> torch.Tensor:
        """[B, G] bool, with the rows of other classes that lie as far out in the same way."""
        ...


@runtime_checkable
class AccusesColumns(Protocol):
    """A Scorer of an embedding whose columns are things by themselves (phrases, clusters), some of which it accuses."""

    @property
    def accused(self) -> Mapping[int, float]:
        """The columns accused, with the probability or false discovery rate of each."""
        ...


DETECTORS: Registry[type[Detector]] = Registry("detector", ("foretaste.detectors",), "foretaste.detectors")


def detector(name: str) -> Callable[[D], D]:
    """Class decorator: registers a detector; a name has one owner."""
    return DETECTORS.register(name)  # type: ignore[return-value]
