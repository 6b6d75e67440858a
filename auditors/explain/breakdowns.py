"""Where suspicious rows come from: the sources that brought them, beside all that each source brought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from foretaste.dataset.parquet import column
from foretaste.stats.significance import hypergeometric_tail
from foretaste.types.findings import Dataset

MOST = 8  # sources of a group
UNNAMED = "(no source)"


def origins(dataset: Dataset, flagged: pl.DataFrame) -> dict[tuple[str, str | None], Sequence[Mapping[str, Any]]]:
    """The sources of the flagged rows of each kind and class, and of each kind under None, the most telling first.

    Each with its `rows` in the group, its rows in the dataset `of`, and p_value: how likely so many of the group's rows
    would come from it if rows came from anywhere (Fisher's exact test). Empty where the dataset names no sources.
    """
    if dataset.roles.source is None or flagged.is_empty():
        return {}
    whole: Counter[str] = Counter()
    mine: dict[int, str] = {}
    wanted = flagged["row"].sort()
    for first, values in column(dataset, dataset.roles.source):
        names = [UNNAMED if one is None else str(one) for one in values.to_pylist()]
        whole.update(names)
        here = wanted.filter(wanted.is_between(first, first + len(names) - 1))
        mine |= {row: names[row - first] for row in here.to_list()}
    groups: dict[tuple[str, str | None], Counter[str]] = {}
    for row, label, kinds in flagged.select("row", "label", "kinds").iter_rows():
        for kind in kinds:
            for key in {(kind, label), (kind, None)}:
                groups.setdefault(key, Counter())[mine[row]] += 1
    return {key: _ranked(count, whole, dataset.rows) for key, count in groups.items()}


def _ranked(count: Counter[str], whole: Counter[str], rows: int) -> list[dict[str, Any]]:
    size = count.total()
    found: list[dict[str, Any]] = [
        {"source": name, "rows": hits, "of": whole[name], "p_value": hypergeometric_tail(hits, size, whole[name], rows)}
        for name, hits in count.items()
    ]
    return sorted(found, key=lambda one: (one["p_value"], -one["rows"], one["source"]))[:MOST]
