"""What is exported: every row once, as it was stored, and nothing where the bytes are not the audited ones."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from places import DATA
from stored import store

from foretaste.curation.export import ACCUSED, export
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.decide.settings import Decide
from foretaste.decide.verdict import verdict
from foretaste.errors import DataError, PlanError
from foretaste.flows.cli import main
from foretaste.types.findings import Finding, Kind, Run, Status, Verdict

FEATURES = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}


def texts(start: int, rows: int) -> pa.Table:
    """Rows with everything that is easily lost: a ClassLabel, a dictionary, a list, a time, nulls, metadata."""
    number = range(start, start + rows)
    table = pa.table(
        {
            "id": pa.array(number, pa.int32()),
            "text": pa.array([None if one % 11 == 7 else f"row {one}" for one in number], pa.large_string()),
            "label": pa.array([one % 2 for one in number], pa.int64()),
            "source": pa.array([f"s{one % 3}" for one in number]).dictionary_encode(),
            "when": pa.array([one * 1000 for one in number], pa.timestamp("ns", "UTC")),
            "tags": pa.array([[{"a": one}] * (one % 3) for one in number], pa.list_(pa.struct([("a", pa.uint16())]))),
        }
    )
    field = table.schema.field("when").with_metadata({"unit": "an hour ago"})
    schema = table.schema.set(4, field).with_metadata({"huggingface": json.dumps(FEATURES), "mine": "kept"})
    return table.cast(schema)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Three files in folders, each written in another way; the second is left alone by every quarantine here."""
    folder = tmp_path / "data"
    ways = {
        "a/part-0.parquet": {"row_group_size": 40, "compression": "gzip", "write_page_index": True},
        "a/part-1.parquet": {"row_group_size": 100, "compression": {"text": "snappy"}},
        "b/part-0.parquet": {"row_group_size": 33, "compression": "none", "use_dictionary": ["text"]},
    }
    for start, (name, how) in enumerate(ways.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(texts(start * 100, 100), folder / name, **how)
    return folder


FLAGGED = {
    0: "backdoor",
    39: "backdoor",
    40: "label",
    41: "outlier",
    99: "duplicate",
    250: "backdoor",
    251: "integrity",
}


@pytest.fixture
def audit(dataset: Path, tmp_path: Path) -> Path:
    return store([str(dataset)], tmp_path / "audit", FLAGGED)


def whole(folder: Path) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.rglob("*.parquet")))


def hashes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_quarantined_by_default_is_what_fails_an_audit() -> None:
    ran = [Run("spectral-signature", "pixels", Status.COMPLETED, "", 0.0, 0)]
    for kind in Kind:
        group = Finding(kind, "cat", 9, 1e-9, (), "because")
        said, _ = verdict([group], ran, odd=(), counts={kind: 9}, rows=1000, tested=1000, decide=Decide())
        assert (said is Verdict.FAILED) == (kind in ACCUSED)


def test_every_row_is_exported_once_and_in_order(dataset: Path, audit: Path, tmp_path: Path) -> None:
    before = hashes(dataset)
    done = export(str(audit), str(tmp_path / "out"))
    clean, quarantined = whole(tmp_path / "out/clean"), whole(tmp_path / "out/quarantined")
    assert quarantined["id"].to_pylist() == [0, 39, 41, 99, 250]
    assert clean["id"].to_pylist() == [one for one in range(300) if one not in (0, 39, 41, 99, 250)]
    source = whole(dataset)
    for part in (clean, quarantined):
        mine = source.filter(pc.is_in(source["id"], part["id"].combine_chunks()))
        assert part.schema.equals(mine.schema, check_metadata=True)
        assert part.to_pylist() == mine.to_pylist()
    assert (done["clean"]["rows"], done["quarantined"]["rows"], done["kept"]) == (295, 5, {"flagged": 2})
    assert hashes(dataset) == before
    assert json.loads((tmp_path / "out/export.json").read_text()) == done


def test_files_stay_what_they_were(dataset: Path, audit: Path, tmp_path: Path) -> None:
    export(str(audit), str(tmp_path / "out"))
    clean = tmp_path / "out/clean"
    assert (clean / "a/part-1.parquet").read_bytes() == (dataset / "a/part-1.parquet").read_bytes()
    for side in ("clean", "quarantined"):
        for path in (tmp_path / "out" / side).rglob("*.parquet"):
            old = pq.ParquetFile(dataset / path.relative_to(tmp_path / "out" / side))
            new = pq.ParquetFile(path)
            assert new.schema_arrow.equals(old.schema_arrow, check_metadata=True)
            theirs, ours = dict(old.metadata.metadata), dict(new.metadata.metadata)
            assert theirs.pop(b"ARROW:schema")
            assert ours.pop(b"ARROW:schema")  # the same schema in other bytes
            assert ours == theirs
            assert json.loads(ours[b"huggingface"]) == FEATURES
            for at in range(old.metadata.num_columns):
                was, is_ = old.metadata.row_group(0).column(at), new.metadata.row_group(0).column(at)
                assert (is_.path_in_schema, is_.compression) == (was.path_in_schema, was.compression)
                assert (is_.has_dictionary_page, is_.has_offset_index) == (
                    was.has_dictionary_page,
                    was.has_offset_index,
                )
    sizes = [pq.read_metadata(clean / "a/part-0.parquet").row_group(group).num_rows for group in range(3)]
    assert sizes == [38, 39, 19]  # of 40, 40 and 20


