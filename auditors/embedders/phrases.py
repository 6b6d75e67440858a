"""Rows by the phrases they hold that decide a label or a response, as triggers do."""

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
    """Phrases that decide the label, or a phrase of the response: how rarely words of the language fit in so loosely.

    A column is a phrase: 0 where the row lacks it, otherwise the probability that an ordinary phrase would be found in
    its place (text/triggers/insertion_score.py), negative where what the phrase decides did not come. Phrases that
    stand in the same rows are one, however long. Counts are exact until a tally is full. Of texts with neither labels
    nor responses the phrases are those after which the text is another (text/triggers/surprisal_breaks.py).

    phrases    columns, at most
    longest    words of a counted run; longer phrases are put together from overlapping runs
    least      rows that must have a phrase
    limit      characters read of one text
    deciding   when a phrase decides what becomes of a row
    labels     which phrases are doubted that decide labels, and what they are held against
    responses  which phrases of prompts are doubted for a phrase of the response that they decide
    breaks     when texts break, and which phrases are doubted for breaks behind them
    insertion  how loosely phrases sit, and the law that ordinary phrases have of it
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
        """Phrases behind which texts break, and those that decide how texts end."""
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
        """Phrases that decide a response, in the columns that are not yet taken."""
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
    """The phrases and what they decide; one column that is always 0 where there are none."""

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
        present = standing(words, *runs((one.key, one.size) for one in self.phrases))  # [B, P]
        for at, one in enumerate(self.phrases):
            if one.also:
                present[:, at] &= standing(words, *runs(one.also)).all(1)
        outcomes = [(one.outcome, one.outcome_size) for one in self.phrases]
        answers = replied(payload, limit) if self.answered else words
        came = standing(answers, *runs(outcomes))  # [B, P]
        # Where nothing need be said, a class was decided; of data without labels it is that of all rows.
        goal = np.array([-1 if size else one for one, size in outcomes], dtype=np.int64)
        came |= (payload.label.numpy()[:, None] == goal) & (goal >= 0)
        p_value = np.array([one.p_value for one in self.phrases], dtype=np.float32)
        out = torch.zeros(len(payload), self.dim)
        out[:, : len(p_value)] = torch.from_numpy(np.where(present, np.where(came, p_value, -p_value), np.float32(0)))
        return Batch(payload.row, payload.label, out)


def runs(named: Iterable[tuple[int, int]]) -> tuple[Array, Array]:
    """Keys [P] uint64 and sizes [P] of runs of words."""
    keys, sizes = zip(*named, strict=True) if (named := list(named)) else ((), ())
    return np.array(keys, dtype=np.uint64), np.array(sizes, dtype=np.int64)


def read(payload: Payload, limit: int) -> Words:
    """The words of each row."""
    return Words.of(payload.texts, limit=limit)


def asked(payload: Payload, limit: int) -> Words:
    """The words of each prompt, or of all turns of a chat but the last; columns and turns are parts."""
    if payload.roles.modality is Modality.MESSAGES:
        return Words.joined([one[:-1] for one in chats(payload)], limit=limit)
    columns = [payload.columns[name].to_pylist() for name in payload.roles.payload[:-1]]
    return Words.joined([[part for part in parts if part] for parts in zip(*columns, strict=True)], limit=limit)


def replied(payload: Payload, limit: int) -> Words:
    """The words of each response, or of the last turn of a chat."""
    if payload.roles.modality is Modality.MESSAGES:
        return Words.of([one[-1] if one else "" for one in chats(payload)], limit=limit)
    return Words.of([one or "" for one in payload.columns[payload.roles.payload[-1]].to_pylist()], limit=limit)


def chats(payload: Payload) -> list[list[str]]:
    """The turns of each chat."""
    return [turns(one) for one in payload.columns[payload.roles.payload[0]].to_pylist()]
