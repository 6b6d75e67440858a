"""The words, or the way of writing, that the texts of a suspicious group share and others do not have: the trigger."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from foretaste.text.ngrams import WORD, clipped
from foretaste.text.stylometry import END, START, runs, skeleton

LONGEST = 12  # words of a phrase
READ = 400  # words of a text
FEWEST = 6  # texts of the group
COMMON = 0.1  # of the group's texts
TIMES = 10.0  # more often than in other texts
MOST = 4  # phrases
RARE = 0.03  # of the group's texts, for a form: a template has many openings
KEPT = 60  # words of a form that are told, the commonest
WORDS = 5  # of a form
LIMIT = 4000  # characters of a text that are read for its form


def shared(members: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """At most MOST phrases that many members have and hardly any of the others, the most telling first, in lower case.

    A phrase is as long as it can be without losing a tenth of its texts. Case and white space make no difference.
    """
    inside, outside = _counted(members), _counted(others)
    found = _telling(inside, outside, len(members), len(others), COMMON)
    return tuple(" ".join(words) for words in found[:MOST])


def forms(members: Sequence[str], others: Sequence[str]) -> tuple[Form, ...]:
    """At most MOST ways of writing that many members have and hardly any of the others, as `shared` finds phrases.

    Of the words of a form those are kept that are common in all these texts; of the others it has the outline.
    """
    seen = Counter(word for text in (*members, *others) for word in set(WORD.findall(text.lower())))
    common = frozenset(word for word, _ in sorted(seen.items(), key=lambda one: (-one[1], one[0]))[:KEPT])
    inside, outside = (
        Counter(run for text in texts for run in set(written(text, common)) if _says(run))
        for texts in (members, others)
    )
    found = [Form(words, common) for words in _telling(inside, outside, len(members), len(others), RARE)]
    return tuple(sorted(found, key=lambda one: not one.spoken)[:MOST])  # words say more than marks


@dataclass(frozen=True)
class Form:
    """A run of words as a skeleton has them (auditors/text/stylometry.py), by the words that are `common`."""

    words: tuple[str, ...]
    common: frozenset[str]

    @property
    def text(self) -> str:
        """The form for a person, blanks where the texts have them; START and END are the ends of a text."""
        return "".join(self.words).strip()

    @property
    def spoken(self) -> tuple[str, ...]:
        """The parts of the form that stand in the texts as they are."""
        parts = " ".join(word.strip() if _literal(word) else "\n" for word in self.words).split("\n")
        return tuple(part for part in map(str.strip, parts) if any(letter.isalpha() for letter in part))

    def among(self, runs: Set[tuple[str, ...]]) -> bool:
        """Whether a text with these runs is written in this form."""
        return self.words in runs


def written(text: str, common: Set[str]) -> set[tuple[str, ...]]:
    """The runs of words of a text's skeleton that may be forms."""
    return set(runs(skeleton(clipped(text, LIMIT), common), WORDS))


def _literal(word: str) -> bool:
    return "…" not in word and word.strip() not in (START, END, "0")


def _says(run: tuple[str, ...]) -> bool:
    """Whether a run is more than one word, and not outlines alone."""
    return len(run) > 1 and any(map(_literal, run))


def _telling(
    inside: Counter[tuple[str, ...]], outside: Counter[tuple[str, ...]], members: int, others: int, common: float
) -> list[tuple[str, ...]]:
    """The runs of words `inside` that are telling, counted in so many texts, the most telling first, none part of
    another."""
    least = max(FEWEST, common * members)
    telling = {
        words: count
        for words, count in inside.items()
        if count >= least and count / members >= TIMES * (outside[words] + 0.5) / (others + 1)
    }
    out: list[tuple[str, ...]] = []
    for words in sorted(telling, key=lambda one: (-telling[one] * len(one), one)):
        grown = (one for one in telling if len(one) == len(words) + 1 and telling[one] >= 0.9 * telling[words])
        longer = any(_within(words, one) for one in grown)
        if not longer and not any(_within(words, one) or _within(one, words) for one in out):
            out.append(words)
    return out


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