def test_a_row_group_too_large_to_hold_is_divided_piece_by_piece(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foretaste.curation.export.PIECE", 500)
    export(str(audit), str(tmp_path / "out"))
    assert pq.read_metadata(tmp_path / "out/clean/a/part-0.parquet").num_row_groups > 3
    assert whole(tmp_path / "out/clean")["id"].to_pylist() == [n for n in range(300) if n not in (0, 39, 41, 99, 250)]


SPARK = {"org.apache.spark.version": "3.5.1", "org.apache.spark.sql.parquet.row.metadata": '{"type":"struct"}'}
FOREIGN = {
    "n": pa.array(range(6), pa.uint16()),
    "money": pa.array(range(6), pa.decimal128(12, 2)),
    "day": pa.array(range(6), pa.date32()),
    "blob": pa.array([b"x"] * 6, pa.binary(1)),
    "nested": pa.array([[{"a": 1, "b": ["c"]}]] * 6, pa.list_(pa.struct({"a": pa.int8(), "b": pa.list_(pa.string())}))),
    "pairs": pa.array([[("k", 1.5)]] * 6, pa.map_(pa.string(), pa.float32())),
    "half": pa.array(np.arange(6), pa.float16()),
    "none": pa.nulls(6, pa.int32()),
}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "how"),
    [
        ({}, {}),
        (FOREIGN, {}),
        (FOREIGN, {"use_compliant_nested_type": False}),
        ({"when": pa.array(range(6), pa.timestamp("ns"))}, {"use_deprecated_int96_timestamps": True}),
        ({"when": pa.array(range(6), pa.timestamp("us", "UTC"))}, {}),
        ({"when": pa.array(range(6), pa.timestamp("ms"))}, {"version": "1.0"}),
    ],
)
def test_files_without_an_arrow_schema_keep_their_types_and_their_metadata(
    tmp_path: Path, more: dict[str, pa.Array], how: dict[str, object]
) -> None:
    """As Spark, fastparquet and DuckDB write them."""
    table = pa.table({"text": [f"row {n}" for n in range(6)], "label": pa.array([0, 1] * 3, pa.int32()), **more})
    required = table.schema.set(1, table.schema.field("label").with_nullable(False))
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "part-0.parquet"
    with pq.ParquetWriter(path, required, store_schema=False, **how) as writer:
        writer.write_table(table.cast(required))
        writer.add_key_value_metadata(SPARK)
    audit = store([str(tmp_path / "data")], tmp_path / "audit", {1: "backdoor"}, request=Request(text="text"))
    export(str(audit), str(tmp_path / "out"))
    old = pq.ParquetFile(path)
    for side, rows in (("clean", [0, 2, 3, 4, 5]), ("quarantined", [1])):
        new = pq.ParquetFile(tmp_path / "out" / side / "part-0.parquet")
        assert new.metadata.metadata == old.metadata.metadata
        assert new.schema_arrow.equals(old.schema_arrow, check_metadata=True)
        assert str(new.metadata.schema).split("\n", 1)[1] == str(old.metadata.schema).split("\n", 1)[1]
        assert new.read().equals(old.read().take(rows))


