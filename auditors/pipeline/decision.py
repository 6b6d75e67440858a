"""What the groups that were tested are in the end: suspected, worth a look, or let go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import polars as pl

from foretaste.decide import corroboration, explaining_away, incremental, significance
from foretaste.decide.incremental import Recency
from foretaste.decide.significance import RunTests
from foretaste.embedders.contract import Encoder
from foretaste.pipeline import acquittal
from foretaste.pipeline.stages import Stages
from foretaste.pipeline.sweep import Outcome


def tried(
    stages: Stages,
    tested: Sequence[RunTests],
    encoders: Mapping[str, Encoder | Outcome],
    folder: str,
    recent: Recency | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """The groups as `suspects.significance` gives them, once all is heard, and a note on each class let go.

    Rows that came or changed since an earlier audit are looked at harder (`recent`). Natural clusters are acquitted,
    weak looks that mean other rows than those a class is suspected for are not heard, and what one finding accounts for
    is no evidence for another. `folder` has scores.parquet.
    """
    decide, scores = stages.plan.decide, os.path.join(folder, "scores.parquet")
    groups = significance.significance(tested, decide)
    if recent is not None:
        groups = incremental.sharpened(groups, scores, stages.dataset, recent, decide)
    groups, acquitted = acquittal.acquit(stages, groups, encoders, folder)
    members = significance.members(groups, scores, decide)
    groups = corroboration.agreeing(groups, members, decide)
    return explaining_away.away(groups, members, stages.dataset.class_rows), acquitted
