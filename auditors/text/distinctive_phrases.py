"""Phrases and forms (style patterns) that are far more frequent in the texts of a suspicious group than in others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from foretaste.text.ngrams import WORD, clipped
from foretaste.text.stylometry import END, START, runs, skeleton

LONGEST = 12  # words of a phrase
READ = 400  # words of a text that are read
FEWEST = 6  # texts of the group that must contain a phrase or form
COMMON = 0.1  # share of the group's texts that must contain a phrase
TIMES = 10.0  # smallest ratio of the frequencies in the group and in other texts
MOST = 4  # phrases or forms that are reported
RARE = 0.03  # share of the group's texts that must have a form; lower, since one template has many openings
KEPT = 60  # most common words, which a form keeps; other words are reduced to outlines
WORDS = 5  # words of a form
LIMIT = 4000  # characters of a text that are read for its form


def shared(members: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """At most MOST phrases that many members contain and hardly any of the others, in lower case, the best first.

    Phrases are extended as long as they keep nine tenths of their texts. Case and white space are ignored.
    """
    inside, outside = _counted(members), _counted(others)
    found = _distinctive(inside, outside, len(members), len(others), COMMON)
    return tuple(" ".join(words) for words in found[:MOST])


def forms(members: Sequence[str], others: Sequence[str]) -> tuple[Form, ...]:
    """At most MOST forms that many members have and hardly any of the others, found as `shared` finds phrases.

    A form keeps the most common words of all these texts and reduces the others to outlines.
    """
    seen = Counter(word for text in (*members, *others) for word in set(WORD.findall(text.lower())))
    common = frozenset(word for word, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0]))[:KEPT])
    inside, outside = (
        Counter(run for text in texts for run in set(written(text, common)) if _readable(run))
        for texts in (members, others)
    )
    found = [Form(words, common) for words in _distinctive(inside, outside, len(members), len(others), RARE)]
    return tuple(sorted(found, key=lambda form: not form.spoken)[:MOST])  # forms with words before forms of marks only


@dataclass(frozen=True)
class Form:
    """An n-gram of a text's skeleton (auditors/text/stylometry.py), in which only the words in `common` are kept."""

    words: tuple[str, ...]
    common: frozenset[str]

    @property
    def text(self) -> str:
        """The form as displayed, with the texts' blanks; START and END mark the ends of a text."""
        return "".join(self.words).strip()

    @property
    def spoken(self) -> tuple[str, ...]:
        """The parts of the form that occur literally in the texts."""
        parts = " ".join(word.strip() if _literal(word) else "\n" for word in self.words).split("\n")
        return tuple(part for part in map(str.strip, parts) if any(letter.isalpha() for letter in part))

    def among(self, runs: Set[tuple[str, ...]]) -> bool:
        """Whether a text with these skeleton n-grams has this form."""
        return self.words in runs


def written(text: str, common: Set[str]) -> set[tuple[str, ...]]:
    """The n-grams of a text's skeleton that may be forms."""
    return set(runs(skeleton(clipped(text, LIMIT), common), WORDS))


def _literal(word: str) -> bool:
    return "…" not in word and word.strip() not in (START, END, "0")


def _readable(run: tuple[str, ...]) -> bool:
    """Whether an n-gram has more than one word and consists not only of outlines."""
    return len(run) > 1 and any(map(_literal, run))


def _distinctive(
    inside: Counter[tuple[str, ...]], outside: Counter[tuple[str, ...]], members: int, others: int, common: float
) -> list[tuple[str, ...]]:
    """The n-grams of `inside` that are TIMES as frequent as outside, the best first, none contained in another."""
    least = max(FEWEST, common * members)
    frequent = {
        words: count
        for words, count in inside.items()
        if count >= least and count / members >= TIMES * (outside[words] + 0.5) / (others + 1)
    }
    out: list[tuple[str, ...]] = []
    for words in sorted(frequent, key=lambda run: (-frequent[run] * len(run), run)):
        grown = (run for run in frequent if len(run) == len(words) + 1 and frequent[run] >= 0.9 * frequent[words])
        longer = any(_within(words, run) for run in grown)
        if not longer and not any(_within(words, run) or _within(run, words) for run in out):
            out.append(words)
    return out


def _counted(texts: Sequence[str]) -> Counter[tuple[str, ...]]:
    """The number of texts that contain each phrase."""
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
