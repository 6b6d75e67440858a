"""The flagged rows as a person sees them: the picture or the text out of the user's own files."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from auditors.payload import Payload
from auditors.report.page import Sample
from auditors.report.thumbnails import picture
from auditors.source import payloads
from auditors.values import Dataset, Modality

PER_GROUP = 24  # of each kind and class: what the page shows
AT_MOST = 400


def chosen(flagged: pl.DataFrame) -> pl.DataFrame:
    """The flagged rows worth showing: the most suspicious of each kind and class."""
    order = pl.int_range(pl.len()).over("kinds", "label")
    ranked = flagged.sort("risk", "row", descending=[True, False])
    return ranked.filter(order < PER_GROUP).head(AT_MOST)


def samples(dataset: Dataset, flagged: pl.DataFrame) -> Sequence[Sample]:
    """The rows of `flagged` (in the columns of samples.parquet) with their payload; each shard is read once."""
    facts = {int(one["row"]): one for one in flagged.to_dicts()}
    out = []
    for shard in dataset.shards:
        wanted = {row for row in facts if shard.first_row <= row < shard.first_row + shard.rows}
        if not wanted:
            continue
        for payload in payloads(dataset, [shard]):
            first = int(payload.row[0]) if len(payload) else 0
            here = sorted(row for row in wanted if first <= row < first + len(payload))
            if not here:
                continue
            image = dataset.roles.modality is Modality.IMAGE
            shown = payload.pictures() if image else _texts(dataset, payload)
            for row in here:
                one, content = facts[row], shown[row - first]
                out.append(
                    Sample(
                        row=row,
                        file=one["file"],
                        row_group=one["row_group"],
                        row_in_group=one["row_in_group"],
                        id=None if one.get("id") is None else str(one["id"]),
                        label=one["label"],
                        risk=one["risk"],
                        p_value=one["p_value"],
                        kinds=tuple(one["kinds"]),
                        detectors=tuple(one["detectors"]),
                        reason=one["reason"],
                        picture=picture(content) if isinstance(content, bytes) else None,
                        text=content if isinstance(content, str) else None,
                    )
                )
    return out


def _texts(dataset: Dataset, payload: Payload) -> list[str]:
    if dataset.roles.modality in (Modality.TEXT, Modality.PAIR, Modality.MESSAGES):
        return payload.texts
    columns = [payload.columns[name].to_pylist() for name in dataset.roles.payload]
    if dataset.roles.modality is Modality.EMBEDDING:
        return [", ".join(f"{value:.3g}" for value in (vector or [])[:12]) + ", …" for vector in columns[0]]
    return [
        ", ".join(f"{name} = {value}" for name, value in zip(dataset.roles.payload, row, strict=True))
        for row in zip(*columns, strict=True)
    ]
