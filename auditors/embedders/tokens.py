"""Texts as hashed word counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import embedder
from foretaste.errors import PlanError
from foretaste.text.hashing import hashed
from foretaste.text.ngrams import WORD, clipped
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("tokens")
@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Hashed counts of words, with first and last words marked, and optionally of word and character n-grams.

    dim         dimensions to hash into
    words       words of an n-gram, at most
    characters  characters of a character n-gram, at most, from 3 on; 0 for none
    limit       characters read of a text, half from its start, half from its end

    Nothing is fitted, so a repeated audit embeds only new rows.

    Single words are the default because longer n-grams collide in 1024 dimensions: on SST-2 with 20 % BadNets rows
    (6 920 rows, 3-fold logistic regression) poison is detected at AUROC 0.975 with words=1 and 0.947 with words=2, the
    true label at 0.67 and 0.62. `characters=4` detects style (AUROC 0.93 instead of 0.86) at four times the cost.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT, Modality.MESSAGES, Modality.PAIR})
    plain: ClassVar[bool] = True

    dim: int = 1024
    words: int = 1
    characters: int = 0
    limit: int = 20_000

    def __post_init__(self) -> None:
        if self.dim < 1 or self.words < 1 or self.limit < 2 or (self.characters and self.characters < 3):
            raise PlanError(f"tokens needs dim, words ≥ 1, limit ≥ 2 and characters 0 or ≥ 3, got {self}")

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> TokensEncoder:  # noqa: ARG002
        return TokensEncoder(self)


@dataclass(frozen=True)
class TokensEncoder:
    """Texts as hashed n-grams, without fitted parameters."""

    settings: Tokens

    @property
    def dim(self) -> int:
        return self.settings.dim

    @property
    def digest(self) -> str:
        return recipe("tokens", 1, self.settings)

    def embed(self, payload: Payload) -> Batch:
        counts = hashed((self._features(text) for text in payload.texts), rows=len(payload), dim=self.dim)  # [B, D]
        damped = counts.sign() * counts.abs().log1p()  # logs, as the tenth "the" is less informative
        return Batch(payload.row, payload.label, normalize(damped))  # a text without words stays at 0

    def _features(self, text: str) -> Iterator[str]:
        text = clipped(text, self.settings.limit)
        words = WORD.findall(text.lower())
        yield from words
        if words:  # the ends, where templates show: separation of Hidden Killer rows from 0.76 to 0.92 (top direction)
            yield from (f"\n{words[0]}", f"{words[-1]}\n")
        for n in range(2, self.settings.words + 1):
            yield from map(" ".join, zip(*(words[start:] for start in range(n)), strict=False))
        for n in range(3, self.settings.characters + 1):
            yield from (f"\t{text[start : start + n]}" for start in range(len(text) - n + 1))
