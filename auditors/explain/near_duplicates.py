"""The texts that a group of near copies repeats, by count and label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from foretaste.embedders.contract import Encoder, Scorer
from foretaste.explain.samples import texts
from foretaste.pipeline.sweep import Outcome, RunKey
from foretaste.text.near_duplicates import Cluster
from foretaste.types.findings import Dataset, Finding, Kind

MOST = 12  # clusters of a group that are told
SHOWN = 200  # characters of a text


def told(
    groups: Sequence[Finding],
    scorers: Mapping[RunKey, Scorer],
    encoders: Mapping[str, Encoder | Outcome],
    dataset: Dataset,
) -> tuple[Finding, ...]:
    """The groups of copies, with the clusters they are accused for as `copies` among their evidence.

    A cluster is {rows, variants, label, purity, sources, foremost, edited, text}: so many rows, so many different
    texts among them, the commonest label with its share (None without labels), the sources they come from and the share
    of the commonest (0 where not known), the share in which words were exchanged here and there, and how the first of
    them begins.
    """
    out = []
    for one in groups:
        if one.kind is not Kind.DUPLICATE:
            out.append(one)
            continue
        tests = {(test["detector"], test["embedder"]) for test in one.evidence.get("tests", ())}
        found: list[Cluster] = [
            cluster
            for look, scorer in scorers.items()
            if (look.detector, look.embedder) in tests
            for cluster in getattr(encoders[look.embedder], "clusters", ())
            if cluster.p_value <= getattr(scorer, "level", 0.0) and one.label in (None, _label(cluster, dataset))
        ][:MOST]
        said = texts(dataset, {cluster.row for cluster in found})
        copies = [_fact(cluster, said.get(cluster.row, ""), dataset) for cluster in found]
        out.append(replace(one, evidence={**one.evidence, "copies": copies}))
    return tuple(out)


def _fact(cluster: Cluster, text: str, dataset: Dataset) -> dict[str, Any]:
    label = _label(cluster, dataset)
    return {
        "rows": cluster.rows,
        "variants": cluster.variants,
        "label": label,
        "purity": None if label is None else round(cluster.purity, 4),
        "sources": cluster.sources,
        "foremost": round(cluster.foremost, 4),
        "edited": round(cluster.edited, 4),
        "text": text[:SHOWN],
    }


def _label(cluster: Cluster, dataset: Dataset) -> str | None:
    return dataset.classes[cluster.label] if dataset.classes and cluster.label >= 0 else None
