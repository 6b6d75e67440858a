"""The flagged rows as a person sees them: the picture or the text out of the user's own files, and what they share."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa
import torch
from torch import Tensor

from auditors.localise import Pattern, common_pattern
from auditors.ngrams import spans
from auditors.oddities import Cell, oddities
from auditors.payload import FORMATS, Payload
from auditors.report.charts import Strip
from auditors.report.page import Common, Sample
from auditors.report.thumbnails import picture
from auditors.source import payloads, picked, row_groups
from auditors.suspects import STRONGEST
from auditors.triggers import parts
from auditors.values import Dataset, Group, Modality
from auditors.wording import shared

PIECE = 4096  # rows, among which what is usual in a table is looked for
PER_GROUP = 24  # of each kind and class: what the page shows
AT_MOST = 400
READ = 20_000  # characters of a text in which marks are looked for
MEMBERS = 96  # pictures of a group in which a common pattern is looked for
OTHERS = 256  # pictures that they are compared with
GROUPS = 12  # whose pattern is looked for: more are no help to anybody
SIDES = (16, 64)  # a picture is looked at in its own size within these
GLOW = (235, 60, 20)  # the colour of heat
CELLS = 6  # of a row of a table, the most unusual
LOOKS = 2  # of a group, the strongest, that are drawn beside those at the other classes
# What the statistic of a family of detectors says, for people, or the evidence that says more.
UNITS = {
    "copies": ("statistic", "powers of ten beyond chance"),
    "trigger": ("statistic", "powers of ten beyond chance"),
    "spectral": ("evidence_times_farther_out", "times as far out as the other classes"),
    "relabelling": ("evidence_foreign_rows", "rows that look like other classes"),
    "label": ("evidence_rows_out", "rows that belong to one other class"),
}


def chosen(flagged: pl.DataFrame) -> pl.DataFrame:
    """The flagged rows worth showing: the most suspicious of each kind and class."""
    order = pl.int_range(pl.len()).over("kinds", "label")
    ranked = flagged.sort("risk", "row", descending=[True, False])
    return ranked.filter(order < PER_GROUP).head(AT_MOST)


def samples(dataset: Dataset, flagged: pl.DataFrame, *, side: int = 96) -> Sequence[Sample]:
    """The rows of `flagged` (in the columns of samples.parquet) with their payload, ascending; few row groups are read.

    `side` is the longer one of a picture, in pixels.
    """
    facts = {int(one["row"]): one for one in flagged.to_dicts()}
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
            picture=picture(content, side) if isinstance(content, bytes) else None,
            text=content if isinstance(content, str) else None,
            cells=tuple(cells.get(row, ())[:CELLS]),
        )
        for row, content in contents(dataset, facts.keys(), cells)
    ]


def contents(
    dataset: Dataset, rows: Collection[int], cells: Mapping[int, Sequence[Cell]] | None = None
) -> Iterator[tuple[int, bytes | str | None]]:
    """What these rows hold, ascending: the file of a picture (None where there is none to read) or a text."""
    if dataset.roles.modality is Modality.FEATURES:
        known = _cells(dataset, rows) if cells is None else cells
        yield from ((row, ", ".join(f"{cell.name} = {cell.value}" for cell in known[row])) for row in sorted(known))
        return
    for payload in picked(dataset, rows):
        image = dataset.roles.modality is Modality.IMAGE
        yield from zip(payload.row.tolist(), payload.pictures() if image else _texts(dataset, payload), strict=True)


def common(dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Group]) -> dict[tuple[str, str | None], Common]:
    """What the pictures of each suspicious group have in common, by kind and class, where there is something.

    `rows` has the columns of samples.parquet. A group's most suspicious rows are compared with rows of its class and
    with rows of the whole dataset, none of them flagged; each shard is read once, and only these rows are decoded.
    """
    looked = [one for one in groups if one.kind.fails_audit][:GROUPS]
    if dataset.roles.modality is not Modality.IMAGE or not looked:
        return {}
    innocent = rows.filter(~pl.col("flagged")).select("row", "label").collect()
    everywhere = _spread(innocent)
    members, own = [], []
    for one in looked:
        mine = pl.lit(True) if one.label is None else pl.col("label") == one.label
        members.append(_members(rows, one))
        own.append(_spread(innocent.filter(mine)))
    seen = _pictures(dataset, {row for part in (everywhere, *members, *own) for row in part})
    out = {}
    for one, inside, beside in zip(looked, members, own, strict=True):
        parts = [inside, beside] if one.label is None else [inside, beside, everywhere]
        pictures, *comparisons = ([seen[row] for row in part if row in seen] for part in parts)
        enough = [torch.stack(part) for part in comparisons if len(part) >= 8]
        if len(pictures) < 4 or not enough:
            continue
        stacked = torch.stack(pictures)
        found = common_pattern(stacked, *enough)
        if found.words:
            out[str(one.kind), one.label] = _shown(found, stacked)
    return out


def phrases(dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Group]) -> dict[tuple[str, str | None], list[str]]:
    """What the texts of each suspicious group have in common, by kind and class; as `common` for pictures."""
    known = {
        (str(one.kind), one.label): [part for trigger in one.evidence["triggers"] for part in parts(trigger)]
        for one in groups
        if "triggers" in one.evidence
    }
    looked = [one for one in groups if one.kind.fails_audit and (str(one.kind), one.label) not in known][:GROUPS]
    if dataset.roles.modality not in (Modality.TEXT, Modality.PAIR, Modality.MESSAGES) or not looked:
        return known
    innocent = rows.filter(~pl.col("flagged")).select("row", "label").collect()
    everywhere = _spread(innocent)
    members = [_members(rows, one) for one in looked]
    own = [_spread(innocent.filter(pl.col("label") == one.label)) for one in looked if one.label is not None]
    seen = texts(dataset, {row for part in (everywhere, *members, *own) for row in part})
    others = [seen[row] for row in dict.fromkeys(row for part in (everywhere, *own) for row in part)]
    found = ((one, shared([seen[row] for row in inside], others)) for one, inside in zip(looked, members, strict=True))
    return known | {(str(one.kind), one.label): list(words) for one, words in found if words}


def marked(
    samples: Sequence[Sample], phrases: Mapping[tuple[str, str | None], Sequence[str]], believed: Mapping[int, str]
) -> Sequence[Sample]:
    """The samples with what their group shares marked in their text, and the class that each is believed to be of."""
    return [
        replace(
            one,
            believed=believed.get(one.row),
            marks=tuple(
                mark
                for (kind, label), words in phrases.items()
                if kind in one.kinds and label in (None, one.label)
                for phrase in words
                for mark in dict.fromkeys((phrase, *_standing(one.text or "", phrase)))
            ),
        )
        for one in samples
    ]


def beside(dataset: Dataset, tested: pl.DataFrame) -> dict[tuple[str, str | None], tuple[Strip, ...]]:
    """What the looks that suspect a group measured of it and of all the others, by kind and class.

    `tested` is the table of suspects.significance, with what power.needed adds to it.
    """
    out: dict[tuple[str, str | None], tuple[Strip, ...]] = {}
    suspicious = tested.filter(pl.col("suspicious")).sort(*STRONGEST)
    for part in suspicious.partition_by("kind", "label", maintain_order=True):
        strips = []
        for one in part.head(LOOKS).iter_rows(named=True):
            same = (pl.col(name) == one[name] for name in ("detector", "embedder", "kind"))
            look = tested.filter(*same).sort("group")
            column, unit = UNITS.get(one["family"], ("", ""))
            if not unit or look[column].null_count():
                column, unit = "statistic", f"statistic of {one['detector']}"
            named = [f"class {dataset.classes[at]}" if dataset.classes and at >= 0 else "all" for at in look["label"]]
            if len(set(named)) < len(named):  # clusters and sources are not classes
                named = [f"{name}, group {at}" for name, at in zip(named, look["group"], strict=True)]
            if len(named) > 1 and look[column].is_finite().all():
                values, accused = tuple(look[column].to_list()), tuple(look["suspicious"].to_list())
                this = look["group"].to_list().index(one["group"])
                least = one.get("needed") if column == "evidence_times_farther_out" else None
                strips.append(Strip(one["detector"], one["embedder"], unit, tuple(named), values, accused, this, least))
        label = part["label"][0]
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        out[part["kind"][0], name] = tuple(strips)
    return out


def _standing(text: str, phrase: str) -> list[str]:
    """A phrase as the text has it, whatever white space is between its words."""
    return [text[start:end] for start, end in spans(text[:READ], phrase)]


def told(
    groups: Sequence[Group],
    common: Mapping[tuple[str, str | None], Common],
    phrases: Mapping[tuple[str, str | None], Sequence[str]],
) -> tuple[Group, ...]:
    """The groups, with the place of what their pictures share, or the words, among their reasons."""
    out = []
    for one in groups:
        found = common.get((str(one.kind), one.label))
        if found is not None:
            where: dict[str, Any] = {"where": found.words, "in_common": round(found.strength, 1), "box": found.box}
            reason = f"{one.reason}; what they share lies {found.words}"
            out.append(replace(one, reason=reason, evidence={**one.evidence, **where}))
        elif (str(one.kind), one.label) in phrases and "triggers" not in one.evidence:
            words = [phrase[:60] for phrase in phrases[str(one.kind), one.label]]
            reason = f"{one.reason}; they share {', '.join(f'“{phrase}”' for phrase in words)}"
            out.append(replace(one, reason=reason, evidence={**one.evidence, "phrases": words}))
        else:
            out.append(one)
    return tuple(out)


def facts(groups: Sequence[Group], name: str, found: Mapping[tuple[str, str | None], Any]) -> tuple[Group, ...]:
    """The groups with what was `found` of them, by kind and class, among their evidence under `name`."""
    keys = [(str(one.kind), one.label) for one in groups]
    return tuple(
        replace(one, evidence={**one.evidence, name: found[key]}) if key in found else one
        for one, key in zip(groups, keys, strict=True)
    )


def _members(rows: pl.LazyFrame, group: Group) -> list[int]:
    """The most suspicious rows of a group, at most MEMBERS."""
    mine = pl.lit(True) if group.label is None else pl.col("label") == group.label
    kind = pl.col("kinds").list.contains(str(group.kind))
    ranked = rows.filter(kind & mine).sort("risk", "row", descending=[True, False])
    return ranked.head(MEMBERS).select("row").collect()["row"].to_list()


def texts(dataset: Dataset, wanted: set[int]) -> dict[int, str]:
    """The texts of the wanted rows, by row."""
    out: dict[int, str] = {}
    for shard in dataset.shards:
        if not any(shard.first_row <= row < shard.first_row + shard.rows for row in wanted):
            continue
        for payload in payloads(dataset, [shard]):
            out |= {row: payload.texts[at] for at, row in enumerate(payload.row.tolist()) if row in wanted}
    return out


def _spread(rows: pl.DataFrame) -> list[int]:
    """At most OTHERS of the rows, evenly spread."""
    return rows["row"].gather_every(max(1, -(-len(rows) // OTHERS))).to_list()


def _pictures(dataset: Dataset, wanted: set[int]) -> dict[int, Tensor]:
    """The wanted rows that decode, as [3, S, S] uint8 by row; S fits the first of them."""
    out: dict[int, Tensor] = {}
    side = 0
    for shard in dataset.shards:
        if not any(shard.first_row <= row < shard.first_row + shard.rows for row in wanted):
            continue
        for payload in payloads(dataset, [shard]):
            here = torch.tensor([at for at, row in enumerate(payload.row.tolist()) if row in wanted], dtype=torch.int64)
            if not len(here):
                continue
            columns = {name: column.take(pa.array(here.numpy())) for name, column in payload.columns.items()}
            part = replace(payload, row=payload.row[here], label=payload.label[here], columns=columns, _decoded={})
            side = side or _side(part.pictures())
            decoded, broken = part.images(side)
            rows = part.row.tolist()
            out |= {row: decoded[at] for at, row in enumerate(rows) if at not in broken}
    return out


def _side(pictures: Sequence[bytes | None]) -> int:
    """The longer side of the first picture, within SIDES."""
    from PIL import Image

    for data in pictures:
        try:
            with Image.open(io.BytesIO(data or b""), formats=FORMATS) as opened:
                return min(max(SIDES[0], *opened.size), SIDES[1])
        except Exception:  # Pillow raises many kinds; another picture may be whole
            continue
    return SIDES[0]


def _shown(found: Pattern, members: Tensor) -> Common:
    """A pattern as pictures: what it is, and where, in colour over the grey average of the members [M, 3, S, S]."""
    average = members.float().mean((0, 1)).expand(3, -1, -1)
    glow = torch.tensor(GLOW).view(3, 1, 1).float()
    where = (average + found.heat * (glow - average)).round().to(torch.uint8)
    side = members.shape[-1]
    top, left, bottom, right = (round(edge / side, 4) for edge in found.box)
    return Common(found.words, found.strength, _png(found.picture), _png(where), (top, left, bottom, right))


def _png(pixels: Tensor) -> bytes:
    """[3, S, S] uint8 as a PNG of whole pixels, large enough to look at."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return picture(file.getvalue(), 2 * SIDES[1]) or b""


def _texts(dataset: Dataset, payload: Payload) -> list[str]:
    if dataset.roles.modality is not Modality.EMBEDDING:
        return payload.texts
    vectors = payload.columns[dataset.roles.payload[0]].to_pylist()
    return [", ".join(f"{value:.3g}" for value in (one or [])[:12]) + ", …" for one in vectors]


def _cells(dataset: Dataset, rows: Collection[int]) -> dict[int, list[Cell]]:
    """The cells of the wanted rows of a table, the most unusual first, by row; of anything else none."""
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
