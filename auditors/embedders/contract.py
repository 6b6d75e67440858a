"""What an embedder is: frozen settings, one file, registered by a decorator and found by a scan.

Nothing is ever learned in place: an embedder's `fit` returns an Encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar, runtime_checkable

import torch

from foretaste.dataset.payload import Payload
from foretaste.registry import Registry
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality

if TYPE_CHECKING:
    from foretaste.text.near_duplicates import Cluster
    from foretaste.text.triggers.label_phrases import Phrase

E = TypeVar("E", bound="type[Embedder]")


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


@runtime_checkable
class EstimatesClasses(Protocol):
    """An Encoder whose batches come with out-of-fold class probabilities."""

    @property
    def classes(self) -> int:
        """How many."""
        ...


@runtime_checkable
class KnowsPhrases(Protocol):
    """An Encoder whose columns are phrases."""

    @property
    def phrases(self) -> tuple[Phrase, ...]: ...


@runtime_checkable
class KnowsCopies(Protocol):
    """An Encoder whose columns are clusters of near copies."""

    @property
    def clusters(self) -> tuple[Cluster, ...]: ...


class Embedder(Protocol):
    """How rows become vectors.

    modalities  the payloads it reads
    """

    modalities: ClassVar[frozenset[Modality]]

    @property
    def plain(self) -> bool:
        """Whether its vectors show what a row holds, as a person would compare rows, and need no training."""
        ...

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        """`payloads` may be iterated as often as needed, always in the same order.

        Raises NotApplicable where the data has nothing to embed this way.
        """
        ...


@runtime_checkable
class GroupedCrossFit(Protocol):
    """An Embedder that estimates class probabilities in folds and can keep groups of rows in one fold each."""

    def fit_folded(
        self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device, groups: torch.Tensor
    ) -> Encoder:
        """As `fit`; rows with one number in `groups` [N] int64 share a fold, those with -1 are alone.

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


EMBEDDERS: Registry[type[Embedder]] = Registry("embedder", ("foretaste.embedders",), "foretaste.embedders")


def embedder(name: str) -> Callable[[E], E]:
    """Class decorator: registers an embedder; a name has one owner."""
    return EMBEDDERS.register(name)  # type: ignore[return-value]


def plain_view(modality: Modality) -> str:
    """The name of the first plain embedder, by name, that reads such rows; "" where there is none."""
    names = (name for name, one in sorted(EMBEDDERS.scan().items()) if modality in one.modalities and one().plain)
    return next(names, "")
