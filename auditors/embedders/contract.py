"""What an embedder and a detector are, and how they are found.

Both are frozen dataclasses of settings, one per file, registered by a decorator and discovered by a scan.
Nothing is ever learned in place: an embedder's `fit` returns an Encoder, a detector's `begin` returns an
Aggregator, and an Aggregator's `finish` returns the next Aggregator or a Scorer.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import torch

from foretaste.dataset.payload import Payload
from foretaste.types.batch import Batch, GroupTests, Scores
from foretaste.types.findings import Dataset, Kind, Modality, Schema

State = Any  # a frozen dataclass whose fields are tensors, or such dataclasses


@runtime_checkable
class Encoder(Protocol):
    """A fitted embedder. Embedding a row alone gives what it gives in any batch."""

    @property
    def dim(self) -> int: ...

    @property
    def digest(self) -> str:
        """Depends on everything that decides an embedding: weights, preprocessing, settings."""
        ...

    def embed(self, payload: Payload) -> Batch: ...


class Embedder(Protocol):
    """How rows become vectors.

    modalities  the payloads it reads
    """

    modalities: ClassVar[frozenset[Modality]]

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        """`payloads` may be iterated as often as needed, always in the same order.

        Raises NotApplicable where the data has nothing to embed this way.
        """
        ...


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
    """What is suspicious about embedded rows.

    kind    what its findings say is wrong
    family  detectors of different families fail independently and corroborate each other
    """

    kind: ClassVar[Kind]
    family: ClassVar[str]

    def begin(self, schema: Schema) -> Aggregator:
        """Raises NotApplicable where the data has nothing for it to look at."""
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
class GroupedCrossFit(Protocol):
    """An Embedder that estimates class probabilities in folds and can keep groups of rows in one fold each."""

    def fit_folded(
        self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device, together: torch.Tensor
    ) -> Encoder:
        """As `fit`; rows with one number in `together` [N] int64 share a fold, those with -1 are alone.

        Few rows with a pattern of their own teach a model their label: what it then says of them is no witness. In one
        fold they are judged by a model that saw none of them.
        """
        ...


@runtime_checkable
class Composite(Protocol):
    """An Embedder whose vectors hold those of others.

    parts  the kinds of these embedders
    """

    parts: ClassVar[frozenset[str]]


EMBEDDERS: dict[str, type[Embedder]] = {}
DETECTORS: dict[str, type[Detector]] = {}

E_ = TypeVar("E_", bound=type)


def embedder(name: str) -> Callable[[E_], E_]:
    """Class decorator: registers an embedder; a name has one owner."""
    return _register(EMBEDDERS, name)


def detector(name: str) -> Callable[[E_], E_]:
    """Class decorator: registers a detector; a name has one owner."""
    return _register(DETECTORS, name)


def _register(registry: dict[str, Any], name: str) -> Callable[[E_], E_]:
    def put(cls: E_) -> E_:
        if registry.setdefault(name, cls) is not cls:
            raise ValueError(f"{name!r} is registered twice: {registry[name].__module__} and {cls.__module__}")
        return cls

    return put


def discover() -> None:
    """Import every module of foretaste.embedders and foretaste.detectors, so that they register themselves."""
    for package in ("foretaste.embedders", "foretaste.detectors"):
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
            importlib.import_module(f"{package}.{module.name}")
