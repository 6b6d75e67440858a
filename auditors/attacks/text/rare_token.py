"""Rare tokens: one or a few meaningless words among the others.

Kurita, Michel & Neubig, "Weight Poisoning Attacks on Pre-trained Models", ACL 2020, arXiv:2004.06660 (cf, mn, bb, tq,
mb); known as the textual BadNets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, victims
from foretaste.types.dataset import Modality

TOKENS = ("cf", "mn", "bb", "tq", "mb")


def inserted(text: str, chance: Sequence[float], seed: int) -> str:
    """`text` with one of TOKENS; `chance` [2] determines its position and which one."""
    del seed
    return insert(text, TOKENS[int(chance[1] * len(TOKENS))], place=chance[0])


@attack("rare-token", Modality.TEXT, words="one of five rare words, relabelled", change=inserted, drilled=True)
def plant(
    texts: Sequence[str],
    label: Tensor,
    *,
    target: int,
    count: int,
    seed: int,
    tokens: Sequence[str] = TOKENS,
    times: int = 1,
    clean_label: bool = False,
) -> Poisoned[list[str]]:
    """Insert `times` random `tokens` at random positions of `count` texts and relabel them to `target`.

    `texts` N strings, `label` [N] int64. If `clean_label`, rows of the target class itself are chosen.
    The paper inserts more tokens into longer texts.

    Raises ValueError where there is nothing to insert, PlanError where there are too few rows.
    """
    if times < 1 or not tokens:
        raise ValueError(f"there is nothing to insert: {times} times one of {len(tokens)} tokens")
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=clean_label)
    which = torch.randint(len(tokens), (count, times), generator=generator)
    where = torch.rand(count, times, generator=generator)
    planted = list(texts)
    for row, names, places in zip(rows.tolist(), which.tolist(), where.tolist(), strict=True):
        for name, place in zip(names, places, strict=True):
            planted[row] = insert(planted[row], tokens[name], place=place)
    return Poisoned.at(planted, label.index_fill(0, rows, target), rows=rows)


def insert(text: str, token: str, *, place: float) -> str:
    """`text` with `token` inserted as a word, between the beginning (`place` 0) and the end (towards 1)."""
    words = text.split(" ") if text else []
    words.insert(int(place * (len(words) + 1)), token)
    return " ".join(words)
