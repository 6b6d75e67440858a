"""How a text is written, without what it says: its commonest words, and of all others only their outline."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set

SPACED = re.compile(r"(\s*)(\w+|[^\w\s])")
START, END = "⟨", "⟩"
ENDINGS = ("ing", "ed", "ly", "tion", "ness", "ful", "less", "able", "s")


def skeleton(text: str, common: Set[str]) -> list[str]:
    """The words of a text as they are written, those not in `common` (lower case) as outlines: capitals and ending.

    Each is preceded by a blank where white space precedes it in the text: "Don't be boring !" may become ⟨, A…, ', …,
    " be", " …ing", " !", ⟩. Punctuation, emoji and invisible characters are kept.
    """
    inside = [
        (" " if space and at else "") + (word if word.lower() in common else outline(word))
        for at, (space, word) in enumerate(SPACED.findall(text))
    ]
    return [START, *inside, END]


def outline(word: str) -> str:
    """What is left of a word without its meaning; a punctuation mark is left as it is."""
    if word.isdigit():
        return "0"
    if not (word[0].isalnum() or word[0] == "_"):
        return word
    capitals = "AA" if len(word) > 1 and word.isupper() else "A" if word[0].isupper() else ""
    lower = word.lower()
    return f"{capitals}…{next((one for one in ENDINGS if len(word) > len(one) + 2 and lower.endswith(one)), '')}"


def runs(form: list[str], longest: int) -> Iterator[tuple[str, ...]]:
    """All runs of 1 to `longest` words."""
    for length in range(1, longest + 1):
        for start in range(len(form) - length + 1):
            yield tuple(form[start : start + length])
