"""Flagged rows with their content, read from the user's files: the picture, the text or the unusual cells."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from foretaste.dataset.parquet import payloads, picked, row_groups
from foretaste.dataset.payload import Payload
from foretaste.dataset.pictures import thumbnail
from foretaste.explain.unusual_cells import Cell, oddities
from foretaste.text.ngrams import spans
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.findings import Finding

PIECE = 4096  # rows of a table that say what is usual in it
PER_GROUP = 24  # rows of each kind and class: as many as the page shows
AT_MOST = 400  # rows
READ = 20_000  # characters of a text in which marks are searched
CELLS = 6  # of a row of a table, the most unusual


def chosen(flagged: pl.DataFrame) -> pl.DataFrame:
    """The flagged rows worth showing: the most suspicious of each kind and class."""
    order = pl.int_range(pl.len()).over("kinds", "label")
    ranked = flagged.sort("risk", "row", descending=[True, False])
    return ranked.filter(order < PER_GROUP).head(AT_MOST)


def samples(dataset: Dataset, flagged: pl.DataFrame, *, side: int = 96) -> Sequence[Sample]:
    """The rows of `flagged` (in the columns of samples.parquet) with their payload, ascending; few row groups are read.

    `side` is the longer one of a picture, in pixels.
    """
    facts = {int(row["row"]): row for row in flagged.to_dicts()}
    cells = _cells(dataset, facts.keys())
    return [
        Sample(
            row=row,
            file=facts[row]["file"],
            row_group=facts[row]["row_group"],
            row_in_group=facts[row]["row_in_group"],
            id=None if facts[row].get("id") is None else str(facts[row]["id"]),
            label=facts[row]["label"],
            risk=facts[row]["risk"],
            p_value=facts[row]["p_value"],
            kinds=tuple(facts[row]["kinds"]),
            detectors=tuple(facts[row]["detectors"]),
            reason=facts[row]["reason"],
            picture=thumbnail(content, side) if isinstance(content, bytes) else None,
            text=content if isinstance(content, str) else None,
            cells=tuple(cells.get(row, ())[:CELLS]),
        )
        for row, content in contents(dataset, facts.keys(), cells)
    ]


def contents(
    dataset: Dataset, rows: Collection[int], cells: Mapping[int, Sequence[Cell]] | None = None
) -> Iterator[tuple[int, bytes | str | None]]:
    """The content of these rows, ascending: the bytes of a picture file (None where unreadable) or a text."""
    if dataset.roles.modality is Modality.FEATURES:
        known = _cells(dataset, rows) if cells is None else cells
        yield from ((row, ", ".join(f"{cell.name} = {cell.value}" for cell in known[row])) for row in sorted(known))
        return
    for payload in picked(dataset, rows):
        image = dataset.roles.modality is Modality.IMAGE
        yield from zip(payload.row.tolist(), payload.pictures() if image else _texts(dataset, payload), strict=True)


def texts(dataset: Dataset, wanted: Collection[int]) -> dict[int, str]:
    """The texts of the wanted rows, by row."""
    parts = picked(dataset, wanted)
    return {row: text for part in parts for row, text in zip(part.row.tolist(), part.texts, strict=True)}


def marked(samples: Sequence[Sample], findings: Sequence[Finding], doubts: pl.DataFrame) -> Sequence[Sample]:
    """The samples with the phrases of their finding as marks, and with their most probable class."""
    believed = dict(doubts.select("row", "believed").iter_rows())
    phrases = {(str(one.kind), one.label): one.shown["marks"] for one in findings if "marks" in one.shown}
    return [
        replace(
            sample,
            believed=believed.get(sample.row),
            marks=tuple(
                mark
                for (kind, label), words in phrases.items()
                if kind in sample.kinds and label in (None, sample.label)
                for phrase in words
                for mark in dict.fromkeys((phrase, *_verbatim(sample.text or "", phrase)))
            ),
        )
        for sample in samples
    ]


def _verbatim(text: str, phrase: str) -> list[str]:
    """A phrase as it occurs in the text, with whatever white space is between its words."""
    return [text[start:end] for start, end in spans(text[:READ], phrase)]


def _texts(dataset: Dataset, payload: Payload) -> list[str]:
    if dataset.roles.modality is not Modality.EMBEDDING:
        return payload.texts
    vectors = payload.columns[dataset.roles.payload[0]].to_pylist()
    return [", ".join(f"{value:.3g}" for value in (one or [])[:12]) + ", …" for one in vectors]


def _cells(dataset: Dataset, rows: Collection[int]) -> dict[int, list[Cell]]:
    """The cells of the wanted rows, the most unusual first, by row; empty unless the dataset is a table."""
    out: dict[int, list[Cell]] = {}
    if dataset.roles.modality is not Modality.FEATURES:
        return out
    for payload in payloads(dataset, list(row_groups(dataset, rows)), rows=PIECE):
        at = [place for place, row in enumerate(payload.row.tolist()) if row in rows]
        if at:
            columns = {name: payload.columns[name] for name in dataset.roles.payload}
            named = zip(payload.row[at].tolist(), oddities(columns, payload.label.numpy(), at), strict=True)
            out.update(named)
    return out


@dataclass(frozen=True)
class Sample:
    """A row with its content.

    picture   a PNG from pictures.thumbnail, or None
    text      the payload as text, or None; shown as an excerpt
    marks     strings to mark in the text: the trigger, where a detector names it
    cells     of a row of a table, the most unusual first
    believed  the most probable class of a row with a wrong label
    """

    row: int
    file: str
    row_group: int
    row_in_group: int
    id: str | None
    label: str | None
    risk: float
    p_value: float
    kinds: tuple[str, ...]
    detectors: tuple[str, ...]
    reason: str
    picture: bytes | None = None
    text: str | None = None
    marks: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()
    believed: str | None = None
