"""An audit that somebody else made: the files of one, saying of a real dataset whatever a test needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.dataset import manifest
from foretaste.dataset.parquet import identities, open_dataset
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.report.document import document, text
from foretaste.types import tables
from foretaste.types.findings import Report, Run, Status, Verdict


def store(places: Sequence[str], folder: Path, flagged: Mapping[int, str], *, request: Request = NOTHING_SAID) -> Path:
    """report.json, samples.parquet and rows.parquet of an audit that flagged these rows for these kinds."""
    dataset = open_dataset(places, request=request)
    folder.mkdir()
    where = pl.DataFrame(pl.from_arrow(pa.concat_tables(identities(dataset, shard) for shard in dataset.shards)))
    kind = pl.Series("kinds", [[flagged[row]] if row in flagged else [] for row in where["row"]], pl.List(pl.String))
    rows = where.with_columns(
        kind,
        pl.lit(0.9).alias("risk"),
        pl.lit(1e-6).alias("p_value"),
        pl.col("row").is_in(list(flagged)).alias("flagged"),
        pl.lit(["spectral-signature"]).alias("detectors"),
        pl.lit("stands apart").alias("reason"),
    )
    schema = tables.samples(pa.type_for_alias(dataset.id_type) if dataset.id_type else None)
    pq.write_table(rows.select(schema.names).to_arrow().cast(schema), folder / "samples.parquet")
    manifest.write(
        (manifest.of_shard(shard, dataset) for shard in dataset.shards), dataset, str(folder / manifest.NAME)
    )
    runs = (Run("spectral-signature", "pixels", Status.COMPLETED, "", 1.0, 0),)
    report = Report(
        Verdict.FAILED, "because", dataset.rows, len(flagged), dataset, runs, (), {}, (), {}, {}, {}, str(folder)
    )
    (folder / "report.json").write_text(text(document(report)), encoding="utf-8")
    return folder
