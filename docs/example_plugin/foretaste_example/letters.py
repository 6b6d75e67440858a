"""Texts as the shares of the letters in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import embedder
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("letters")
@dataclass(frozen=True)
class Letters:
    """One number for each letter: its share of the text.

    alphabet  the letters that count
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT})
    plain: ClassVar[bool] = False  # whoever compares two texts does not count letters

    alphabet: str = "abcdefghijklmnopqrstuvwxyz"

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> LetterShares:
        del payloads, dataset, device  # nothing is learned
        return LetterShares(self)


@dataclass(frozen=True)
class LetterShares:
    """The encoder."""

    settings: Letters

    @property
    def dim(self) -> int:
        return len(self.settings.alphabet)

    @property
    def digest(self) -> str:
        return recipe("letters", 1, self.settings)

    def embed(self, payload: Payload) -> Batch:
        counts = [Counter(text.lower()) for text in payload.texts]
        shares = [[count[letter] / max(count.total(), 1) for letter in self.settings.alphabet] for count in counts]
        return Batch(payload.row, payload.label, torch.tensor(shares).reshape(len(payload), self.dim))
