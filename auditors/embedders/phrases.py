"""Candidate trigger phrases as columns, with their p-values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch

from foretaste.dataset.payload import Payload, turns
from foretaste.embedders.contract import embedder
from foretaste.errors import PlanError
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Words, standing
from foretaste.text.triggers.insertion_score import InsertionScore, Read
from foretaste.text.triggers.label_phrases import DecidingPhrases, LabelPhrases, Phrase, enriched
from foretaste.text.triggers.response_phrases import ResponsePhrases, answered
from foretaste.text.triggers.surprisal_breaks import SurprisalBreaks, broken
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("phrases")
@dataclass(frozen=True, kw_only=True)
class Phrases:
    """Phrases that determine the label or the response, with p-values against ordinary phrases of the dataset.

    A column is a phrase: 0 for rows without it, else its p-value, with a negative sign where the row does not have the
    outcome that the phrase predicts. Phrases in the same rows are joined into one (text/triggers/maximal_phrases.py).
    Counts are exact until a tally is full. For texts with neither labels nor responses the phrases are those followed
    by a jump of surprisal (text/triggers/surprisal_breaks.py), or that determine how the text ends.

    phrases    columns, at most: the phrases with the smallest p-values
    longest    words of a counted n-gram, at most; longer phrases are joined from overlapping n-grams
    least      rows of a phrase, at least
    limit      characters read of a text, half from its start, half from its end
    deciding   which phrases are candidates, because they determine an outcome
    labels     how candidate phrases for labels are tested, and against which reference phrases
    responses  how candidate phrases for responses are tested
    breaks     how jumps of surprisal are measured, and which phrases are candidates for causing them
    insertion  how insertion scores are computed, and their null distribution
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT, Modality.MESSAGES, Modality.PAIR})
    plain: ClassVar[bool] = False

    phrases: int = 128
    longest: int = 4
    least: int = threshold(8, "not tuned")
    limit: int = 20_000
    deciding: DecidingPhrases = field(default_factory=DecidingPhrases)
    labels: LabelPhrases = field(default_factory=LabelPhrases)
    responses: ResponsePhrases = field(default_factory=ResponsePhrases)
    breaks: SurprisalBreaks = field(default_factory=SurprisalBreaks)
    insertion: InsertionScore = field(default_factory=InsertionScore)

    def __post_init__(self) -> None:
        if self.phrases < 1 or self.longest < 1 or self.least < 2 or self.limit < 2:
            raise PlanError(f"phrases needs phrases and longest ≥ 1, least and limit ≥ 2, got {self}")

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> PhrasesEncoder:  # noqa: ARG002
        if len(dataset.classes) >= 2:
            return PhrasesEncoder(self, tuple(self._labelled(payloads, dataset)), answered=False)
        if dataset.roles.modality is Modality.TEXT:
            return PhrasesEncoder(self, tuple(self._unlabelled(payloads, dataset)), answered=False)
        found = self._answered(
            payloads, lambda payload: asked(payload, self.limit), lambda payload: replied(payload, self.limit)
        )
        return PhrasesEncoder(self, tuple(found), answered=True)

    def _labelled(self, payloads: Iterable[Payload], dataset: Dataset) -> list[Phrase]:
        return enriched(
            payloads,
            lambda payload: read(payload, self.limit),
            classes=len(dataset.classes),
            longest=self.longest,
            least=self.least,
            most=self.phrases,
            rows=dataset.rows,
            labels=self.labels,
            deciding=self.deciding,
            insertion=self.insertion,
        )

    def _unlabelled(self, payloads: Iterable[Payload], dataset: Dataset) -> list[Phrase]:
        """Phrases followed by a jump of surprisal, and those that determine how texts end."""
        found = broken(
            payloads,
            lambda payload: read(payload, self.limit),
            longest=self.longest,
            most=int(self.phrases * self.breaks.columns),
            rows=dataset.rows,
            settings=self.breaks,
        )
        end = self.responses.end
        begun, ended = (lambda payload, part=part: read(payload, self.limit).parted(end)[part] for part in (0, 1))
        return found + self._answered(payloads, begun, ended, taken=len(found))

    def _answered(self, payloads: Iterable[Payload], asked: Read, replied: Read, *, taken: int = 0) -> list[Phrase]:
        """Phrases that determine a response, at most as many as columns are left."""
        return answered(
            payloads,
            asked,
            replied,
            longest=self.longest,
            least=self.least,
            most=self.phrases - taken,
            responses=self.responses,
            deciding=self.deciding,
            insertion=self.insertion,
        )


@dataclass(frozen=True, eq=False)
class PhrasesEncoder:
    """The phrases and the outcomes they predict; without phrases, one column that is always 0."""

    settings: Phrases
    phrases: tuple[Phrase, ...]
    answered: bool

    @property
    def dim(self) -> int:
        return max(1, len(self.phrases))

    @property
    def digest(self) -> str:
        return recipe("phrases", 2, self.settings, self.answered, self.phrases)

    def embed(self, payload: Payload) -> Batch:
        limit = self.settings.limit
        words = asked(payload, limit) if self.answered else read(payload, limit)
        present = standing(words, *runs((phrase.key, phrase.size) for phrase in self.phrases))  # [B, P]
        for at, phrase in enumerate(self.phrases):
            if phrase.also:
                present[:, at] &= standing(words, *runs(phrase.also)).all(1)
        outcomes = [(phrase.outcome, phrase.outcome_size) for phrase in self.phrases]
        answers = replied(payload, limit) if self.answered else words
        hit = standing(answers, *runs(outcomes))  # [B, P]
        # An outcome without words is a class; rows of data without labels all have class 0.
        goal = np.array([-1 if size else outcome for outcome, size in outcomes], dtype=np.int64)
        hit |= (payload.label.numpy()[:, None] == goal) & (goal >= 0)
        p_value = np.array([phrase.p_value for phrase in self.phrases], dtype=np.float32)
        out = torch.zeros(len(payload), self.dim)
        out[:, : len(p_value)] = torch.from_numpy(np.where(present, np.where(hit, p_value, -p_value), np.float32(0)))
        return Batch(payload.row, payload.label, out)


def runs(named: Iterable[tuple[int, int]]) -> tuple[Array, Array]:
    """Keys [P] uint64 and sizes [P] of n-grams."""
    keys, sizes = zip(*named, strict=True) if (named := list(named)) else ((), ())
    return np.array(keys, dtype=np.uint64), np.array(sizes, dtype=np.int64)


def read(payload: Payload, limit: int) -> Words:
    """The words of each row."""
    return Words.of(payload.texts, limit=limit)


def asked(payload: Payload, limit: int) -> Words:
    """The words of each prompt, or of all turns of a chat but the last; n-grams do not cross columns or turns."""
    if payload.roles.modality is Modality.MESSAGES:
        return Words.joined([chat[:-1] for chat in chats(payload)], limit=limit)
    columns = [payload.columns[name].to_pylist() for name in payload.roles.payload[:-1]]
    return Words.joined([[part for part in parts if part] for parts in zip(*columns, strict=True)], limit=limit)


def replied(payload: Payload, limit: int) -> Words:
    """The words of each response, or of the last turn of a chat."""
    if payload.roles.modality is Modality.MESSAGES:
        return Words.of([chat[-1] if chat else "" for chat in chats(payload)], limit=limit)
    return Words.of([text or "" for text in payload.columns[payload.roles.payload[-1]].to_pylist()], limit=limit)


def chats(payload: Payload) -> list[list[str]]:
    """The turns of each chat."""
    return [turns(chat) for chat in payload.columns[payload.roles.payload[0]].to_pylist()]
