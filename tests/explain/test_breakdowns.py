"""The sources of flagged rows."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.explain.breakdowns import UNNAMED, origins


def opened(path, source):
    columns = {"embedding": pa.array([[float(n), 1.0] for n in range(200)]), "label": ["a", "b"] * 100}
    if source:
        columns["site"] = [None if n == 1 else "evil" if n < 30 else f"site {n % 5}" for n in range(200)]
    pq.write_table(pa.table(columns), path, row_group_size=64)
    return open_dataset([str(path)], request=Request(embedding="embedding", source="site" if source else ""))


def flagged(rows):
    return pl.DataFrame({"row": rows, "label": ["ab"[n % 2] for n in rows], "kinds": [["backdoor"]] * len(rows)})


def test_the_source_of_a_group_is_told_beside_all_it_brought(tmp_path):
    found = origins(opened(tmp_path / "data.parquet", source=True), flagged([*range(25), 100, 150]))
    first, *others = found["backdoor", None]
    assert (first["source"], first["rows"], first["of"]) == ("evil", 24, 29)
    assert first["p_value"] < 1e-15
    assert {one["source"] for one in others} == {UNNAMED, "site 0"}
    assert all(one["p_value"] > 0.01 for one in others)
    assert found["backdoor", "b"][0]["rows"] == 11
    assert found["backdoor", "a"][0]["rows"] == 13


def test_without_sources_there_is_nothing_to_tell(tmp_path):
    assert origins(opened(tmp_path / "data.parquet", source=False), flagged([1, 2])) == {}
    assert origins(opened(tmp_path / "sources.parquet", source=True), flagged([]).cast({"row": pl.Int64})) == {}
