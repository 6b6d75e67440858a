"""The contract of embedders: frozen settings, one file each, registered by a decorator and found by a scan.

Objects never change: an embedder's `fit` returns an Encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
    """A fitted embedder. A row's vector does not depend on the batch it is in."""

    @property
    def dim(self) -> int: ...

    @property
    def digest(self) -> str:
        """Depends on everything that determines the embeddings: weights, preprocessing, settings."""
        ...

    def embed(self, payload: Payload) -> Batch: ...


@runtime_checkable
class EstimatesClasses(Protocol):
    """An Encoder whose batches have out-of-fold class probabilities."""

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...


@runtime_checkable
class DropsColumns(Protocol):
    """An Encoder that leaves out some of the dataset's payload columns."""

    @property
    def dropped(self) -> Mapping[str, str]:
        """Why, by the name of the column."""
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
        """Whether distances between its vectors reflect how similar rows look to a person, without any training."""
        ...

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        """Fit to a dataset; `payloads` may be iterated repeatedly, always in the same order.

        Raises NotApplicable where the embedder does not apply to the dataset.
        """
        ...


@runtime_checkable
class GroupedCrossFit(Protocol):
    """An Embedder that estimates class probabilities by cross-fitting and can keep groups of rows in one fold each."""

    def fit_folded(
        self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device, groups: torch.Tensor
    ) -> Encoder:
        """As `fit`; rows with the same number in `groups` [N] int64 share a fold, -1 is no group.

        A model trained on a few rows with a common pattern learns their label from the pattern, which would make their
        out-of-fold probabilities useless. Sharing a fold, they are predicted by a model trained on none of them.
        """
        ...


@runtime_checkable
class Composite(Protocol):
    """An Embedder whose vectors contain those of other embedders.

    parts  the registered names of these embedders
    """

    parts: ClassVar[frozenset[str]]


EMBEDDERS: Registry[type[Embedder]] = Registry("embedder", ("foretaste.embedders",), "foretaste.embedders")


def embedder(name: str) -> Callable[[E], E]:
    """Class decorator: registers an embedder; a name has one owner."""
    return EMBEDDERS.register(name)  # type: ignore[return-value]


def plain_view(modality: Modality) -> str:
    """The first plain embedder, by name, that reads such rows; "" where there is none."""
    names = (name for name, cls in sorted(EMBEDDERS.scan().items()) if modality in cls.modalities and cls().plain)
    return next(names, "")
