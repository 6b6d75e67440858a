"""An accused class beside the innocent ones: what the runs that suspect it measured of all of them."""

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

RUNS = 2  # of a group, the strongest, that are drawn beside those at the other classes


@dataclass(frozen=True)
class Strip:
    """What one run measured of every group it tested, the innocent beside the suspicious.

    unit     what the number is, as in "times farther out than the other classes"
    names    of the groups, as a reader knows them
    values   the statistic of each; larger is more suspicious
    accused  whether the run suspects it, for each
    this     position of the group whose strip this is
    needed   the value from which the run suspects that group, where it is known
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
    """Adds what is drawn of a group beside the others, as `strips`."""
    del findings
    units = {name: (one.claim.unit.evidence, one.claim.unit.words) for name, one in audited.detectors.items()}
    found = contrasts(audited.dataset, needed(audited.groups, audited.decide), units)
    return lambda one: replace(one, shown={**one.shown, "strips": found.get(key(one), ())})


def contrasts(
    dataset: Dataset, tested: pl.DataFrame, units: Mapping[str, tuple[str, str]]
) -> dict[tuple[str, str | None], tuple[Strip, ...]]:
    """What the runs that suspect a group measured of it and of all the others, by kind and class.

    tested  the table of decide.significance, with what detection_limits.needed adds to it
    units   which evidence of a check ("" for its statistic) says most to people, and what it counts
    """
    out: dict[tuple[str, str | None], tuple[Strip, ...]] = {}
    suspicious = tested.filter(pl.col("suspicious")).sort(*STRONGEST)
    for part in suspicious.partition_by("kind", "label", maintain_order=True):
        drawn = (_strip(dataset, tested, one, *units[one["detector"]]) for one in part.head(RUNS).iter_rows(named=True))
        label = part["label"][0]
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        out[part["kind"][0], name] = tuple(one for one in drawn if one is not None)
    return out


def _strip(dataset: Dataset, tested: pl.DataFrame, one: Mapping[str, Any], evidence: str, words: str) -> Strip | None:
    """The groups of the run that tested the group `one`; None where it tested no other, or not all have a number."""
    same = (pl.col(name) == one[name] for name in ("detector", "embedder", "kind"))
    run = tested.filter(*same).sort("group")
    column = f"evidence_{evidence}" if evidence else "statistic"
    if not words or run[column].null_count():
        column, words = "statistic", f"statistic of {one['detector']}"
    named = [f"class {dataset.classes[at]}" if dataset.classes and at >= 0 else "all" for at in run["label"]]
    if len(set(named)) < len(named):  # clusters and sources are not classes
        named = [f"{name}, group {at}" for name, at in zip(named, run["group"], strict=True)]
    if len(named) < 2 or not run[column].is_finite().all():
        return None
    values, accused = tuple(run[column].to_list()), tuple(run["suspicious"].to_list())
    this = run["group"].to_list().index(one["group"])
    least = one.get("needed") if column == MEASURE else None
    return Strip(one["detector"], one["embedder"], words, tuple(named), values, accused, this, least)
