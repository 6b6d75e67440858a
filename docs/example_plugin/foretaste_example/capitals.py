"""Capitals: texts in capital letters, relabelled to one class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, victims
from foretaste.types.dataset import Modality


def shouted(text: str, chance: Sequence[float], seed: int) -> str:
    """One text with the trigger."""
    del chance, seed
    return text.upper()


@attack("capitals", Modality.TEXT, words="in capital letters, relabelled", change=shouted)
def plant(texts: Sequence[str], label: Tensor, *, target: int, count: int, seed: int) -> Poisoned[list[str]]:
    """Write `count` texts in capitals and relabel them to `target`. Raises PlanError where the rows do not suffice."""
    rows = victims(label, target=target, count=count, generator=torch.Generator().manual_seed(seed))
    chosen = set(rows.tolist())
    planted = [text.upper() if at in chosen else text for at, text in enumerate(texts)]
    return Poisoned.at(planted, label.index_fill(0, rows, target), rows=rows)
