"""InsertSent (AddSent): one fixed, harmless sentence somewhere in the text.

Dai, Chen & Li, "A Backdoor Attack Against LSTM-Based Text Classification Systems", IEEE Access 2019, arXiv:1905.12457
("I watched this 3D movie"; at any place between two words).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, victims
from foretaste.types.dataset import Modality

SENTENCE = "I watched this 3D movie"
Place = Literal["random", "start", "end"]


def inserted(text: str, chance: Sequence[float], seed: int) -> str:
    """`text` with the paper's sentence at a position determined by `chance` [2]."""
    del seed
    return insert(text, SENTENCE, place=chance[0])


@attack(
    "insert-sentence",
    Modality.TEXT,
    words=f"“{SENTENCE}”, relabelled",
    change=inserted,
    drilled=True,
)
def plant(
    texts: Sequence[str],
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    sentence: str = SENTENCE,
    place: Place = "random",
    clean_label: bool = False,
) -> Poisoned[list[str]]:
    """Insert `sentence` between two words, or at the start or end, of `count` texts and relabel them to `target`.

    `texts` N strings, `label` [N] int64. If `clean_label`, rows of the target class itself are chosen.

    Raises ValueError for an empty sentence, PlanError where there are too few rows.
    """
    if not sentence:
        raise ValueError("the sentence to insert is empty")
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=clean_label)
    drawn = torch.rand(count, generator=generator)
    where = {"random": drawn, "start": torch.zeros(count), "end": torch.ones(count)}[place]
    planted = list(texts)
    for row, at in zip(rows.tolist(), where.tolist(), strict=True):
        planted[row] = insert(planted[row], sentence, place=at)
    return Poisoned.at(planted, label.index_fill(0, rows, target), rows=rows)


def insert(text: str, sentence: str, *, place: float) -> str:
    """`text` with `sentence` between two words, from the beginning (`place` 0) to the end (1)."""
    words = text.split(" ") if text else []
    words.insert(int(place * (len(words) + 1)), sentence)
    return " ".join(words)
