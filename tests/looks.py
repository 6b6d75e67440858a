"""What detectors say of a handful of rows, made up."""

from __future__ import annotations

import pyarrow as pa
import torch

from foretaste.decide.significance import RunTests
from foretaste.types import tables
from foretaste.types.batch import GroupTests
from foretaste.types.dataset import Dataset, File, Modality, Roles
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind

SPECTRAL = {"times_farther_out": 3.0}


def ran(
    *p_values,
    detector="spectral",
    embedder="grey",
    kind=Kind.BACKDOOR,
    family="spectral",
    names_rows=True,
    acquittable=True,
    **evidence,
):
    p_value = torch.tensor(p_values, dtype=torch.float64)
    facts = {name: torch.full_like(p_value, value) for name, value in (evidence or SPECTRAL).items()}
    groups = GroupTests(torch.arange(len(p_values)), -p_value, p_value, facts)
    return RunTests(detector, embedder, kind, family, names_rows, acquittable, groups)


def dataset(rows=6, classes=("cat", "dog")):
    file = File("a.parquet", "/a.parquet", rows, 99, Digest("sha256", "ab"))
    roles = Roles(Modality.IMAGE, ("image",), "label")
    return Dataset("/", (file,), (), roles, classes, (rows // 2,) * len(classes), Digest("a", "b"))


def look(*posterior, detector="spectral", embedder="grey", p_value=None, group=None):
    return (detector, embedder, posterior, p_value or [0.5] * len(posterior), group or [0] * len(posterior))


def scores(*looks):
    """Rows of the scores table from (detector, embedder, posteriors, p_values, groups)."""
    parts = []
    for detector, embedder, posterior, p_value, group in looks:
        rows = len(posterior)
        columns = [
            range(rows),
            [detector] * rows,
            [embedder] * rows,
            posterior,
            p_value,
            posterior,
            group,
            [None] * rows,
        ]
        types = [field.type for field in tables.SCORES]
        arrays = [
            pa.array(column, pa.string()).dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else pa.array(column, kind)
            for column, kind in zip(columns, types, strict=True)
        ]
        parts.append(pa.table(arrays, schema=tables.SCORES))
    return pa.concat_tables(parts) if parts else tables.SCORES.empty_table()
