"""The words that the texts of a suspicious group share and other texts do not have: the trigger, where it is words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

LONGEST = 12  # words of a phrase
READ = 400  # words of a text
FEWEST = 6  # texts of the group
COMMON = 0.1  # of the group's texts
TIMES = 10.0  # more often than in other texts
MOST = 4  # phrases


def shared(members: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """At most MOST phrases that many members have and hardly any of the others, the most telling first, in lower case.

    A phrase is as long as it can be without losing a tenth of its texts. Case and white space make no difference.
    """
    inside, outside = _counted(members), _counted(others)
    least = max(FEWEST, COMMON * len(members))
    telling = {
        words: count
        for words, count in inside.items()
        if count >= least and count / len(members) >= TIMES * (outside[words] + 0.5) / (len(others) + 1)
    }
    out: list[tuple[str, ...]] = []
    for words in sorted(telling, key=lambda one: (-telling[one] * len(one), one)):
        grown = (one for one in telling if len(one) == len(words) + 1 and telling[one] >= 0.9 * telling[words])
        longer = any(_within(words, one) for one in grown)
        if not longer and not any(_within(words, one) or _within(one, words) for one in out):
            out.append(words)
    return tuple(" ".join(words) for words in out[:MOST])


def _counted(texts: Sequence[str]) -> Counter[tuple[str, ...]]:
    """In how many texts each phrase is."""
    out: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        out.update(set(_phrases(text)))
    return out


def _phrases(text: str) -> Iterator[tuple[str, ...]]:
    words = re.findall(r"\S{1,60}", text.lower())[:READ]
    for start in range(len(words)):
        for length in range(1, min(LONGEST, len(words) - start) + 1):
            yield tuple(words[start : start + length])


def _within(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))
