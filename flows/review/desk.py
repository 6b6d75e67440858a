"""The rows on the reviewer's desk: what an audit flagged, filtered, in order, with what each row holds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl

from auditors import decisions, evidence, manifest
from auditors.decisions import Choice
from auditors.report.document import read
from auditors.report.glyphs import visible
from auditors.report.page import Sample
from auditors.values import Dataset

PAGE = 48
KEPT = 2000  # rows whose content stays in memory
TEXT = 1200  # characters of a text on the desk


@dataclass(frozen=True)
class Filter:
    """Which flagged rows: of a kind, class and detector, and "open", a choice, or "" for whatever was decided."""

    kind: str = ""
    label: str = ""
    detector: str = ""
    state: str = ""


@dataclass(frozen=True)
class Desk:
    """An audit under review. `flagged` has the columns of samples.parquet, most suspicious first."""

    folder: Path
    report: dict[str, Any]
    dataset: Dataset
    flagged: pl.DataFrame
    _shown: OrderedDict[int, Sample] = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    def of(cls, folder: str) -> Desk:
        """Open an audit. Raises DataError where it is none, or its dataset no longer holds the audited bytes."""
        report = read(folder)
        return cls(Path(folder), report, manifest.reopened(report), pl.read_parquet(Path(folder) / "flagged.parquet"))

    def choices(self) -> dict[str, list[str]]:
        """What can be filtered by."""
        return {
            "kind": sorted(self.flagged["kinds"].explode().drop_nulls().unique().to_list()),
            "label": sorted(self.flagged["label"].drop_nulls().unique().to_list()),
            "detector": sorted(self.flagged["detectors"].explode().drop_nulls().unique().to_list()),
        }

    def rows(self, wanted: Filter) -> list[int]:
        """The rows that a filter leaves, most suspicious first."""
        part = self.flagged
        if wanted.kind:
            part = part.filter(pl.col("kinds").list.contains(wanted.kind))
        if wanted.label:
            part = part.filter(pl.col("label") == wanted.label)
        if wanted.detector:
            part = part.filter(pl.col("detectors").list.contains(wanted.detector))
        rows: list[int] = part["row"].to_list()
        if wanted.state:
            state, said = Choice(wanted.state), decisions.settled(self.folder)
            rows = [row for row in rows if said.get(row, Choice.OPEN) is state]
        return rows

    def cards(self, rows: Sequence[int], reviewer: str) -> list[dict[str, Any]]:
        """What the page shows of these rows, as JSON types."""
        words: dict[int, list[decisions.Decision]] = {}
        for word in decisions.latest(self.folder, rows):
            words.setdefault(word.row, []).append(word)
        return [_card(one, words.get(one.row, []), reviewer) for one in self.samples(rows)]

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        """These flagged rows with their content."""
        with self._lock:
            absent = [row for row in rows if row not in self._shown]
            if absent:
                part = self.flagged.filter(pl.col("row").is_in(absent))
                self._shown.update({one.row: one for one in evidence.samples(self.dataset, part)})
            found = [self._shown[row] for row in rows if row in self._shown]
            for one in found:
                self._shown.move_to_end(one.row)
            while len(self._shown) > max(KEPT, len(rows)):
                self._shown.popitem(last=False)
            return found

    def progress(self, reviewer: str) -> dict[str, Any]:
        """How far the review is: flagged rows, settled ones by choice, and how many this reviewer decided."""
        counts, mine = decisions.tally(self.folder, reviewer)
        settled = {str(choice): number for choice, number in counts.items()}
        return {"flagged": len(self.flagged), "settled": settled, "mine": mine}


def _card(sample: Sample, words: Sequence[decisions.Decision], reviewer: str) -> dict[str, Any]:
    mine = [word for word in words if word.reviewer == reviewer]
    text = None if sample.text is None else visible(sample.text[:TEXT], lines=True)
    return {
        "row": sample.row,
        "id": None if sample.id is None else visible(sample.id),
        "place": visible(f"{sample.file}, row {sample.row_in_group} of group {sample.row_group}"),
        "label": None if sample.label is None else visible(sample.label),
        "risk": round(sample.risk, 3),
        "kinds": list(sample.kinds),
        "detectors": list(sample.detectors),
        "reason": visible(sample.reason),
        "picture": sample.picture is not None,
        "text": text,
        "choice": str(mine[0].choice) if mine else None,
        "note": mine[0].note if mine else "",
        "others": [
            {"who": visible(word.reviewer), "choice": str(word.choice), "note": visible(word.note)}
            for word in words
            if word.reviewer != reviewer
        ],
    }
