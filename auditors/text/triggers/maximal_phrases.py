"""Runs of words that stand in the same rows, as one phrase, however long."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from foretaste.dataset.payload import Payload
from foretaste.settings import threshold
from foretaste.text.ngrams import Array, Tally, Words, held

Hit = tuple[int, int, int]  # a run of words in a text: start, end, position in the tally


@dataclass(frozen=True)
class MaximalPhrases:
    """When overlapping runs of words are one phrase.

    words   words of a phrase, at most
    nearly  share of the rows of a run that a phrase must have, so that the run is a part of it
    rows    rows of a run that are remembered, by which is told whether it stands in all rows of a phrase
    """

    words: int = threshold(64, "bounds the work; not tuned")
    nearly: float = threshold(0.9, "not tuned")
    rows: int = threshold(64, "memory; not tuned")


@dataclass(frozen=True)
class Stretch:
    """A phrase: its rarest run of words, those it starts and ends with, its number of words, and these."""

    own: int
    left: int
    right: int
    words: int
    text: str


@dataclass(frozen=True)
class Place:
    """Where a run of words was seen first, from which word on and in which, and the first rows that have it."""

    start: int
    words: list[str]
    rows: list[int]


def stretched(
    payloads: Iterable[Payload], read: Callable[[Payload], Words], tally: Tally, groups: Sequence[Array],
    maximal: MaximalPhrases,
) -> list[Stretch]:  # fmt: skip
    """The phrases that groups of runs with the same rows form, in one pass over the rows.

    A sentence need not begin as no other does: words that overlap it, stand in each of its rows and in hardly another
    are part of it.
    """
    places = placed(payloads, read, tally, [int(group[0]) for group in groups], known=maximal.rows)
    rows = tally.count.sum(1)
    home = {int(run): at for at, group in enumerate(groups) for run in group}
    begins = [min(place.start, maximal.words) for place in places]
    words, seen = around(places, tally, np.array(list(home)), longest=maximal.words)
    part_of = list(range(len(groups)))
    for at in sorted(part_of, key=lambda at: -len(groups[at])):
        begin, end = reach([one for one in seen[at] if home[one[2]] == at], begins[at])
        for start, stop, run in seen[at]:
            other = home[run]
            free = part_of[other] == other and len(groups[other]) < len(groups[at])
            nearly = maximal.nearly * rows[run] <= rows[groups[at][0]] <= rows[run]
            within = free and nearly and start < end and stop > begin
            if within and holds(places[other], places[at], known=maximal.rows):
                part_of[other] = part_of[at]
    members: dict[int, list[int]] = {}
    for at, whole in enumerate(part_of):
        members.setdefault(whole, []).append(at)
    out = []
    for at, parts in members.items():
        mine = set(parts)
        hits = [one for one in seen[at] if home[one[2]] in mine]
        begin, end = reach(hits, begins[at])
        inside = [one for one in hits if one[0] >= begin and one[1] <= min(end, begin + maximal.words)]
        left = max(inside, key=lambda one: (one[0] == begin, one[1]))
        right = max((one for one in inside if one[1] - one[0] == left[1] - left[0]), key=lambda one: one[1])
        own = max(groups[at].tolist(), key=lambda run: int(tally.size[run]))
        text = " ".join(words.words[at][begin : right[1]])
        out.append(Stretch(own, left[2], right[2], right[1] - begin, text))
    return out


def holds(part: Place, whole: Place, *, known: int) -> bool:
    """Whether a run stands in all rows of another, as far as the rows of both are known: the first `known`."""
    last = min(part.rows[-1] if len(part.rows) == known else whole.rows[-1], whole.rows[-1])
    return {row for row in whole.rows if row <= last} <= set(part.rows)


def around(places: Sequence[Place], tally: Tally, wanted: Array, *, longest: int) -> tuple[Words, list[list[Hit]]]:
    """The words around each place that a phrase of so many may have, and the `wanted` runs of the tally among them."""
    words = Words.written([one.words[max(one.start - longest, 0) : one.start + 2 * longest] for one in places])
    order = wanted[tally.key[wanted].argsort(kind="stable")]
    out: list[list[Hit]] = [[] for _ in places]
    for size in np.unique(tally.size[order]).tolist():
        keys, at = words.runs(size)
        which = held(keys, tally.key[order])
        for run, spot in zip(order[which[which >= 0]].tolist(), at[which >= 0].tolist(), strict=True):
            window = int(words.row[spot])
            start = spot - int(words.start[window]) - 1
            out[window].append((start, start + size, run))
    return words, out


def reach(hits: Sequence[Hit], at: int) -> tuple[int, int]:
    """From where to where overlapping hits lead, from the word `at` on."""
    begin, end = at, at + 1
    forth = sorted((start, stop) for start, stop, _ in hits)
    for start, stop in [*forth, *reversed(forth)]:
        if start < end and stop > begin:
            begin, end = min(begin, start), max(end, stop)
    return begin, end


def placed(
    payloads: Iterable[Payload], read: Callable[[Payload], Words], tally: Tally, wanted: Sequence[int], *, known: int
) -> list[Place]:
    """Where each of the `wanted` runs of a tally stands, and the first `known` of its rows."""
    order = np.array(sorted(range(len(wanted)), key=lambda at: int(tally.key[wanted[at]])))
    runs = np.array(wanted)[order]
    out: dict[int, Place] = {}
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
                    out[run] = Place(spot - int(words.start[row]) - 1, words.words[row], [])
                if len(out[run].rows) < known:
                    out[run].rows.append(int(payload.row[row]))
        if len(out) == len(wanted) and all(len(one.rows) == known for one in out.values()):
            break
    return [out[at] for at in range(len(wanted))]
