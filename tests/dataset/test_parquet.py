"""Reading Parquet: the same rows however they are cut, digests others can check, and refusals."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from itertools import accumulate

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from foretaste.dataset import files
from foretaste.dataset.parquet import identities, open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.errors import DataError, MissingPackage, PlanError
from foretaste.types.dataset import Modality
from foretaste.types.digests import Digest


def texts(rows, start=0, **more):
    ids = list(range(start, start + rows))
    columns = {"id": pa.array(ids, pa.int64()), "text": pa.array([f"row {i}" for i in ids], pa.string())}
    return pa.table(columns | {"label": pa.array([i % 2 for i in ids], pa.int64())} | more)


def write(path, table, group=1 << 20):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return str(path)


def class_labels(names, values):
    metadata = {"huggingface": json.dumps({"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}})}
    text = [str(i) for i in range(len(values))]
    return pa.table({"text": text, "label": pa.array(values, pa.int64())}).replace_schema_metadata(metadata)


def rows_of(dataset, shards=None, rows=7):
    parts = list(payloads(dataset, shards, rows=rows))
    column = [value for part in parts for value in part.columns["text"].to_pylist()]
    return torch.cat([part.row for part in parts]).tolist(), column, torch.cat([part.label for part in parts]).tolist()


EMPTY = pa.RecordBatch.from_pylist([], schema=texts(0).schema)

# The laws


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=3).filter(lambda s: sum(map(sum, s))),
    shard_rows=st.integers(1, 20),
    batch=st.integers(1, 9),
)
def test_any_grouping_sharding_and_batching_gives_the_same_rows(sizes, shard_rows, batch):
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    total = sum(map(sum, sizes))
    table = texts(total)
    start = 0
    for number, groups in enumerate(sizes):
        with memory.open(f"/cut/{number}.parquet", "wb") as file, pq.ParquetWriter(file, table.schema) as writer:
            for size in groups:
                writer.write_batch(table.slice(start, size).combine_chunks().to_batches()[0] if size else EMPTY)
                start += size
    dataset = open_dataset(["memory://cut"], shard_rows=shard_rows)
    assert dataset.rows == total == sum(dataset.class_rows)
    row, column, label = rows_of(dataset, rows=batch)
    assert row == list(range(total))
    assert column == table["text"].to_pylist()
    assert label == table["label"].to_pylist()

    shards = dataset.shards
    assert [shard.first_row for shard in shards] == [0, *accumulate(shard.rows for shard in shards)][:-1]
    assert all(shard.rows > 0 and (shard.rows <= shard_rows or sum(map(bool, shard.groups)) == 1) for shard in shards)
    assert len({shard.digest for shard in shards}) == len(shards)
    found = pa.concat_tables([identities(dataset, shard) for shard in shards])
    assert found["row"].to_pylist() == found["id"].to_pylist() == row
    assert found["label"].to_pylist() == list(map(str, label))
    places = zip(
        found["file"].to_pylist(), found["row_group"].to_pylist(), found["row_in_group"].to_pylist(), strict=True
    )
    for place, text in zip(places, column, strict=True):
        with memory.open(f"/cut/{place[0]}") as file:
            assert pq.ParquetFile(file).read_row_group(place[1])["text"][place[2]].as_py() == text


@given(st.text(st.characters(codec="ascii", exclude_characters=":")), st.text(st.characters(codec="ascii")))
def test_a_digest_is_read_back_as_it_was_written(value, algorithm):
    digest = Digest(algorithm, value)
    assert Digest.parse(str(digest)) == digest


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="needs sha256sum")
def test_digests_are_those_of_sha256sum(tmp_path):
    for number, name in enumerate(("b.parquet", "a/x.parquet", "a.parquet", "Z.parquet", "ä.parquet", "a b.parquet")):
        write(tmp_path / name, texts(3 + number))
    dataset = open_dataset([str(tmp_path)])
    # The pipe of in-toto's specification, but for -d, which is there for the blank in a name.
    pipe = r"find . -type f | cut -c3- | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum | cut -f1 -d' '"
    said = subprocess.run(["sh", "-c", pipe], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.strip()
    assert dataset.digest == Digest("dirHash1", said)
    first = subprocess.run(["sha256sum", tmp_path / "Z.parquet"], capture_output=True, text=True, check=True).stdout
    assert dataset.files[0].name == "Z.parquet"
    assert dataset.files[0].digest == Digest("sha256", first.split()[0])
    assert dataset.files[0].size == os.path.getsize(tmp_path / "Z.parquet")


def test_the_digest_tells_names_and_bytes_apart(tmp_path):
    write(tmp_path / "one" / "a.parquet", texts(5))
    write(tmp_path / "two" / "b.parquet", texts(5))
    write(tmp_path / "three" / "a.parquet", texts(5))
    one, two, three = (open_dataset([str(tmp_path / name)]) for name in ("one", "two", "three"))
    assert one.files[0].digest == two.files[0].digest
    assert one.digest != two.digest
    assert one.digest == three.digest
    assert one.shards[0].digest == three.shards[0].digest
    assert one.shards[0].digest.algorithm == "sha256-rowgroups"


# Places


def test_a_file_a_folder_a_glob_and_urls_name_the_same_rows(tmp_path):
    data = tmp_path / "data"
    write(data / "part-1.parquet", texts(4, 5))
    write(data / "part-0.parquet", texts(5))
    for place in (
        str(data),
        f"{data}/",
        f"{data}/*.parquet",
        f"{tmp_path}/d*",
        f"file://{data}",
        f"{tmp_path}/**/*.parquet",
    ):
        dataset = open_dataset([place])
        assert rows_of(dataset)[1] == [f"row {i}" for i in range(9)], place
    both = open_dataset([str(data / "part-1.parquet"), str(data / "part-0.parquet"), str(data)])
    assert both == open_dataset([str(data)])
    assert both.root == str(data)
    assert [file.name for file in both.files] == ["part-0.parquet", "part-1.parquet"]


def test_several_places_share_their_deepest_folder(tmp_path):
    write(tmp_path / "new" / "x.parquet", texts(2))
    write(tmp_path / "old" / "deep" / "y.parquet", texts(3, 2))
    dataset = open_dataset([str(tmp_path / "old"), str(tmp_path / "new" / "x.parquet")])
    assert dataset.root == str(tmp_path)
    assert [file.name for file in dataset.files] == ["new/x.parquet", "old/deep/y.parquet"]


def test_memory_urls_open_again(tmp_path):
    with fsspec.open("memory://pond/deep/a.parquet", "wb") as file:
        pq.write_table(texts(6), file)
    for place in ("memory://pond", "memory://pond/deep/a.parquet", "memory://pond/*/*.parquet"):
        dataset = open_dataset([place])
        assert dataset.files[0].path == "memory:///pond/deep/a.parquet"
        assert dataset.files[0].digest == files.sha256("memory://pond/deep/a.parquet")[0]
        assert rows_of(dataset)[2] == [0, 1, 0, 1, 0, 1]
        assert pickle.loads(pickle.dumps(payloads(dataset))) == payloads(dataset)
    with pytest.raises(PlanError, match="one file system"):
        open_dataset(["memory://pond", write(tmp_path / "a.parquet", texts(3))])


def test_hidden_and_foreign_files_in_folders_are_passed_over(tmp_path):
    write(tmp_path / "a.parquet", texts(3))
    for name in (".hidden.parquet", "_SUCCESS", "_tmp/b.parquet", ".git/c.parquet", "notes.txt", "empty"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"PAR" if name != "empty" else b"")
    write(tmp_path / "000000_0", texts(2, 3))  # Hive gives no suffix
    os.mkfifo(tmp_path / "pipe")
    assert [file.name for file in open_dataset([str(tmp_path)]).files] == ["000000_0", "a.parquet"]
    named = write(tmp_path / "_named.parquet", texts(3))
    assert open_dataset([named]).rows == 3


def test_links_to_files_are_data_and_links_to_folders_are_refused(tmp_path):
    write(tmp_path / "blobs" / "1f", texts(3))
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot" / "train.parquet").symlink_to(tmp_path / "blobs" / "1f")
    (tmp_path / "latest").symlink_to(tmp_path / "snapshot")
    for place in ("snapshot", "latest", "latest/train.parquet"):
        assert open_dataset([str(tmp_path / place)]).rows == 3
    with pytest.raises(DataError, match="must not hold a link to a folder"):
        open_dataset([str(tmp_path)])


@pytest.mark.parametrize("spelt", [b"a\xff.parquet", b"x\xff/a.parquet", b"\xed\xa0\x80.parquet"])
def test_names_that_are_not_utf8_are_refused_in_a_sentence(tmp_path, spelt):
    path = os.path.join(os.fsencode(tmp_path), b"data", spelt)
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(b"PAR1")
    for place in (str(tmp_path / "data"), os.fsdecode(path), os.fsdecode(os.path.dirname(path)) + "/*"):
        with pytest.raises(DataError, match="must be UTF-8, and it is not; rename the"):
            files.find([place])


def test_names_that_are_not_utf8_of_what_is_no_data_do_not_matter(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    with open(os.fsencode(tmp_path) + b"/note\xff.txt", "wb") as file:
        file.write(b"hello")
    assert [file.name for file in files.find([str(tmp_path)])[1]] == ["a.parquet"]


def test_names_with_wildcards_in_them_are_names_first(tmp_path):
    assert open_dataset([write(tmp_path / "a[1].parquet", texts(3))]).rows == 3


def test_hive_partitions_are_columns(tmp_path):
    for key, rows in (
        ("label=cat/source=a%20b", 2),
        ("label=dog/source=c", 3),
        ("label=__HIVE_DEFAULT_PARTITION__/source=c", 1),
    ):
        write(tmp_path / key / "x.parquet", texts(rows).drop(["label"]))
    dataset = open_dataset([str(tmp_path)])
    assert (dataset.roles.label, dataset.roles.source) == ("label", "source")
    assert (dataset.classes, dataset.class_rows) == (("cat", "dog"), (2, 3))
    parts = list(payloads(dataset))
    assert [part.label.tolist() for part in parts] == [[-1], [0, 0], [1, 1, 1]]
    assert [part.columns["source"].to_pylist() for part in parts] == [["c"], ["a b"] * 2, ["c"] * 3]
    assert identities(dataset, dataset.shards[0])["label"].to_pylist() == [None]
    write(tmp_path / "y.parquet", texts(1).drop(["label"]))
    with pytest.raises(DataError, match=r"^y\.parquet: no column 'label'"):
        open_dataset([str(tmp_path)])


def test_partitions_alone_can_be_features(tmp_path):
    for name, rows in (("kind=a/year=2020", 3), ("kind=b/year=2021", 4)):
        write(tmp_path / name / "x.parquet", pa.table({"n": list(range(rows))}), group=2)
    dataset = open_dataset([str(tmp_path)], request=Request(label="kind", features=("year",)))
    parts = list(payloads(dataset))
    assert [value for part in parts for value in part.columns["year"].to_pylist()] == ["2020"] * 3 + ["2021"] * 4
    assert [len(part) for part in parts] == [2, 1, 2, 2]


def test_an_empty_file_among_others_is_fine(tmp_path):
    write(tmp_path / "a.parquet", pa.table({"id": pa.nulls(0), "text": pa.nulls(0)}))
    write(tmp_path / "b.parquet", texts(3))
    dataset = open_dataset([str(tmp_path)])
    assert [file.rows for file in dataset.files] == [0, 3]
    assert [shard.file.name for shard in dataset.shards] == ["b.parquet"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is not a Parquet file"),
        (b"id,text\n1,hello\n", "is not a Parquet file"),
        (b"PAR1 and then it broke off", "is truncated or damaged"),
    ],
)
def test_what_is_not_parquet_is_refused_by_name(tmp_path, content, words):
    (tmp_path / "x.parquet").write_bytes(content)
    write(tmp_path / "a.parquet", texts(3))
    for place in (tmp_path, tmp_path / "x.parquet"):
        with pytest.raises(DataError, match=rf"^x\.parquet: {words}"):
            open_dataset([str(place)])


def test_a_truncated_file_is_refused(tmp_path):
    whole = write(tmp_path / "x.parquet", texts(300))
    with open(whole, "r+b") as file:
        file.truncate(os.path.getsize(whole) - 20)
    with pytest.raises(DataError, match=r"x\.parquet: is truncated or damaged"):
        open_dataset([whole])


def test_a_type_that_arrow_has_not_is_no_damage(tmp_path):
    wide = pl.DataFrame({"text": ["a", "b"], "label": [0, 1], "n": pl.Series([1, 2**100], dtype=pl.Int128)})
    wide.write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"^a\.parquet: holds a column that Arrow cannot read: .* 64 bits .*: cast it"):
        open_dataset([str(tmp_path)])


def test_a_column_that_is_nested_too_deep_is_no_damage(tmp_path):
    type_ = pa.int64()
    for _ in range(60):
        type_ = pa.list_(type_)
    with pytest.raises(DataError, match=r"^a\.parquet: holds a column that Arrow cannot read: .* too deeply nested"):
        open_dataset([write(tmp_path / "a.parquet", texts(2, deep=pa.nulls(2, type_)))])


def test_ten_thousand_columns_are_read_in_seconds(tmp_path):
    names = [f"c{number}" for number in range(10_000)]
    value = pa.array([1, 2, 3])
    write(tmp_path / "a.parquet", pa.table([value] * len(names), names=names).append_column("label", value))
    write(tmp_path / "b.parquet", pa.table({"label": value, **dict.fromkeys(names, pa.array([1.5, 2, 3]))}))
    start = time.monotonic()
    dataset = open_dataset([str(tmp_path)], request=Request(features=tuple(names[:9000]), label="label"))
    assert sum(len(part) for part in payloads(dataset)) == 6
    assert time.monotonic() - start < 60


def test_a_damaged_page_is_named_with_its_row_group(tmp_path):
    path = write(tmp_path / "x.parquet", texts(3000), group=1000)
    at = pq.read_metadata(path).row_group(1).column(1).data_page_offset
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 200)
    with pytest.raises(DataError, match=r"^x\.parquet, row group 1: cannot be read"):
        list(payloads(open_dataset([path])))


def test_strings_that_are_no_utf8_are_named_with_their_row_group(tmp_path):
    text = pa.array([b"fine", b"\xff\xfe"]).view(pa.string())
    with pytest.raises(DataError, match=r"^x\.parquet, row group 0: cannot be read: .*UTF8"):
        list(payloads(open_dataset([write(tmp_path / "x.parquet", pa.table({"text": text}))])))


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ([], "got nothing"),
        (["nowhere"], "nowhere: no such file or folder"),
        (["nowhere/*.parquet"], "found none"),
        (["."], "found none"),
        (["zzz://x"], "no such kind of place"),
    ],
)
def test_places_that_name_nothing_are_refused(tmp_path, monkeypatch, places, words):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError, match=words):
        open_dataset(places)


def test_a_missing_package_is_named():
    with pytest.raises(MissingPackage, match="s3fs"):
        files.find(["s3://bucket/key"])


def test_zero_rows_are_refused(tmp_path):
    with pytest.raises(DataError, match="at least one row, found none in 1 files"):
        open_dataset([write(tmp_path / "a.parquet", texts(0))])


def test_files_must_agree_on_the_columns_that_are_read(tmp_path):
    write(tmp_path / "a.parquet", texts(3, other=["x"] * 3))
    write(tmp_path / "b.parquet", texts(3, other=[1] * 3))
    write(tmp_path / "c.parquet", texts(3).set_column(1, "text", texts(3)["text"].dictionary_encode()))
    assert open_dataset([str(tmp_path)]).rows == 9
    write(tmp_path / "d.parquet", texts(3).set_column(2, "label", pa.array(["x"] * 3)))
    with pytest.raises(DataError, match=r"^d\.parquet: column 'label' must be .* got string and in a\.parquet int64"):
        open_dataset([str(tmp_path)])
    write(tmp_path / "d.parquet", texts(3).drop(["text"]))
    with pytest.raises(DataError, match=r"^d\.parquet: no column 'text', which a\.parquet has"):
        open_dataset([str(tmp_path)])


def test_files_must_agree_on_the_names_of_their_classes(tmp_path):
    write(tmp_path / "a.parquet", class_labels(["cat", "dog"], [0, 1]))
    write(tmp_path / "b.parquet", class_labels(["dog", "cat"], [0, 1]))
    with pytest.raises(DataError, match=r"got the class names dog, cat and in a\.parquet the class names cat, dog"):
        open_dataset([str(tmp_path)])


def test_a_file_that_changed_since_it_was_digested_is_refused(tmp_path):
    path = write(tmp_path / "a.parquet", texts(30))
    dataset = open_dataset([path])
    write(tmp_path / "a.parquet", texts(31))
    with pytest.raises(DataError, match="changed while it was audited"):
        list(payloads(dataset))
    os.remove(path)
    with pytest.raises(DataError, match=r"a\.parquet: cannot be read"):
        identities(dataset, dataset.shards[0])


# Labels


@pytest.mark.parametrize(
    ("labels", "classes", "index"),
    [
        ([10, 2, None, -1, 2, 2], ("-1", "2", "10"), [2, 1, -1, 0, 1, 1]),
        (["b", "a", None, "", "b", "b"], ("", "a", "b"), [2, 1, -1, 0, 2, 2]),
        ([True, None, False, True, True], ("false", "true"), [1, -1, 0, 1, 1]),
        (pa.array(["b", "a", None, "b", "a"]).dictionary_encode(), ("a", "b"), [1, 0, -1, 1, 0]),
        (pa.array([7, 7, 7, 7, 7], pa.uint8()), ("7",), [0] * 5),
    ],
)
def test_labels_become_classes(tmp_path, labels, classes, index):
    table = pa.table({"text": ["a"] * len(labels), "label": labels})
    dataset = open_dataset([write(tmp_path / "a.parquet", table, group=2)], request=Request(id=""))
    assert dataset.classes == classes
    assert dataset.class_rows == tuple(index.count(i) for i in range(len(classes)))
    assert rows_of(dataset)[2] == index
    found = identities(dataset, dataset.shards[0])
    assert found["label"].to_pylist() == [None if i < 0 else classes[i] for i in index]
    assert found.column_names == ["row", "file", "row_group", "row_in_group", "label"]


def test_a_class_label_has_all_its_names_and_misses_minus_one(tmp_path):
    path = write(tmp_path / "a.parquet", class_labels(["ship", "cat", "never"], [1, -1, 0, None, 1]))
    dataset = open_dataset([path])
    assert (dataset.classes, dataset.class_rows) == (("ship", "cat", "never"), (1, 2, 0))
    assert rows_of(dataset)[2] == [1, -1, 0, -1, 1]
    assert identities(dataset, dataset.shards[0])["label"].to_pylist() == ["cat", None, "ship", None, "cat"]


def test_without_labels_all_rows_are_of_class_0(tmp_path):
    dataset = open_dataset([write(tmp_path / "a.parquet", texts(5))], request=Request(label=""))
    assert (dataset.classes, dataset.class_rows) == ((), ())
    assert rows_of(dataset)[2] == [0] * 5
    assert identities(dataset, dataset.shards[0])["label"].to_pylist() == [None] * 5


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (
            class_labels(["a", "b"], [0, 1, 2]),
            r"a\.parquet, row group 1: 'label' must be one of its 2 classes or -1, got 2",
        ),
        (class_labels(["a", "a"], [0, 1]), "must differ, got a, a"),
        (class_labels(["a", "b"], [-1, -1]), "it is missing in all"),
        (
            texts(4).set_column(2, "label", pa.array(list("abcd"))),
            "at most 2 classes in 4 rows, got 4: choose another with --label",
        ),
        (texts(20_004).set_column(2, "label", pa.array(np.arange(20_004))), "at most 10000 classes, got more"),
        (texts(4).set_column(2, "label", pa.nulls(4, pa.string())), "it is missing in all"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, table, words):
    path = write(tmp_path / "a.parquet", table, group=2 if len(table) < 9 else 20_000)
    with pytest.raises(DataError, match=words):
        open_dataset([path])


@pytest.mark.parametrize(
    ("values", "id_type", "found"),
    [
        ([5, None], "int64", [5, None]),
        (pa.array([5, 2], pa.uint8()), "uint8", [5, 2]),
        (pa.array(["x", "x"]).dictionary_encode(), "string", ["x", "x"]),
        ([1.5, 2.0], "string", ["1.5", "2"]),
        (pa.array([0, 1], pa.date32()), "string", ["1970-01-01", "1970-01-02"]),
    ],
)
def test_ids_are_integers_or_strings(tmp_path, values, id_type, found):
    table = pa.table({"text": ["a", "b"], "id": values})
    dataset = open_dataset([write(tmp_path / "a.parquet", table)])
    assert dataset.id_type == id_type
    assert identities(dataset, dataset.shards[0])["id"].to_pylist() == found


# Payloads


def test_a_payload_says_where_it_is_from(tmp_path):
    write(tmp_path / "deep" / "a.parquet", texts(5), group=3)
    dataset = open_dataset([str(tmp_path)])
    parts = list(payloads(dataset, rows=2))
    assert [len(part) for part in parts] == [2, 1, 2]
    assert [part.where for part in parts] == ["deep/a.parquet, row group 0"] * 2 + ["deep/a.parquet, row group 1"]
    assert parts[0].folder == str(tmp_path)
    assert list(parts[0].columns) == ["text", "label", "id"]
    assert len(payloads(dataset)) == 5


def test_only_the_asked_shards_are_read(tmp_path):
    dataset = open_dataset([write(tmp_path / "a.parquet", texts(10), group=3)], shard_rows=3)
    assert [shard.first_row for shard in dataset.shards] == [0, 3, 6, 9]
    some = payloads(dataset, dataset.shards[1:3])
    assert len(some) == 6
    assert torch.cat([part.row for part in some]).tolist() == [3, 4, 5, 6, 7, 8]
    assert torch.cat([part.row for part in some]).tolist() == [3, 4, 5, 6, 7, 8]  # and again


def test_features_come_as_plain_columns(tmp_path):
    job, pay = pa.array(["a", None]).dictionary_encode(), pa.array([1, 2]).cast(pa.decimal128(21, 2))
    table = pa.table({"age": [1, 2], "job": job, "pay": pay, "y": [0, 1]})
    dataset = open_dataset([write(tmp_path / "a.parquet", table)], request=Request(label="y"))
    assert dataset.roles.modality is Modality.FEATURES
    (part,) = payloads(dataset)
    assert {name: str(column.type) for name, column in part.columns.items()} == {
        "age": "int64", "job": "string", "pay": "double", "y": "int64",
    }  # fmt: skip
    assert part.columns["job"].to_pylist() == ["a", None]


def test_a_string_column_called_image_must_hold_paths_of_pictures(tmp_path):
    paths = pa.table({"image": ["a/1.PNG", None, "2.jpeg"], "label": [0, 1, 1]})
    assert open_dataset([write(tmp_path / "a.parquet", paths)]).roles.modality is Modality.IMAGE
    words = write(tmp_path / "b.parquet", pa.table({"image": ["a cat", "a dog"], "label": [0, 1]}))
    with pytest.raises(PlanError, match="got 'a cat': choose with --image image or --text image"):
        open_dataset([words])
    assert open_dataset([words], request=Request(text="image")).roles.modality is Modality.TEXT


def test_memory_does_not_grow_with_the_row_group(tmp_path):
    blob = np.random.default_rng(0).bytes(2000)
    type_ = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": blob[i % 500 :], "path": None} for i in range(16_000)], type_)
    table = pa.table({"image": column})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1 << 20, compression="none", use_dictionary=False)
    del column, table
    dataset = open_dataset([str(tmp_path)])
    assert dataset.shards[0].groups == (16_000,)
    before, most = pa.total_allocated_bytes(), 0
    for part in payloads(dataset, rows=256):
        most = max(most, pa.total_allocated_bytes() - before)
        assert len(part) <= 256
    assert dataset.files[0].size > 25e6
    assert most < 8e6


def test_finding_and_digesting_costs_a_gate_no_heavy_import():
    program = "import sys, foretaste.dataset.files; print(*{'torch', 'pyarrow', 'polars', 'numpy'} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert said.stdout.strip() == ""
