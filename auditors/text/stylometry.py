"""Style without content: a text's most common words, with all others reduced to outlines (capitals and ending)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set

SPACED = re.compile(r"(\s*)(\w+|[^\w\s])")
START, END = "⟨", "⟩"
ENDINGS = ("ing", "ed", "ly", "tion", "ness", "ful", "less", "able", "s")


def skeleton(text: str, common: Set[str]) -> list[str]:
    """The words of a text, those not in `common` (lower case) as outlines, with punctuation, emoji and invisibles.

    A word after white space starts with a blank: "Don't be boring !" may become ⟨, A…, ', …, " be", " …ing", " !", ⟩.
    """
    inside = [
        (" " if space and at else "") + (word if word.lower() in common else outline(word))
        for at, (space, word) in enumerate(SPACED.findall(text))
    ]
    return [START, *inside, END]


def outline(word: str) -> str:
    """A word's capitals and ending; digits as "0", punctuation unchanged."""
    if word.isdigit():
        return "0"
    if not (word[0].isalnum() or word[0] == "_"):
        return word
    capitals = "AA" if len(word) > 1 and word.isupper() else "A" if word[0].isupper() else ""
    lower = word.lower()
    ending = next((ending for ending in ENDINGS if len(word) > len(ending) + 2 and lower.endswith(ending)), "")
    return f"{capitals}…{ending}"


def runs(form: list[str], longest: int) -> Iterator[tuple[str, ...]]:
    """All n-grams of 1 to `longest` words."""
    for length in range(1, longest + 1):
        for start in range(len(form) - length + 1):
            yield tuple(form[start : start + length])
