"""The review queue: the flagged rows of an audit, filtered and ordered, with their content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl

from foretaste.curation.review_decisions import Choice, ReviewDecision
from foretaste.dataset import manifest
from foretaste.dataset.parquet import identities
from foretaste.dataset.pictures import thumbnail
from foretaste.explain import breakdowns, samples
from foretaste.explain.phrase_triggers import parts
from foretaste.explain.samples import Sample
from foretaste.flows.review.decision_cache import DecisionCache
from foretaste.flows.review.highlight import pieces
from foretaste.flows.review.neighbours import NeighbourIndex
from foretaste.report.document import read
from foretaste.report.visible import visible
from foretaste.types.dataset import Dataset, Modality

PAGE = 48  # rows per page
KEPT = 2000  # rows whose content stays in memory
SIDE = 192  # pixels of a picture in the grid, for high-density screens
LARGE = 1024  # pixels of an enlarged picture
TEXT = 1200  # characters of a text in the list
WHOLE = 50_000  # characters of an enlarged text
GLANCE = 160  # characters of a text beside another row
BESIDE = 12  # rows of the same group shown beside a row
NEAR = 8  # nearest rows shown
FAR = 3  # standard deviations from the usual value above which a cell is highlighted
OPTIONS = 300  # values per filter, those with the most rows


@dataclass(frozen=True)
class Filter:
    """Which flagged rows, in which order; "" does not filter.

    kind, label, detector  as in the audit
    file, source           where the rows come from
    state                  the settled choice, "open" for rows without one
    order                  "rising" for the least suspicious first
    """

    kind: str = ""
    label: str = ""
    detector: str = ""
    file: str = ""
    source: str = ""
    state: str = ""
    order: str = ""


@dataclass(frozen=True)
class ReviewQueue:
    """An audit under review.

    flagged  the columns of samples.parquet and `source`, most suspicious first
    """

    folder: Path
    report: dict[str, Any]
    dataset: Dataset
    flagged: pl.DataFrame
    decisions: DecisionCache
    _shown: OrderedDict[int, Sample] = field(default_factory=OrderedDict, repr=False)
    _reading: Lock = field(default_factory=Lock, repr=False)
    _indexing: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    def of(cls, folder: str) -> ReviewQueue:
        """Open an audit. Raises DataError where there is none, or its dataset changed since."""
        report = read(folder)
        dataset = manifest.reopened(report)
        flagged = _with_source(pl.read_parquet(Path(folder) / "flagged.parquet"), dataset)
        return cls(Path(folder), report, dataset, flagged, DecisionCache(Path(folder)))

    @cached_property
    def known(self) -> frozenset[int]:
        """The flagged rows."""
        return frozenset(self.flagged["row"].to_list())

    @cached_property
    def neighbours(self) -> NeighbourIndex:
        """The index for nearest rows, built on first use."""
        return NeighbourIndex.of(self.dataset, self.report.get("plan", {}))

    @cached_property
    def groups(self) -> dict[tuple[str, str | None], dict[str, Any]]:
        """The groups of the report by kind and class."""
        return {(group["kind"], group["label"]): group for group in self.report["groups"]}

    @cached_property
    def believed(self) -> dict[int, str]:
        """The most probable class of the rows with a wrong label."""
        found = breakdowns.believed(str(self.folder / "scores.parquet"), self.flagged, self.dataset)
        return dict(found.select("row", "believed").iter_rows())

    def choices(self) -> dict[str, list[tuple[str, str, int]]]:
        """The options of each filter: value, display text and number of flagged rows; none where there is one value."""
        columns = {"kind": "kinds", "label": "label", "detector": "detectors", "file": "file", "source": "source"}
        out = {}
        for name, column in columns.items():
            values = self.flagged[column]
            values = values.explode() if values.dtype == pl.List else values
            counted = values.drop_nulls().alias("value").value_counts().sort("count", "value", descending=[True, False])
            listed = sorted(counted.head(OPTIONS).rows()) if len(counted) > 1 else []
            out[name] = [(value, visible(value), rows) for value, rows in listed]
        return out

    def rows(self, wanted: Filter) -> list[int]:
        """The rows that pass a filter, in its order. Raises ValueError for an unknown state."""
        part = self.flagged
        for column in ("kinds", "detectors"):
            if value := getattr(wanted, column.removesuffix("s")):
                part = part.filter(pl.col(column).list.contains(value))
        for column in ("label", "file", "source"):
            if value := getattr(wanted, column):
                part = part.filter(pl.col(column) == value)
        rows: list[int] = part["row"].to_list()
        if wanted.order == "rising":
            rows.reverse()
        if wanted.state:
            state = Choice(wanted.state)
            self.decisions.refresh()
            rows = [row for row in rows if self.decisions.settled(row) is state]
        return rows

    def left(self, rows: Sequence[int], reviewer: str) -> list[int]:
        """Those that a reviewer has not decided yet, or all where none is left."""
        self.decisions.refresh()
        decided = self.decisions.decided(reviewer)
        return [row for row in rows if row not in decided] or list(rows)

    def cards(self, rows: Sequence[int], reviewer: str) -> list[dict[str, Any]]:
        """What the page shows of these flagged rows, in JSON types."""
        self.decisions.refresh()
        return [self._card(sample, self.decisions.of(sample.row), reviewer) for sample in self.samples(rows)]

    def beside(self, row: int, reviewer: str) -> dict[str, Any]:
        """The group of a flagged row: reason, size, number of rows left to decide, and other rows."""
        group = self._group(self.samples([row])[0])
        rows = self.rows(group)
        found = self.groups.get((group.kind, group.label or None), {})
        return {
            "group": {"kind": group.kind, "label": group.label},
            "name": visible(f"{group.kind} in class {group.label}" if group.label else group.kind),
            "reason": visible(str(found.get("reason", "")), lines=True),
            "rows": len(rows),
            "left": len(self.left(rows, reviewer)),
            "cards": self._glances([other for other in rows if other != row][:BESIDE]),
        }

    def near(self, row: int) -> dict[str, Any]:
        """The nearest rows of a row in the whole dataset. Raises ForetasteError where they cannot be determined."""
        with self._indexing:
            index = self.neighbours
        found = dict(index.nearest(row, NEAR))
        cards = [{**card, "alike": round(found[card["row"]], 3)} for card in self._glances(list(found))]
        return {"view": visible(index.view), "looked": len(index.row), "rows": self.dataset.rows, "cards": cards}

    def text(self, row: int) -> dict[str, Any]:
        """The enlarged text of a row."""
        (sample,) = self.samples([row])
        length = 0 if sample.text is None else len(sample.text)
        return {"pieces": pieces(sample.text or "", self._phrases(sample), WHOLE), "characters": length}

    def large(self, row: int) -> bytes | None:
        """The enlarged picture of a row, as a PNG."""
        with self._reading:
            found = next((content for _, content in samples.contents(self.dataset, [row])), None)
        return thumbnail(found, LARGE) if isinstance(found, bytes) else None

    def thumbnail(self, row: int) -> bytes | None:
        """The picture of a row for the grid, as a PNG."""
        sample = self._shown.get(row) or next(iter(self.samples([row])), None)
        return None if sample is None else sample.picture

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        """These rows, flagged or not, with their content."""
        with self._reading:
            absent = [row for row in rows if row not in self._shown]
            if absent:
                part = self.flagged.filter(pl.col("row").is_in(absent)).drop("source")
                unflagged = set(absent) - self.known
                if unflagged:
                    every = pl.scan_parquet(self.folder / "samples.parquet")
                    part = pl.concat([part, every.filter(pl.col("row").is_in(unflagged)).collect()])
                self._shown.update({one.row: one for one in samples.samples(self.dataset, part, side=SIDE)})
            found = [self._shown[row] for row in rows if row in self._shown]
            for sample in found:
                self._shown.move_to_end(sample.row)
            while len(self._shown) > max(KEPT, len(rows)):
                self._shown.popitem(last=False)
            return found

    def progress(self, reviewer: str) -> dict[str, Any]:
        """The progress of the review: flagged rows, settled ones by choice, and those that this reviewer decided."""
        self.decisions.refresh()
        return {
            "flagged": len(self.flagged),
            "settled": self.decisions.counts(),
            "mine": len(self.decisions.decided(reviewer)),
        }

    def _group(self, sample: Sample) -> Filter:
        """The group of a row, or all flagged rows of its kind and class if it has none."""
        label = sample.label
        keys = [(kind, group_label) for kind in sample.kinds for group_label in (label, None)]
        kind, label = next((key for key in keys if key in self.groups), (next(iter(sample.kinds), ""), label))
        return Filter(kind=kind, label=label or "")

    def _phrases(self, sample: Sample) -> list[str]:
        """The phrases to mark in a text: the triggers, outcomes and shared phrases of its groups."""
        out: list[str] = []
        for kind in sample.kinds:
            for label in dict.fromkeys((sample.label, None)):
                found = self.groups.get((kind, label), {}).get("evidence", {})
                for trigger in found.get("triggers", ()):
                    answered = self.dataset.roles.modality in (Modality.PAIR, Modality.MESSAGES)
                    out += [*parts(trigger), *([trigger["outcome"]] if answered and trigger.get("outcome") else [])]
                out += found.get("phrases", ())
        return list(dict.fromkeys(out))

    def _card(self, sample: Sample, decisions: Sequence[ReviewDecision], reviewer: str) -> dict[str, Any]:
        own = next((decision for decision in decisions if decision.reviewer == reviewer), None)
        key = self._group(sample)
        group = self.groups.get((key.kind, key.label or None), {})
        believed = self.believed.get(sample.row)
        return {
            **self._glance(sample),
            "id": None if sample.id is None else visible(sample.id),
            "place": visible(f"{sample.file}, row {sample.row_in_group} of group {sample.row_group}"),
            "kinds": list(sample.kinds),
            "detectors": list(sample.detectors),
            "reason": visible(sample.reason),
            "text": None if sample.text is None else pieces(sample.text, self._phrases(sample), TEXT),
            "believed": None if believed in (None, sample.label) else visible(str(believed)),
            "box": group.get("evidence", {}).get("box"),
            "choice": None if own is None or own.choice is Choice.OPEN else str(own.choice),
            "note": "" if own is None else own.note,
            "others": [
                {"who": visible(decision.reviewer), "choice": str(decision.choice), "note": visible(decision.note)}
                for decision in decisions
                if decision.reviewer != reviewer
            ],
        }

    def _glances(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        return [self._glance(sample) for sample in self.samples(rows)]

    def _glance(self, sample: Sample) -> dict[str, Any]:
        return {
            "row": sample.row,
            "label": None if sample.label is None else visible(sample.label),
            "risk": round(sample.risk, 3),
            "flagged": sample.row in self.known,
            "picture": sample.picture is not None,
            "text": None if sample.text is None else pieces(sample.text, self._phrases(sample), GLANCE),
            "cells": [
                [visible(cell.name), visible(cell.value), visible(cell.usual), cell.distance >= FAR]
                for cell in sample.cells
            ],
        }


def _with_source(flagged: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The flagged rows with the value of the dataset's source column, null where there is none."""
    name = dataset.roles.source
    if name is None or flagged.is_empty():
        return flagged.with_columns(pl.lit(None, pl.String).alias("source"))
    # `identities` can read any column as the id, so it reads the source column here.
    named = replace(dataset, roles=replace(dataset.roles, id=name, label=None), classes=(), id_type="string")
    rows = flagged["row"].sort()
    parts = []
    for shard in dataset.shards:
        if len(rows.filter(rows.is_between(shard.first_row, shard.first_row + shard.rows, closed="left"))):
            table: Any = pl.from_arrow(identities(named, shard).select(["row", "id"]))
            parts.append(table.rename({"id": "source"}))
    return flagged.join(pl.concat(parts), on="row", how="left", maintain_order="left")
