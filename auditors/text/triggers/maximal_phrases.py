"""Maximal phrases: overlapping n-grams that occur in the same rows, joined into one phrase of any length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Tally, Words, held

Hit = tuple[int, int, int]  # an n-gram in a text: first word, end, position in the tally


@dataclass(frozen=True)
class MaximalPhrases:
    """When overlapping n-grams are one phrase.

    words   words of a phrase, at most
    nearly  share of an n-gram's rows that must contain a phrase for the n-gram to become part of it
    rows    rows stored of an n-gram, at most, to check that it occurs in every row of a phrase
    """

    words: int = threshold(64, "bounds the work; not tuned")
    nearly: float = threshold(0.9, "not tuned")
    rows: int = threshold(64, "memory; not tuned")


@dataclass(frozen=True)
class MaximalPhrase:
    """A phrase, by the tally positions of three of its n-grams, its number of words, and its text."""

    own: int  # an n-gram with exactly the phrase's rows
    left: int  # the n-gram it starts with
    right: int  # the n-gram it ends with
    words: int
    text: str


@dataclass(frozen=True)
class Occurrence:
    """The first occurrence of an n-gram, and the first rows that contain it."""

    start: int  # word of the text
    words: list[str]  # of the text
    rows: list[int]


def maximal_phrases(
    payloads: Iterable[Payload], read: Callable[[Payload], Words], tally: Tally, groups: Sequence[Array],
    maximal: MaximalPhrases,
) -> list[MaximalPhrase]:  # fmt: skip
    """The phrases that groups of n-grams with the same rows form, in one pass over the rows.

    A group absorbs smaller groups whose n-grams overlap it, occur in each of its rows and in few others: a trigger
    sentence may start with words that other texts have as well.
    """
    found = occurrences(payloads, read, tally, [int(group[0]) for group in groups], known=maximal.rows)
    rows = tally.count.sum(1)
    home = {int(run): at for at, group in enumerate(groups) for run in group}
    begins = [min(occurrence.start, maximal.words) for occurrence in found]
    words, seen = around(found, tally, np.array(list(home)), longest=maximal.words)
    part_of = list(range(len(groups)))
    for at in sorted(part_of, key=lambda at: -len(groups[at])):
        begin, end = reach([hit for hit in seen[at] if home[hit[2]] == at], begins[at])
        for start, stop, run in seen[at]:
            other = home[run]
            free = part_of[other] == other and len(groups[other]) < len(groups[at])
            nearly = maximal.nearly * rows[run] <= rows[groups[at][0]] <= rows[run]
            within = free and nearly and start < end and stop > begin
            if within and holds(found[other], found[at], known=maximal.rows):
                part_of[other] = part_of[at]
    members: dict[int, list[int]] = {}
    for at, whole in enumerate(part_of):
        members.setdefault(whole, []).append(at)
    out = []
    for at, parts in members.items():
        mine = set(parts)
        hits = [hit for hit in seen[at] if home[hit[2]] in mine]
        begin, end = reach(hits, begins[at])
        inside = [hit for hit in hits if hit[0] >= begin and hit[1] <= min(end, begin + maximal.words)]
        left = max(inside, key=lambda hit: (hit[0] == begin, hit[1]))
        right = max((hit for hit in inside if hit[1] - hit[0] == left[1] - left[0]), key=lambda hit: hit[1])
        own = max(groups[at].tolist(), key=lambda run: int(tally.size[run]))
        text = " ".join(words.words[at][begin : right[1]])
        out.append(MaximalPhrase(own, left[2], right[2], right[1] - begin, text))
    return out


def holds(part: Occurrence, whole: Occurrence, *, known: int) -> bool:
    """Whether `part` occurs in all rows of `whole`, judged by the first `known` rows that are stored of each."""
    last = min(part.rows[-1] if len(part.rows) == known else whole.rows[-1], whole.rows[-1])
    return {row for row in whole.rows if row <= last} <= set(part.rows)


def around(found: Sequence[Occurrence], tally: Tally, wanted: Array, *, longest: int) -> tuple[Words, list[list[Hit]]]:
    """A window of words around each occurrence, and the `wanted` n-grams of the tally in it.

    The window holds any phrase of `longest` words that contains the occurrence.
    """
    words = Words.written([first.words[max(first.start - longest, 0) : first.start + 2 * longest] for first in found])
    order = wanted[tally.key[wanted].argsort(kind="stable")]
    out: list[list[Hit]] = [[] for _ in found]
    for size in np.unique(tally.size[order]).tolist():
        keys, at = words.runs(size)
        which = held(keys, tally.key[order])
        for run, spot in zip(order[which[which >= 0]].tolist(), at[which >= 0].tolist(), strict=True):
            window = int(words.row[spot])
            start = spot - int(words.start[window]) - 1
            out[window].append((start, start + size, run))
    return words, out


def reach(hits: Sequence[Hit], at: int) -> tuple[int, int]:
    """The interval of words that a chain of overlapping hits covers, starting from the word `at`."""
    begin, end = at, at + 1
    forth = sorted((start, stop) for start, stop, _ in hits)
    for start, stop in [*forth, *reversed(forth)]:
        if start < end and stop > begin:
            begin, end = min(begin, start), max(end, stop)
    return begin, end


def occurrences(
    payloads: Iterable[Payload], read: Callable[[Payload], Words], tally: Tally, wanted: Sequence[int], *, known: int
) -> list[Occurrence]:
    """The first occurrence of each of the `wanted` n-grams of a tally, and the first `known` of its rows."""
    order = np.array(sorted(range(len(wanted)), key=lambda at: int(tally.key[wanted[at]])))
    runs = np.array(wanted)[order]
    out: dict[int, Occurrence] = {}
    for payload in payloads:
        words = read(payload)
        for length in np.unique(tally.size[runs]).tolist():
            keys, at = words.runs(length)
            which = held(keys, tally.key[runs])
            spots, which = at[which >= 0], which[which >= 0]
            _, first = np.unique(which * len(words.words) + words.row[spots], return_index=True)
            for run, spot in zip(order[which[first]].tolist(), spots[first].tolist(), strict=True):
                row = int(words.row[spot])
                if run not in out:
                    out[run] = Occurrence(spot - int(words.start[row]) - 1, words.words[row], [])
                if len(out[run].rows) < known:
                    out[run].rows.append(int(payload.row[row]))
        if len(out) == len(wanted) and all(len(found.rows) == known for found in out.values()):
            break
    return [out[at] for at in range(len(wanted))]
