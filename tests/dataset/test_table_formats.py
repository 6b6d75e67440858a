"""Folders of tables: files that their log does not count as live are never audited as if they were."""

from __future__ import annotations

import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.files import find
from foretaste.errors import DataError


def written(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), path)
    return path


def commit(table, version, *actions):
    log = table / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    (log / f"{version:020}.json").write_text("\n".join(map(json.dumps, actions)))


def added(name, **more):
    return {"add": {"path": name, "size": 1, **more}}


def delta(table, *names):
    """A table of one commit for each file."""
    for version, name in enumerate(names):
        written(table / name)
        commit(table, version, {"commitInfo": {}}, added(name.replace("%", "%25")))
    return table


def names(place):
    return [file.name for file in find([str(place)])[1]]


def test_a_delta_table_of_live_files_only_is_a_folder_like_others(tmp_path):
    table = delta(tmp_path / "t", "a.parquet", "label=a%20b/b.parquet")
    assert names(table) == names(f"{table}/**/*.parquet") == ["a.parquet", "label=a%20b/b.parquet"]


@pytest.mark.parametrize("place", ["t", "t/*.parquet", ".", "*", "t/*/b.parquet", "t/label=0", "t/label=0/*"])
def test_a_file_that_was_removed_is_refused_wherever_it_is_found(tmp_path, place):
    table = delta(tmp_path / "t", "a.parquet", "label=0/b.parquet")
    removed = ({"remove": {"path": name}} for name in ("a.parquet", "label=0/b.parquet"))
    commit(table, 2, *removed, added("c.parquet"))
    written(table / "c.parquet")
    with pytest.raises(DataError, match=r"t: . of . files of this Delta .*scan_delta.*name the live files"):
        find([str(tmp_path / place)])


def test_a_live_file_can_be_named(tmp_path):
    table = delta(tmp_path / "t", "a.parquet", "b.parquet")
    commit(table, 2, {"remove": {"path": "a.parquet"}})
    assert names(table / "b.parquet") == ["b.parquet"]


def test_a_file_that_came_back_is_live_and_one_never_committed_is_not(tmp_path):
    table = delta(tmp_path / "t", "a.parquet")
    commit(table, 1, {"remove": {"path": "a.parquet"}})
    commit(table, 2, added("a.parquet"))
    assert names(table) == ["a.parquet"]
    written(table / "half.parquet")
    with pytest.raises(DataError, match=r"1 of 2 files .* the first is half.parquet"):
        find([str(table)])


def test_rows_that_a_deletion_vector_removed_are_refused(tmp_path):
    table = delta(tmp_path / "t", "a.parquet")
    commit(table, 1, {"remove": {"path": "a.parquet"}}, added("a.parquet", deletionVector={"cardinality": 1}))
    with pytest.raises(DataError, match="1 of 1 files of this Delta"):
        find([str(table)])


@pytest.mark.parametrize("damage", ["first commit gone", "no JSON", "other JSON", "deep", "none"])
def test_a_log_that_does_not_say_is_refused(tmp_path, damage):
    table = delta(tmp_path / "t", "a.parquet", "b.parquet")
    first = table / "_delta_log" / f"{0:020}.json"
    match damage:
        case "first commit gone":
            first.unlink()
        case "none":
            for path in first.parent.iterdir():
                path.unlink()
        case _:
            first.write_text({"no JSON": "{", "other JSON": '{"add": [1]}\n[]', "deep": "[" * 100_000}[damage])
    with pytest.raises(DataError, match="Delta table"):
        find([str(table)])


@pytest.mark.parametrize(
    ("log", "file", "name"),
    [
        (".hoodie/hoodie.properties", "a.parquet", "Hudi"),
        (".hoodie/hoodie.properties", "day=1/a.parquet", "Hudi"),
        ("metadata/v1.metadata.json", "data/a.parquet", "Iceberg"),
        ("metadata/00000-ab.metadata.json", "data/label=1/a.parquet", "Iceberg"),
        ("metadata/00000-ab.gz.metadata.json", "data/a.parquet", "Iceberg"),
    ],
)
def test_tables_whose_logs_are_not_read_are_refused(tmp_path, log, file, name):
    written(tmp_path / "t" / file)
    (tmp_path / "t" / log).parent.mkdir()
    (tmp_path / "t" / log).write_text("{}")
    folder = (tmp_path / "t" / file).parent
    for place in (tmp_path, tmp_path / "t", tmp_path / "t" / "**" / "*.parquet", folder, folder / "*"):
        with pytest.raises(DataError, match=f"t: .*{name}.*name the live files"):
            find([str(place)])
    assert names(tmp_path / "t" / file) == ["a.parquet"]


def test_a_folder_called_metadata_is_no_table(tmp_path):
    written(tmp_path / "data" / "a.parquet")
    written(tmp_path / "metadata" / "b.parquet")
    (tmp_path / "metadata" / "readme.json").write_text("{}")
    assert names(tmp_path) == ["data/a.parquet", "metadata/b.parquet"]
    assert names(tmp_path / "data") == ["a.parquet"]


def test_tables_behind_urls_are_read_as_well():
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    with memory.open("/lake/t/a.parquet", "wb") as file:
        pq.write_table(pa.table({"text": ["a"]}), file)
    memory.pipe("/lake/t/_delta_log/00000000000000000000.json", json.dumps(added("a.parquet")).encode())
    assert names("memory://lake") == ["t/a.parquet"]
    memory.pipe("/lake/t/_delta_log/00000000000000000001.json", b'{"remove": {"path": "a.parquet"}}')
    with pytest.raises(DataError, match="1 of 1 files"):
        find(["memory://lake"])
    memory.store.clear()
