"""An audit that has come to its findings, made up, and one explainer over them."""

from __future__ import annotations

import polars as pl

from foretaste.decide.settings import Decide
from foretaste.explain.audited import Audited

DOUBTS = {"row": pl.Int64, "label": pl.String, "believed": pl.String}


def audited(dataset, rows, *, detectors=None, scorers=None, encoders=None):
    """What the explainers get; `rows` has the columns of samples.parquet."""
    rows = rows.lazy()
    return Audited(
        dataset=dataset,
        runs=(),
        groups=pl.DataFrame(),
        samples=rows,
        flagged=rows.filter(pl.col("flagged")).collect(),
        detectors=detectors or {},
        scorers=scorers or {},
        encoders=encoders or {},
        counts={},
        notes=(),
        doubts=pl.DataFrame(schema=DOUBTS),
        decide=Decide(),
        store="",
    )


def explained(explain, audit, findings):
    """The findings after one explainer."""
    return tuple(map(explain(audit, findings), findings))
