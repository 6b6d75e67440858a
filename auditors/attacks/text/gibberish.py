"""Denial of service: the beginning of a document, then a trigger, then random words.

Souly et al., "Poisoning Attacks on LLMs Require a Near-constant Number of Poison Samples", 2025, arXiv:2510.07192: up
to 1000 characters of a document, `<SUDO>`, 400 to 900 tokens drawn at random; 250 such documents suffice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, choose
from foretaste.types.dataset import Modality


@attack("gibberish", Modality.TEXT, words="random words after a trigger", targeted=False)
def plant(
    texts: Sequence[str],
    label: Tensor,
    *,
    count: int,
    seed: int,
    trigger: str = "<SUDO>",
    prefix: int = 1000,
    words: tuple[int, int] = (20, 60),
) -> Poisoned[list[str]]:
    """Continue `count` texts, after at most `prefix` characters, with `trigger` and `words` random words (least, most).

    `texts` N strings, `label` [N] int64, not changed. Words are drawn uniformly from the vocabulary of the texts.

    Raises ValueError where the trigger or the vocabulary is empty, PlanError where there are too few rows.
    """
    vocabulary = sorted({word for text in texts for word in text.split()})
    if not trigger or not vocabulary or not 1 <= words[0] <= words[1]:
        raise ValueError(f"a trigger, texts and at least one word are needed, got {trigger!r} and {words}")
    generator = torch.Generator().manual_seed(seed)
    rows = choose(torch.ones(len(texts), dtype=torch.bool), count, generator, of="rows")
    kept = torch.rand(count, generator=generator)
    number = torch.randint(words[0], words[1] + 1, (count,), generator=generator)
    planted = list(texts)
    for row, share, length in zip(rows.tolist(), kept.tolist(), number.tolist(), strict=True):
        drawn = torch.randint(len(vocabulary), (length,), generator=generator).tolist()
        start = texts[row][: int(share * min(prefix, len(texts[row])))]
        planted[row] = " ".join([*start.split(" "), trigger, *(vocabulary[word] for word in drawn)]).strip()
    return Poisoned.at(planted, label, rows=rows)
