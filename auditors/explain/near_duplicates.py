"""The clusters of near copies behind a finding of copies, with counts and labels."""

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

MOST = 12  # clusters listed per finding
SHOWN = 200  # characters of a text


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the accused clusters of near copies to the evidence, as `copies`.

    A cluster is {rows, variants, label, purity, sources, foremost, edited, text}: the numbers of rows and of distinct
    texts, the most frequent label and its share (None without labels), the number of sources and the share of the most
    frequent one (0 where not known), the share of copies in which single words are replaced, and the beginning of the
    first text.
    """
    dataset = audited.dataset
    found = {key(finding): _clusters(audited, finding) for finding in findings if finding.kind is Kind.DUPLICATE}
    text = texts(dataset, {cluster.row for clusters in found.values() for cluster in clusters})

    def with_copies(finding: Finding) -> Finding:
        if key(finding) not in found:
            return finding
        copies = [_fact(cluster, text.get(cluster.row, ""), dataset) for cluster in found[key(finding)]]
        return replace(finding, evidence={**finding.evidence, "copies": copies})

    return with_copies


def _clusters(audited: Audited, finding: Finding) -> list[Cluster]:
    """The clusters that the runs behind a finding accuse, in the order of the embedder's columns."""
    out = []
    for run, scorer in audited.scorers.items():
        encoder = audited.encoders[run.embedder]
        if (run.check, run.embedder) not in tests(finding):
            continue
        if isinstance(scorer, AccusesColumns) and isinstance(encoder, KnowsCopies):
            accused = (encoder.clusters[column] for column in scorer.accused if column < len(encoder.clusters))
            out += [one for one in accused if finding.label in (None, _label(one, audited.dataset))]
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
