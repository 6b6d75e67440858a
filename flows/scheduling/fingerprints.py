"""Fingerprints of findings by the content of their rows, since row numbers change when data is added."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from foretaste.dataset.manifest import NAME as MANIFEST
from foretaste.types.findings import Kind, Status, Verdict

CONTENT = ("payload_high", "payload_low", "target_high", "target_low")


def marks(found: Mapping[str, Any], folder: str) -> frozenset[str]:
    """Fingerprints of what failed the audit in `folder` with the report `found`; none where it did not fail.

    One for each failed run, each group, and each row of a group. Copies of a row are numbered.
    """
    if found["verdict"] != Verdict.FAILED:
        return frozenset()
    out = {f"run|{run['detector']}|{run['embedder']}" for run in found["runs"] if run["status"] == Status.FAILED}
    out |= {f"{group['kind']}|{group['label']}" for group in found["groups"] if Kind(group["kind"]).fails_audit}
    return frozenset(out | set(_rows(folder))) or frozenset({"verdict"})


def _rows(folder: str) -> list[str]:
    """kind|label|content|copy of each flagged row."""
    flagged = pl.scan_parquet(Path(folder) / "flagged.parquet").select("row", "label", pl.col("kinds").alias("kind"))
    content = pl.scan_parquet(Path(folder) / MANIFEST).select("row", *CONTENT)
    accused = flagged.explode("kind").filter(pl.col("kind").is_in([str(kind) for kind in Kind if kind.fails_audit]))
    each = ("kind", "label", *CONTENT)
    return (
        accused.join(content, on="row")
        .with_columns(pl.int_range(pl.len()).over(each).alias("copy"))
        .select(pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in (*each, "copy")], separator="|"))
        .collect()
        .to_series()
        .to_list()
    )
