"""Breakdowns of a finding: by source of its rows, and by class pair for wrong labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from foretaste.dataset.parquet import column
from foretaste.explain.audited import Audited, Explain, key
from foretaste.stats.significance import hypergeometric_tail
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding, Kind

SOURCES = 8  # listed per finding
UNNAMED = "(no source)"


def explain_labels(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds `pairs` to the evidence of wrong labels: given class, most probable class, number of rows."""
    del findings
    found = pairs(audited.doubts)
    return lambda finding: _with(finding, "pairs", found)


def explain_sources(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the `sources` of a finding's rows to its evidence."""
    del findings
    found = origins(audited.dataset, audited.flagged)
    return lambda finding: _with(finding, "sources", found)


def _with(finding: Finding, name: str, found: Mapping[tuple[str, str | None], Any]) -> Finding:
    value = found.get(key(finding))
    return finding if value is None else replace(finding, evidence={**finding.evidence, name: value})


def origins(dataset: Dataset, flagged: pl.DataFrame) -> dict[tuple[str, str | None], Sequence[Mapping[str, Any]]]:
    """The sources of the flagged rows of each kind and class, and of each kind under None, by rising p-value.

    Each with its `rows` among the flagged ones, its rows in the dataset `of`, and the `p_value` of at least so many
    under independence (Fisher's exact test). Empty where the dataset has no source column.
    """
    if dataset.roles.source is None or flagged.is_empty():
        return {}
    whole: Counter[str] = Counter()
    source: dict[int, str] = {}
    wanted = flagged["row"].sort()
    for first, values in column(dataset, dataset.roles.source):
        names = [UNNAMED if one is None else str(one) for one in values.to_pylist()]
        whole.update(names)
        here = wanted.filter(wanted.is_between(first, first + len(names) - 1))
        source |= {row: names[row - first] for row in here.to_list()}
    groups: dict[tuple[str, str | None], Counter[str]] = {}
    for row, label, kinds in flagged.select("row", "label", "kinds").iter_rows():
        for kind in kinds:
            for group in {(kind, label), (kind, None)}:
                groups.setdefault(group, Counter())[source[row]] += 1
    return {group: _ranked(count, whole, dataset.rows) for group, count in groups.items()}


def _ranked(count: Counter[str], whole: Counter[str], rows: int) -> list[dict[str, Any]]:
    size = count.total()
    found: list[dict[str, Any]] = [
        {"source": name, "rows": hits, "of": whole[name], "p_value": hypergeometric_tail(hits, size, whole[name], rows)}
        for name, hits in count.items()
    ]
    return sorted(found, key=lambda one: (one["p_value"], -one["rows"], one["source"]))[:SOURCES]


PAIRS = 24  # of classes, listed per finding


def believed(scores: str, flagged: pl.DataFrame, dataset: Dataset) -> pl.DataFrame:
    """The most probable class of each row flagged for its label: row, label and believed, classes by name.

    `scores` is the path of scores.parquet, `flagged` has the columns of samples.parquet.
    """
    doubted = flagged.filter(pl.col("kinds").list.contains(str(Kind.LABEL))).select("row", "label")
    index = pl.col("evidence").str.json_path_match("$.belongs_to").cast(pl.Float64).cast(pl.Int64)
    names = pl.DataFrame({"index": range(len(dataset.classes)), "believed": dataset.classes}, schema=_NAMES)
    return (
        pl.scan_parquet(scores)
        .select("row", "posterior", "evidence")
        .join(doubted.lazy(), on="row")
        .filter(pl.col("evidence").is_not_null())
        .select("row", "label", "posterior", index.alias("index"))
        .join(names.lazy(), on="index")
        .sort("row", "posterior", descending=[False, True])
        .unique("row", keep="first", maintain_order=True)
        .select("row", "label", "believed")
        .collect()
    )


_NAMES = {"index": pl.Int64, "believed": pl.String}


def pairs(doubts: pl.DataFrame) -> dict[tuple[str, str | None], Sequence[Mapping[str, Any]]]:
    """Rows per pair of given and most probable class, the most frequent first: by class, and for all under None."""
    counted = doubts.group_by("label", "believed").agg(pl.len().alias("rows"))
    counted = counted.sort("rows", "label", "believed", descending=[True, False, False])
    kind = str(Kind.LABEL)
    out: dict[tuple[str, str | None], Sequence[Mapping[str, Any]]] = {}
    if len(counted):
        out[kind, None] = counted.head(PAIRS).to_dicts()
    for part in counted.partition_by("label", maintain_order=True):
        out[kind, part["label"][0]] = part.head(PAIRS).to_dicts()
    return out