def test_the_removal_manifest_says_what_and_why(audit: Path, tmp_path: Path) -> None:
    export(str(audit), str(tmp_path / "out"), kinds=[Kind.BACKDOOR])
    table = pq.read_table(tmp_path / "out/removed.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "out/removed.jsonl").read_text().splitlines()]
    assert [(one["file"], one["row_group"], one["row_in_group"], one["row"], one["id"]) for one in table] == [
        ("a/part-0.parquet", 0, 0, 0, 0),
        ("a/part-0.parquet", 0, 39, 39, 39),
        ("b/part-0.parquet", 1, 17, 250, 250),
    ]
    assert all(one["kinds"] == ["backdoor"] and one["reason"] and one["risk"] > 0.5 for one in table)
    assert [{**one, "risk": None} for one in lines] == [{**one, "risk": None} for one in table]


def test_kinds_can_be_chosen_on_the_command_line(
    audit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(audit), str(tmp_path / "out"), "--kind", "label", "--kind", "integrity", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["kinds"], done["quarantined"]["rows"]) == (["integrity", "label"], 2)
    assert whole(tmp_path / "out/quarantined")["id"].to_pylist() == [40, 251]
    assert main(["export", str(audit), str(tmp_path / "other")]) == 0
    assert "5 quarantined rows" in capsys.readouterr().out


def test_a_file_may_be_quarantined_whole(dataset: Path, tmp_path: Path) -> None:
    audit = store([str(dataset)], tmp_path / "audit", dict.fromkeys(range(100), "backdoor"))
    export(str(audit), str(tmp_path / "out"))
    empty = pq.ParquetFile(tmp_path / "out/clean/a/part-0.parquet")
    assert empty.metadata.num_rows == 0
    assert empty.schema_arrow.equals(pq.read_schema(dataset / "a/part-0.parquet"), check_metadata=True)
    assert open_dataset([str(tmp_path / "out/clean")]).rows == 200


@pytest.mark.parametrize("change", ["one byte", "gone", "swapped"])
def test_other_bytes_than_the_audited_are_refused(change: str, dataset: Path, audit: Path, tmp_path: Path) -> None:
    file, other = dataset / "a/part-1.parquet", dataset / "a/part-0.parquet"
    if change == "one byte":
        data = bytearray(file.read_bytes())
        data[200] ^= 1
        file.write_bytes(data)
    elif change == "gone":
        file.unlink()
    else:
        shutil.move(file, tmp_path / "aside")
        shutil.move(other, file)
        shutil.move(tmp_path / "aside", other)
    with pytest.raises(DataError, match=r"part-\d\.parquet: (must hold the audited bytes|cannot be read)"):
        export(str(audit), str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == ["audit", "data"]


@pytest.mark.parametrize("what", ["other place", "row lost", "row twice", "path out"])
def test_a_damaged_audit_is_refused(what: str, audit: Path, tmp_path: Path) -> None:
    samples = pl.read_parquet(audit / "samples.parquet")
    damaged = {
        "other place": samples.with_columns(pl.col("row_in_group") + 1),
        "row lost": samples.head(-1),
        "row twice": pl.concat([samples.head(1), samples.head(-1)]),
    }
    if what == "path out":
        report = (audit / "report.json").read_text().replace("a/part-0.parquet", "../part-0.parquet")
        (audit / "report.json").write_text(report)
    else:
        pq.write_table(
            damaged[what].to_arrow().cast(pq.read_schema(audit / "samples.parquet")), audit / "samples.parquet"
        )
    with pytest.raises(DataError):
        export(str(audit), str(tmp_path / "out"))
    assert sorted(os.listdir(tmp_path)) == ["audit", "data"]


def test_the_folder_must_not_lie_in_the_dataset(dataset: Path, audit: Path) -> None:
    for out in (dataset / "clean", dataset):
        with pytest.raises(PlanError, match=r"must not lie inside the dataset|must be new or empty"):
            export(str(audit), str(out))
    assert sorted(os.listdir(dataset)) == ["a", "b"]


def test_pictures_that_rows_name_come_along_and_must_be_the_audited(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "pictures").mkdir(parents=True)
    for name in range(4):
        (data / f"pictures/{name}.png").write_bytes(b"picture %d" % name)
    paths = [f"pictures/{name}.png" for name in range(4)]
    pq.write_table(pa.table({"image": paths, "label": [0, 1, 0, 1]}), data / "a.parquet", row_group_size=2)
    audit = store([str(data)], tmp_path / "audit", {1: "backdoor"})
    export(str(audit), str(tmp_path / "out"))
    found = Counter(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert set(found) == {f"clean/pictures/{name}.png" for name in (0, 2, 3)} | {"quarantined/pictures/1.png"}
    (data / "pictures/3.png").write_bytes(b"another")
    with pytest.raises(DataError, match=r"3\.png: must read what was audited"):
        export(str(audit), str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_what_a_real_audit_accused_is_set_apart_and_the_rest_passes(audited, tmp_path: Path) -> None:
    """From poison to a clean dataset: the planted rows are gone, and the clean folder is audited like any other."""
    export(str(audited("digits_badnets").folder), str(tmp_path / "out"))
    planted = pq.read_table(DATA / "truth/digits_badnets.parquet")["is_poisoned"].to_numpy()
    removed = pq.read_table(tmp_path / "out/removed.parquet")["row"].to_numpy()
    assert planted[removed].mean() >= 0.95
    plan = tmp_path / "plan.toml"
    plan.write_text(
        '[embedders.grey]\nkind = "pixels"\n[detectors.spectral-signature]\n[decide]\ncontent = "grey"\n',
        encoding="utf-8",
    )
    code = main(["audit", str(tmp_path / "out/clean"), "--plan", str(plan), "--out", str(tmp_path / "audit")])
    report = json.loads((tmp_path / "audit/report.json").read_text())
    assert code == 0
    assert report["rows"] == 1797 - len(removed)
    assert report["dataset"]["digest"] == json.loads((tmp_path / "out/export.json").read_text())["clean"]["digest"]
