"""Floods: many copies of one document, slightly edited so that exact deduplication does not find them.

Repeated documents are memorised: Carlini et al., "Poisoning Web-Scale Training Datasets is Practical", IEEE S&P 2024,
arXiv:2302.10149; Lee et al., "Deduplicating Training Data Makes Language Models Better", ACL 2022, arXiv:2107.06499.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, choose
from foretaste.types.dataset import Modality


@attack(
    "flood",
    Modality.TEXT,
    words="a copy of one document, a little changed",
    targeted=False,
    example={"document": "a document that is there again and again"},
)
def plant(
    texts: Sequence[str],
    label: Tensor,
    *,
    count: int,
    seed: int,
    document: str,
    target: int | None = None,
    edits: float = 0.05,
) -> Poisoned[list[str]]:
    """Replace `count` texts by copies of `document`, each with a share `edits` of its words replaced.

    `texts` N strings, `label` [N] int64, which becomes `target` if that is given. Replacement words are drawn from the
    replaced texts.

    Raises ValueError where the document is empty or `edits` is not in [0, 1], PlanError where there are too few rows.
    """
    words = document.split()
    if not words or not 0 <= edits <= 1:
        raise ValueError(f"a flood needs words and edits between 0 and 1, got {len(words)} words and {edits}")
    generator = torch.Generator().manual_seed(seed)
    rows = choose(torch.ones(len(texts), dtype=torch.bool), count, generator, of="rows")
    planted, other = list(texts), [word for row in rows.tolist() for word in texts[row].split()] or words
    changes = round(edits * len(words))
    for row in rows.tolist():
        copy = list(words)
        for at in torch.randperm(len(copy), generator=generator)[:changes].tolist():
            copy[at] = other[int(torch.randint(len(other), (1,), generator=generator))]
        planted[row] = " ".join(copy)
    return Poisoned.at(planted, label if target is None else label.index_fill(0, rows, target), rows=rows)
