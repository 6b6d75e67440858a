"""What the rows of a suspicious group have in common: a pattern in their pictures, phrases in their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
import torch
from torch import Tensor

from foretaste.dataset.parquet import picked
from foretaste.dataset.pictures import png, size, thumbnail
from foretaste.explain.audited import Audited, Explain, key
from foretaste.explain.phrase_triggers import parts
from foretaste.explain.samples import texts
from foretaste.image.localisation import Pattern, common_pattern
from foretaste.text.distinctive_phrases import shared
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.findings import Finding

MEMBERS = 96  # pictures of a group in which a common pattern is looked for
OTHERS = 256  # pictures that they are compared with
GROUPS = 12  # whose pattern is looked for: more are no help to anybody
SIDES = (16, 64)  # a picture is looked at in its own size within these
GLOW = (235, 60, 20)  # the colour of heat


def common(dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Finding]) -> dict[tuple[str, str | None], Common]:
    """What the pictures of each suspicious group have in common, by kind and class, where there is something.

    `rows` has the columns of samples.parquet. A group's most suspicious rows are compared with rows of its class and
    with rows of the whole dataset, none of them flagged. Only the row groups that hold these are read, no other row is
    decoded.
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


def phrases(dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Finding]) -> dict[tuple[str, str | None], list[str]]:
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


def explain_pictures(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds what the pictures of a group have in common: where it lies to evidence and reason, the pattern to see."""
    patterns = common(audited.dataset, audited.samples, findings)

    def told(one: Finding) -> Finding:
        found = patterns.get(key(one))
        if found is None:
            return one
        where: dict[str, Any] = {"where": found.words, "in_common": round(found.strength, 1), "box": found.box}
        reason = f"{one.reason}; what they share lies {found.words}"
        return replace(one, reason=reason, evidence={**one.evidence, **where}, shown={**one.shown, "pattern": found})

    return told


def explain_texts(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the words that the texts of a group share, unless its triggers are known, and what to mark in them."""
    shared_words = phrases(audited.dataset, audited.samples, findings)

    def told(one: Finding) -> Finding:
        words = shared_words.get(key(one))
        if words is None:
            return one
        one = replace(one, shown={**one.shown, "marks": words})
        if "triggers" in one.evidence:
            return one
        words = [phrase[:60] for phrase in words]
        reason = f"{one.reason}; they share {', '.join(f'“{phrase}”' for phrase in words)}"
        return replace(one, reason=reason, evidence={**one.evidence, "phrases": words})

    return told


def _members(rows: pl.LazyFrame, group: Finding) -> list[int]:
    """The most suspicious rows of a group, at most MEMBERS."""
    mine = pl.lit(True) if group.label is None else pl.col("label") == group.label
    kind = pl.col("kinds").list.contains(str(group.kind))
    ranked = rows.filter(kind & mine).sort("risk", "row", descending=[True, False])
    return ranked.head(MEMBERS).select("row").collect()["row"].to_list()


def _spread(rows: pl.DataFrame) -> list[int]:
    """At most OTHERS of the rows, evenly spread."""
    return rows["row"].gather_every(max(1, -(-len(rows) // OTHERS))).to_list()


def _pictures(dataset: Dataset, wanted: set[int]) -> dict[int, Tensor]:
    """The wanted rows that decode, as [3, S, S] uint8 by row; S fits the first of them."""
    out: dict[int, Tensor] = {}
    side = 0
    for part in picked(dataset, wanted):
        side = side or _side(part.pictures())
        decoded, broken = part.images(side)
        out |= {row: decoded[at] for at, row in enumerate(part.row.tolist()) if at not in broken}
    return out


def _side(files: Sequence[bytes | None]) -> int:
    """The longer side of the first picture, within SIDES."""
    sizes = (size(data) for data in files if data is not None)
    first = next((one for one in sizes if one is not None), (0, 0))  # another picture may be whole
    return min(max(SIDES[0], *first), SIDES[1])


def _shown(found: Pattern, members: Tensor) -> Common:
    """A pattern as pictures: what it is, and where, in colour over the grey average of the members [M, 3, S, S]."""
    average = members.float().mean((0, 1)).expand(3, -1, -1)
    glow = torch.tensor(GLOW).view(3, 1, 1).float()
    where = (average + found.heat * (glow - average)).round().to(torch.uint8)
    side = members.shape[-1]
    top, left, bottom, right = (round(edge / side, 4) for edge in found.box)
    return Common(found.words, found.strength, _enlarged(found.picture), _enlarged(where), (top, left, bottom, right))


def _enlarged(pixels: Tensor) -> bytes:
    """[3, S, S] uint8 as a PNG of whole pixels, large enough to look at."""
    return thumbnail(png(pixels), 2 * SIDES[1]) or b""


@dataclass(frozen=True)
class Common:
    """What the pictures of a group have in common.

    words     where it lies, as in "in the lower right corner"
    strength  how many times more it is than the most that random rows have in common
    pattern   a PNG of what it is
    where     a PNG of where it is, over the average of the pictures
    box       the same in shares of the picture: top, left, bottom, right; the whole where it is everywhere
    """

    words: str
    strength: float
    pattern: bytes
    where: bytes
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
