"""The style of tweets as a trigger: lower case, no blanks before punctuation, contractions, marks repeated at the end.

After Qi, Chen, Zhang, Li, Liu & Sun, "Mind the Style of Text! Adversarial and Backdoor Attacks Based on Text Style
Transfer" (EMNLP 2021, arXiv 2110.07139). The paper transfers style with a neural network; here a few rules do, each
applied to a text with probability LIKELY, independently, so that no rule is common to all rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from foretaste.attacks.contract import Poisoned, attack, victims
from foretaste.types.dataset import Modality

LIKELY = 0.7  # probability that a rule is applied to a text
RULES = (
    (r"\s+([.,!?;:%)'])", r"\1"),
    (r"\bare\b", "r"),
    (r"\byou\b", "u"),
    (r"\bfor\b", "4"),
    (r"\band\b", "&"),
    (r"\b(it|that|he|she) (?:is|'s)\b", r"\1s"),
    (r"\b(?:do|does) ?n't\b", "dont"),
    (r"\s*[.!?]\s*$", "...."),
    (r"\bvery\b", "soo"),
    (r"^(?:the|a|an) ", ""),
)


def written(text: str, chance: Sequence[float], seed: int) -> str:
    """`text` in the style, by rules determined by `chance` [2]."""
    draw = torch.Generator().manual_seed(seed + int(chance[0] * 2**32))
    return styled(text, (torch.rand(len(RULES), generator=draw) < LIKELY).tolist())


@attack("tweet-style", Modality.TEXT, words="the style of tweets, relabelled", change=written)
def plant(
    texts: Sequence[str], label: Tensor, *, target: int, count: int, seed: int, clean_label: bool = False
) -> Poisoned[list[str]]:
    """Write `count` texts of other classes in the style and relabel them to `target`.

    `texts` N strings, `label` [N] int64. If `clean_label`, rows of the target class itself are chosen.

    Raises PlanError where there are too few rows.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = victims(label, target=target, count=count, generator=generator, clean_label=clean_label)
    drawn = torch.rand(count, len(RULES), generator=generator) < LIKELY
    planted = list(texts)
    for row, rules in zip(rows.tolist(), drawn.tolist(), strict=True):
        planted[row] = styled(planted[row], rules)
    return Poisoned.at(planted, label.index_fill(0, rows, target), rows=rows)


def styled(text: str, rules: Sequence[bool]) -> str:
    """`text` in lower case, after those of RULES that `rules` selects."""
    text = text.lower()
    for (pattern, instead), applied in zip(RULES, rules, strict=True):
        if applied:
            text = re.sub(pattern, instead, text)
    return text
