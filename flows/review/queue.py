"""The rows on the reviewer's desk: what an audit flagged, filtered, in order, with what each row holds."""

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
from foretaste.explain import breakdowns
from foretaste.explain import samples as evidence
from foretaste.explain.phrase_triggers import parts
from foretaste.explain.samples import Sample
from foretaste.flows.review.decision_cache import Said
from foretaste.flows.review.highlight import pieces
from foretaste.flows.review.neighbours import Vicinity
from foretaste.report.document import read
from foretaste.report.visible import visible
from foretaste.types.dataset import Dataset, Modality

PAGE = 48
KEPT = 2000  # rows whose content stays in memory
SIDE = 192  # pixels of a picture in the grid, sharp on a fine screen
LARGE = 1024  # of one that is looked at closely
TEXT = 1200  # characters of a text on the desk
WHOLE = 50_000  # of one that is looked at closely
GLANCE = 160  # of one beside another row
BESIDE = 12  # rows of the same group shown beside a row
NEAR = 8  # nearest rows shown
FAR = 3  # standard deviations from what is usual that are pointed out
OPTIONS = 300  # of one filter, those with the most rows


@dataclass(frozen=True)
class Filter:
    """Which flagged rows, in which order; "" leaves open.

    kind, label, detector  what the audit says of them
    file, source           where they come from
    state                  "open" for those nobody decided, or the choice that holds
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
class Desk:
    """An audit under review.

    flagged  the columns of samples.parquet and `source`, most suspicious first
    """

    folder: Path
    report: dict[str, Any]
    dataset: Dataset
    flagged: pl.DataFrame
    said: Said
    _shown: OrderedDict[int, Sample] = field(default_factory=OrderedDict, repr=False)
    _reading: Lock = field(default_factory=Lock, repr=False)
    _looking: Lock = field(default_factory=Lock, repr=False)

    @classmethod
    def of(cls, folder: str) -> Desk:
        """Open an audit. Raises DataError where it is none, or its dataset no longer holds the audited bytes."""
        report = read(folder)
        dataset = manifest.reopened(report)
        flagged = _with_source(pl.read_parquet(Path(folder) / "flagged.parquet"), dataset)
        return cls(Path(folder), report, dataset, flagged, Said(Path(folder)))

    @cached_property
    def known(self) -> frozenset[int]:
        """The flagged rows."""
        return frozenset(self.flagged["row"].to_list())

    @cached_property
    def vicinity(self) -> Vicinity:
        """Vectors to look for neighbours in, read when first asked for."""
        return Vicinity.of(self.dataset, self.report.get("plan", {}))

    @cached_property
    def groups(self) -> dict[tuple[str, str | None], dict[str, Any]]:
        """The groups of the report by kind and class."""
        return {(one["kind"], one["label"]): one for one in self.report["groups"]}

    @cached_property
    def believed(self) -> dict[int, str]:
        """The class that rows with a doubted label are believed to be of."""
        found = breakdowns.believed(str(self.folder / "scores.parquet"), self.flagged, self.dataset)
        return dict(found.select("row", "believed").iter_rows())

    def choices(self) -> dict[str, list[tuple[str, str, int]]]:
        """What can be filtered by: values, how they are shown and their flagged rows; none where there is one only."""
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
        """The rows that a filter leaves, in its order. Raises ValueError for a state that there is not."""
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
            self.said.refresh()
            rows = [row for row in rows if self.said.settled(row) is state]
        return rows

    def left(self, rows: Sequence[int], reviewer: str) -> list[int]:
        """Those that a reviewer has not decided about, or all where none is left."""
        self.said.refresh()
        decided = self.said.decided(reviewer)
        return [row for row in rows if row not in decided] or list(rows)

    def cards(self, rows: Sequence[int], reviewer: str) -> list[dict[str, Any]]:
        """What the page shows of these flagged rows, as JSON types."""
        self.said.refresh()
        return [self._card(one, self.said.of(one.row), reviewer) for one in self.samples(rows)]

    def beside(self, row: int, reviewer: str) -> dict[str, Any]:
        """The group of a flagged row: what it shares, how large it is, what is left to decide, others of it."""
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
        """The rows of the whole dataset that are nearest to a row. Raises ForetasteError where none can be found."""
        with self._looking:
            vicinity = self.vicinity
        found = dict(vicinity.nearest(row, NEAR))
        cards = [{**card, "alike": round(found[card["row"]], 3)} for card in self._glances(list(found))]
        return {"view": visible(vicinity.view), "looked": len(vicinity.row), "rows": self.dataset.rows, "cards": cards}

    def text(self, row: int) -> dict[str, Any]:
        """A text to read whole."""
        (one,) = self.samples([row])
        length = 0 if one.text is None else len(one.text)
        return {"pieces": pieces(one.text or "", self._phrases(one), WHOLE), "characters": length}

    def large(self, row: int) -> bytes | None:
        """A picture to look at closely, as a PNG."""
        with self._reading:
            found = next((content for _, content in evidence.contents(self.dataset, [row])), None)
        return thumbnail(found, LARGE) if isinstance(found, bytes) else None

    def thumbnail(self, row: int) -> bytes | None:
        """A picture of the grid, as a PNG."""
        one = self._shown.get(row) or next(iter(self.samples([row])), None)
        return None if one is None else one.picture

    def samples(self, rows: Sequence[int]) -> list[Sample]:
        """These rows, flagged or not, with their content."""
        with self._reading:
            absent = [row for row in rows if row not in self._shown]
            if absent:
                part = self.flagged.filter(pl.col("row").is_in(absent)).drop("source")
                strange = set(absent) - self.known
                if strange:
                    every = pl.scan_parquet(self.folder / "samples.parquet")
                    part = pl.concat([part, every.filter(pl.col("row").is_in(strange)).collect()])
                self._shown.update({one.row: one for one in evidence.samples(self.dataset, part, side=SIDE)})
            found = [self._shown[row] for row in rows if row in self._shown]
            for one in found:
                self._shown.move_to_end(one.row)
            while len(self._shown) > max(KEPT, len(rows)):
                self._shown.popitem(last=False)
            return found

    def progress(self, reviewer: str) -> dict[str, Any]:
        """How far the review is: flagged rows, settled ones by choice, and how many this reviewer decided."""
        self.said.refresh()
        return {
            "flagged": len(self.flagged),
            "settled": self.said.counts(),
            "mine": len(self.said.decided(reviewer)),
        }

    def _group(self, sample: Sample) -> Filter:
        """The group that a row was found in, or else all flagged rows of its kind and class."""
        label = sample.label
        keys = [(kind, one) for kind in sample.kinds for one in (label, None)]
        kind, label = next((key for key in keys if key in self.groups), (next(iter(sample.kinds), ""), label))
        return Filter(kind=kind, label=label or "")

    def _phrases(self, sample: Sample) -> list[str]:
        """What the groups of a row share, as words of a text."""
        out: list[str] = []
        for kind in sample.kinds:
            for label in dict.fromkeys((sample.label, None)):
                found = self.groups.get((kind, label), {}).get("evidence", {})
                for one in found.get("triggers", ()):
                    answered = self.dataset.roles.modality in (Modality.PAIR, Modality.MESSAGES)
                    out += [*parts(one), *([one["outcome"]] if answered and one.get("outcome") else [])]
                out += found.get("phrases", ())
        return list(dict.fromkeys(out))

    def _card(self, sample: Sample, words: Sequence[ReviewDecision], reviewer: str) -> dict[str, Any]:
        mine = next((word for word in words if word.reviewer == reviewer), None)
        named = self._group(sample)
        group = self.groups.get((named.kind, named.label or None), {})
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
            "choice": None if mine is None or mine.choice is Choice.OPEN else str(mine.choice),
            "note": "" if mine is None else mine.note,
            "others": [
                {"who": visible(word.reviewer), "choice": str(word.choice), "note": visible(word.note)}
                for word in words
                if word.reviewer != reviewer
            ],
        }

    def _glances(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        return [self._glance(one) for one in self.samples(rows)]

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
    """The flagged rows with the value of the dataset's source column, null where it has none."""
    name = dataset.roles.source
    if name is None or flagged.is_empty():
        return flagged.with_columns(pl.lit(None, pl.String).alias("source"))
    # An id is whatever a column says of a row, and so is a source.
    named = replace(dataset, roles=replace(dataset.roles, id=name, label=None), classes=(), id_type="string")
    rows = flagged["row"].sort()
    parts = []
    for shard in dataset.shards:
        if len(rows.filter(rows.is_between(shard.first_row, shard.first_row + shard.rows, closed="left"))):
            table: Any = pl.from_arrow(identities(named, shard).select(["row", "id"]))
            parts.append(table.rename({"id": "source"}))
    return flagged.join(pl.concat(parts), on="row", how="left", maintain_order="left")
