"""What the rows of a finding have in common: a pattern in pictures, phrases in texts."""

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

MEMBERS = 96  # pictures of a finding in which a common pattern is searched
OTHERS = 256  # pictures that they are compared with
GROUPS = 12  # findings whose pattern is searched
SIDES = (16, 64)  # pixels: pictures are compared at their own size, within these limits
GLOW = (235, 60, 20)  # RGB of the heat map


def common(dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Finding]) -> dict[tuple[str, str | None], Common]:
    """The pattern that the pictures of each finding have in common, by kind and class, where there is one.

    `rows` has the columns of samples.parquet. The most suspicious rows of a finding are compared with unflagged rows of
    its class and of the whole dataset. Only the row groups that hold these rows are read, and only these are decoded.
    """
    searched = [finding for finding in groups if finding.kind.fails_audit][:GROUPS]
    if dataset.roles.modality is not Modality.IMAGE or not searched:
        return {}
    innocent = rows.filter(~pl.col("flagged")).select("row", "label").collect()
    everywhere = _spread(innocent)
    members, own = [], []
    for finding in searched:
        in_class = pl.lit(True) if finding.label is None else pl.col("label") == finding.label
        members.append(_members(rows, finding))
        own.append(_spread(innocent.filter(in_class)))
    decoded = _pictures(dataset, {row for part in (everywhere, *members, *own) for row in part})
    out = {}
    for finding, inside, beside in zip(searched, members, own, strict=True):
        parts = [inside, beside] if finding.label is None else [inside, beside, everywhere]
        pictures, *comparisons = ([decoded[row] for row in part if row in decoded] for part in parts)
        enough = [torch.stack(part) for part in comparisons if len(part) >= 8]
        if len(pictures) < 4 or not enough:
            continue
        stacked = torch.stack(pictures)
        found = common_pattern(stacked, *enough)
        if found.words:
            out[key(finding)] = _shown(found, stacked)
    return out


def phrases(dataset: Dataset, rows: pl.LazyFrame, groups: Sequence[Finding]) -> dict[tuple[str, str | None], list[str]]:
    """The phrases that the texts of each finding have in common, by kind and class; as `common` for pictures."""
    known = {
        key(finding): [part for trigger in finding.evidence["triggers"] for part in parts(trigger)]
        for finding in groups
        if "triggers" in finding.evidence
    }
    searched = [finding for finding in groups if finding.kind.fails_audit and key(finding) not in known][:GROUPS]
    if dataset.roles.modality not in (Modality.TEXT, Modality.PAIR, Modality.MESSAGES) or not searched:
        return known
    innocent = rows.filter(~pl.col("flagged")).select("row", "label").collect()
    everywhere = _spread(innocent)
    members = [_members(rows, finding) for finding in searched]
    own = [_spread(innocent.filter(pl.col("label") == one.label)) for one in searched if one.label is not None]
    text = texts(dataset, {row for part in (everywhere, *members, *own) for row in part})
    others = [text[row] for row in dict.fromkeys(row for part in (everywhere, *own) for row in part)]
    found = ((one, shared([text[row] for row in part], others)) for one, part in zip(searched, members, strict=True))
    return known | {key(finding): list(words) for finding, words in found if words}


def explain_pictures(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the location of the common pattern of pictures to evidence and reason, and the pattern to what is shown."""
    patterns = common(audited.dataset, audited.samples, findings)

    def with_pattern(finding: Finding) -> Finding:
        found = patterns.get(key(finding))
        if found is None:
            return finding
        where: dict[str, Any] = {"where": found.words, "in_common": round(found.strength, 1), "box": found.box}
        reason = f"{finding.reason}; what they share lies {found.words}"
        evidence, shown = {**finding.evidence, **where}, {**finding.shown, "pattern": found}
        return replace(finding, reason=reason, evidence=evidence, shown=shown)

    return with_pattern


def explain_texts(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the phrases that texts share to evidence and reason, unless triggers are known, and marks them."""
    shared_words = phrases(audited.dataset, audited.samples, findings)

    def with_phrases(finding: Finding) -> Finding:
        words = shared_words.get(key(finding))
        if words is None:
            return finding
        finding = replace(finding, shown={**finding.shown, "marks": words})
        if "triggers" in finding.evidence:
            return finding
        words = [phrase[:60] for phrase in words]
        reason = f"{finding.reason}; they share {', '.join(f'“{phrase}”' for phrase in words)}"
        return replace(finding, reason=reason, evidence={**finding.evidence, "phrases": words})

    return with_phrases


def _members(rows: pl.LazyFrame, group: Finding) -> list[int]:
    """The most suspicious rows of a finding, at most MEMBERS."""
    in_class = pl.lit(True) if group.label is None else pl.col("label") == group.label
    kind = pl.col("kinds").list.contains(str(group.kind))
    ranked = rows.filter(kind & in_class).sort("risk", "row", descending=[True, False])
    return ranked.head(MEMBERS).select("row").collect()["row"].to_list()


def _spread(rows: pl.DataFrame) -> list[int]:
    """At most OTHERS of the rows, at equal steps."""
    return rows["row"].gather_every(max(1, -(-len(rows) // OTHERS))).to_list()


def _pictures(dataset: Dataset, wanted: set[int]) -> dict[int, Tensor]:
    """The wanted rows that can be decoded, as [3, S, S] uint8 by row; the first of them determines S."""
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
    """A pattern as pictures: itself, and its location in colour over the grey average of the members [M, 3, S, S]."""
    average = members.float().mean((0, 1)).expand(3, -1, -1)
    glow = torch.tensor(GLOW).view(3, 1, 1).float()
    where = (average + found.heat * (glow - average)).round().to(torch.uint8)
    side = members.shape[-1]
    top, left, bottom, right = (round(edge / side, 4) for edge in found.box)
    return Common(found.words, found.strength, _enlarged(found.picture), _enlarged(where), (top, left, bottom, right))


def _enlarged(pixels: Tensor) -> bytes:
    """[3, S, S] uint8 as an enlarged PNG without interpolation."""
    return thumbnail(png(pixels), 2 * SIDES[1]) or b""


@dataclass(frozen=True)
class Common:
    """The pattern that the pictures of a finding have in common.

    words     its location, as in "in the lower right corner"
    strength  as a multiple of the strongest pattern among random rows
    pattern   the pattern as a PNG
    where     its location as a PNG, over the average of the pictures
    box       top, left, bottom, right as shares of the picture; the whole picture if the pattern is everywhere
    """

    words: str
    strength: float
    pattern: bytes
    where: bytes
    box: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
