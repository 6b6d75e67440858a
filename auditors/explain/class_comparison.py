"""An accused class compared with the others, by the statistic of the runs that accuse it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from foretaste.decide.significance import STRONGEST
from foretaste.explain.audited import Audited, Explain, key
from foretaste.explain.detection_limits import MEASURE, needed
from foretaste.types.dataset import Dataset
from foretaste.types.findings import Finding

RUNS = 2  # the strongest of a finding, which are drawn


@dataclass(frozen=True)
class Strip:
    """The statistic of one run for every group that it tested, suspicious or not.

    unit     what the statistic counts, as in "times farther out than the other classes"
    names    of the groups, as displayed
    values   the statistic of each group; larger is more suspicious
    accused  whether each group is suspicious
    this     position of the group that the finding is about
    needed   the value from which that group is suspicious, where it is known
    """

    detector: str
    embedder: str
    unit: str
    names: tuple[str, ...]
    values: tuple[float, ...]
    accused: tuple[bool, ...]
    this: int
    needed: float | None = None


def explain(audited: Audited, findings: Sequence[Finding]) -> Explain:
    """Adds the comparison with the other groups to what is shown, as `strips`."""
    del findings
    units = {name: (one.claim.unit.evidence, one.claim.unit.words) for name, one in audited.detectors.items()}
    found = contrasts(audited.dataset, needed(audited.groups, audited.decide), units)
    return lambda finding: replace(finding, shown={**finding.shown, "strips": found.get(key(finding), ())})


def contrasts(
    dataset: Dataset, tested: pl.DataFrame, units: Mapping[str, tuple[str, str]]
) -> dict[tuple[str, str | None], tuple[Strip, ...]]:
    """The strips of the strongest runs behind each finding, by kind and class.

    tested  the table of significance.significance, with the column of detection_limits.needed
    units   which evidence of a check ("" for its statistic) is drawn, and what it counts
    """
    out: dict[tuple[str, str | None], tuple[Strip, ...]] = {}
    suspicious = tested.filter(pl.col("suspicious")).sort(*STRONGEST)
    for part in suspicious.partition_by("kind", "label", maintain_order=True):
        strongest = part.head(RUNS).iter_rows(named=True)
        strips = (_strip(dataset, tested, group, *units[group["detector"]]) for group in strongest)
        label = part["label"][0]
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        out[part["kind"][0], name] = tuple(strip for strip in strips if strip is not None)
    return out


def _strip(dataset: Dataset, tested: pl.DataFrame, group: Mapping[str, Any], evidence: str, words: str) -> Strip | None:
    """All groups of the run that tested `group`; None where it tested no other, or not every value is finite."""
    same = (pl.col(name) == group[name] for name in ("detector", "embedder", "kind"))
    run = tested.filter(*same).sort("group")
    column = f"evidence_{evidence}" if evidence else "statistic"
    if not words or run[column].null_count():
        column, words = "statistic", f"statistic of {group['detector']}"
    named = [f"class {dataset.classes[at]}" if dataset.classes and at >= 0 else "all" for at in run["label"]]
    if len(set(named)) < len(named):  # clusters and sources are not classes
        named = [f"{name}, group {at}" for name, at in zip(named, run["group"], strict=True)]
    if len(named) < 2 or not run[column].is_finite().all():
        return None
    values, accused = tuple(run[column].to_list()), tuple(run["suspicious"].to_list())
    this = run["group"].to_list().index(group["group"])
    least = group.get("needed") if column == MEASURE else None
    return Strip(group["detector"], group["embedder"], words, tuple(named), values, accused, this, least)
