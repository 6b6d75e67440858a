"""An accused class in contrast to the innocent ones: what the looks that suspect it measured of all of them."""

from __future__ import annotations

import polars as pl

from foretaste.decide.significance import STRONGEST
from foretaste.report.html.charts import Strip
from foretaste.types.findings import Dataset

LOOKS = 2  # of a group, the strongest, that are drawn beside those at the other classes
# What the statistic of a family of detectors says, for people, or the evidence that says more.
UNITS = {
    "copies": ("statistic", "powers of ten beyond chance"),
    "trigger": ("statistic", "powers of ten beyond chance"),
    "spectral": ("evidence_times_farther_out", "times as far out as the other classes"),
    "relabelling": ("evidence_foreign_rows", "rows that look like other classes"),
    "label": ("evidence_rows_out", "rows that belong to one other class"),
}


def contrasts(dataset: Dataset, tested: pl.DataFrame) -> dict[tuple[str, str | None], tuple[Strip, ...]]:
    """What the looks that suspect a group measured of it and of all the others, by kind and class.

    `tested` is the table of suspects.significance, with what power.needed adds to it.
    """
    out: dict[tuple[str, str | None], tuple[Strip, ...]] = {}
    suspicious = tested.filter(pl.col("suspicious")).sort(*STRONGEST)
    for part in suspicious.partition_by("kind", "label", maintain_order=True):
        strips = []
        for one in part.head(LOOKS).iter_rows(named=True):
            same = (pl.col(name) == one[name] for name in ("detector", "embedder", "kind"))
            look = tested.filter(*same).sort("group")
            column, unit = UNITS.get(one["family"], ("", ""))
            if not unit or look[column].null_count():
                column, unit = "statistic", f"statistic of {one['detector']}"
            named = [f"class {dataset.classes[at]}" if dataset.classes and at >= 0 else "all" for at in look["label"]]
            if len(set(named)) < len(named):  # clusters and sources are not classes
                named = [f"{name}, group {at}" for name, at in zip(named, look["group"], strict=True)]
            if len(named) > 1 and look[column].is_finite().all():
                values, accused = tuple(look[column].to_list()), tuple(look["suspicious"].to_list())
                this = look["group"].to_list().index(one["group"])
                least = one.get("needed") if column == "evidence_times_farther_out" else None
                strips.append(Strip(one["detector"], one["embedder"], unit, tuple(named), values, accused, this, least))
        label = part["label"][0]
        name = dataset.classes[label] if dataset.classes and label >= 0 else None
        out[part["kind"][0], name] = tuple(strips)
    return out
