"""The texts that a group of near copies repeats, by count and label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from foretaste.detectors.contract import AccusesColumns
from foretaste.embedders.contract import KnowsCopies
from foretaste.explain.audited import Audited, Explain, key, tests
from foretaste.explain.samples import texts
from foretaste.text.near_duplicates import Cluster
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding, Kind

MOST = 12  # clusters of a group that are told
SHOWN = 200  # characters of a text


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the clusters that a group of copies is accused for to its evidence, as `copies`.

    A cluster is {rows, variants, label, purity, sources, foremost, edited, text}: so many rows, so many different
    texts among them, the commonest label with its share (None without labels), the sources they come from and the share
    of the commonest (0 where not known), the share in which words were exchanged here and there, and how the first of
    them begins.
    """
    dataset = audited.dataset
    found = {key(one): _clusters(audited, one) for one in findings if one.kind is Kind.DUPLICATE}
    said = texts(dataset, {cluster.row for mine in found.values() for cluster in mine})

    def told(one: Finding) -> Finding:
        if key(one) not in found:
            return one
        copies = [_fact(cluster, said.get(cluster.row, ""), dataset) for cluster in found[key(one)]]
        return replace(one, evidence={**one.evidence, "copies": copies})

    return told


def _clusters(audited: Audited, finding: Finding) -> list[Cluster]:
    """The clusters that the runs behind a finding accuse, the most surprising first."""
    out = []
    for run, scorer in audited.scorers.items():
        encoder = audited.encoders[run.embedder]
        if (run.check, run.embedder) not in tests(finding):
            continue
        if isinstance(scorer, AccusesColumns) and isinstance(encoder, KnowsCopies):
            mine = (encoder.clusters[at] for at in scorer.accused if at < len(encoder.clusters))
            out += [one for one in mine if finding.label in (None, _label(one, audited.dataset))]
    return out[:MOST]


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
