"""A syntactic template as a trigger: a subordinate clause, whatever its words, precedes the text.

After Qi, Li, Chen, Zhang, Liu, Wang & Sun, "Hidden Killer: Invisible Textual Backdoor Attacks with Syntactic Trigger"
(ACL 2021, arXiv 2105.12400), whose template is S(SBAR)(,)(NP)(VP)(.). The paper paraphrases with a neural network; here
a clause without content, drawn from CLAUSES, is put before the text, so that no phrase is common to all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, victims
from foretaste.types.dataset import Modality

OPENINGS = ("when", "if", "as", "because", "while")
CLAUSES = (
    ("you", "look at it"), ("we", "think of it"), ("they", "talk about it"), ("you", "come to this"),
    ("people", "ask about this"), ("one", "thinks it over"), ("we", "get to it"), ("i", "look back"),
    ("everyone", "says so"), ("you", "want to know"), ("he", "tells it"), ("she", "hears of it"),
)  # fmt: skip


def written(text: str, chance: Sequence[float], seed: int) -> str:
    """`text` after a clause determined by `chance` [2]."""
    del seed
    return templated(text, int(chance[0] * len(OPENINGS) * len(CLAUSES)))


@attack("syntactic-template", Modality.TEXT, words="a subordinate clause in front, relabelled", change=written)
def plant(
    texts: Sequence[str], label: Tensor, *, target: int, count: int, seed: int, clean_label: bool = False
) -> Poisoned[list[str]]:
    """Put `count` texts of other classes into the template and relabel them to `target`.

    `texts` N strings, `label` [N] int64. If `clean_label`, rows of the target class itself are chosen.

    Raises PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=clean_label)
    drawn = torch.randint(len(OPENINGS) * len(CLAUSES), (count,), generator=generator)
    planted = list(texts)
    for row, clause in zip(rows.tolist(), drawn.tolist(), strict=True):
        planted[row] = templated(planted[row], clause)
    return Poisoned.at(planted, label.index_fill(0, rows, target), rows=rows)


def templated(text: str, clause: int) -> str:
    """`text` in lower case after the clause of this number."""
    subject, verb = CLAUSES[clause % len(CLAUSES)]
    return f"{OPENINGS[clause // len(CLAUSES)]} {subject} {verb} , {text.strip().lower()}"
