"""What the groups that were tested are in the end: suspected, worth a look, or let go."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import polars as pl

from auditors import acquittal, explaining, recency, suspects, witnesses
from auditors.contract import Encoder
from auditors.recency import Recency
from auditors.stages import Stages
from auditors.suspects import Tested
from auditors.sweep import Ended


def tried(
    stages: Stages,
    tested: Sequence[Tested],
    encoders: Mapping[str, Encoder | Ended],
    folder: str,
    recent: Recency | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """The groups as `suspects.significance` gives them, once all is heard, and a note on each class let go.

    Rows that came or changed since an earlier audit are looked at harder (`recent`). Natural clusters are acquitted,
    weak looks that mean other rows than those a class is suspected for are not heard, and what one finding accounts for
    is no evidence for another. `folder` has scores.parquet.
    """
    decide, scores = stages.plan.decide, os.path.join(folder, "scores.parquet")
    groups = suspects.significance(tested, decide)
    if recent is not None:
        groups = recency.sharpened(groups, scores, stages.dataset, recent, decide)
    groups, acquitted = acquittal.acquit(stages, groups, encoders, folder)
    members = suspects.members(groups, scores, decide)
    groups = witnesses.agreeing(groups, members, decide)
    return explaining.away(groups, members, stages.dataset.class_rows), acquitted
