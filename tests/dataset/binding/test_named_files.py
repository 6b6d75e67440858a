"""What a file that a row names holds is part of the dataset."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from named import dataset, picture

from foretaste.dataset.binding import named_files
from foretaste.dataset.parquet import open_dataset, payloads, picked
from foretaste.dataset.roles import Request
from foretaste.embedders import encoder, skeleton
from foretaste.errors import DataError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TYPES = [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]


def named(folder: Path, **request):
    return open_dataset([str(folder)], request=Request(**request), shard_rows=2).named


def test_one_picture_changes_the_digest_and_that_of_its_shard(tmp_path: Path):
    before = open_dataset([str(dataset(tmp_path))], shard_rows=2)
    size = sum(path.stat().st_size for path in (tmp_path / "img").iterdir())
    picture(tmp_path / "img" / "3.png", 99)
    after = open_dataset([str(tmp_path)], shard_rows=2)
    assert before.digest == after.digest
    assert before.named.digest != after.named.digest
    assert (before.named.columns, before.named.files, before.named.missing) == (("image",), 6, 0)
    assert before.named.size == size
    same = [one.digest == other.digest for one, other in zip(before.shards, after.shards, strict=True)]
    assert same == [True, False, True]


@pytest.mark.parametrize("type_", [*TYPES, STRUCT, pa.struct([("path", pa.string())])])
@pytest.mark.parametrize("change", ["overwritten", "deleted", "swapped", "grown"])
def test_every_way_to_store_a_path_is_bound(type_, change: str, tmp_path: Path):
    data = dataset(tmp_path)
    cells = [f"img/{row}.png" for row in range(6)]
    if pa.types.is_struct(type_):
        cells = [{"path": cell, "bytes": None} for cell in cells]
    pq.write_table(pa.table({"image": pa.array(cells, type_), "label": ["cat", "dog"] * 3}), data / "a.parquet")
    before = named(data, image="image")
    one, other = data / "img" / "0.png", data / "img" / "1.png"
    if change == "deleted":
        one.unlink()
    elif change == "overwritten":
        shutil.copy(other, one)
    elif change == "grown":
        one.write_bytes(one.read_bytes() + b"\0")
    else:
        one.rename(data / "x")
        other.rename(one)
        (data / "x").rename(other)
    after = named(data, image="image")
    assert after.digest != before.digest
    assert after.missing == (change == "deleted")


def test_files_are_digested_whatever_the_shards_and_row_groups(tmp_path: Path):
    """But the order of the Parquet files counts, as it does for the rows."""
    one = named(dataset(tmp_path / "one"))
    two = named(dataset(tmp_path / "two", files=3))
    assert (one.digest, one.sha256) == (two.digest, two.sha256)


def test_what_holds_its_bytes_names_no_file(tmp_path: Path):
    data = dataset(tmp_path, 4)
    held = [(tmp_path / "img" / f"{row}.png").read_bytes() for row in range(4)]
    mixed = [{"bytes": held[row] if row else None, "path": f"img/{row}.png"} for row in range(4)]
    pq.write_table(pa.table({"image": pa.array(held), "label": ["a", "b"] * 2}), data / "a.parquet")
    assert named(data) is None
    whole = [{"bytes": held[row], "path": f"img/{row}.png"} for row in range(4)]
    pq.write_table(pa.table({"image": pa.array(whole, STRUCT), "label": ["a", "b"] * 2}), data / "a.parquet")
    assert named(data) is None
    pq.write_table(pa.table({"image": pa.array(mixed, STRUCT), "label": ["a", "b"] * 2}), data / "a.parquet")
    assert named(data).files == 1


def test_columns_that_nobody_audits_are_bound_as_well(tmp_path: Path):
    masks = pa.array([[f"mask/{row}.png", None, "nowhere.png"] for row in range(6)], pa.list_(pa.string()))
    data = dataset(tmp_path, mask=masks, caption=["a cat", "a dog"] * 3)
    for row in range(6):
        picture(data / "mask" / f"{row}.png", 50 + row)
    before = named(data, image="image")
    assert (before.columns, before.files, before.missing) == (("image", "mask"), 18, 6)
    picture(data / "mask" / "4.png", 1)
    assert named(data, image="image").digest != before.digest


def test_texts_name_no_files(tmp_path: Path):
    table = pa.table(
        {"text": ["some words", "img", "/etc/passwd", "../x", "a\0b", "x" * 9999], "label": ["a", "b"] * 3}
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (tmp_path / "img").mkdir()
    assert named(tmp_path) is None


@pytest.mark.parametrize("odd", ["/etc/passwd", "../a.png", "https://x/y.png", "a\0b", "", "x" * 5000, "img", "pipe"])
def test_what_is_no_file_below_the_folder_is_missing(odd: str, tmp_path: Path):
    data = dataset(tmp_path / "data")
    os.mkfifo(data / "pipe")
    cells = ["img/0.png", odd, None, "img/3.png"]
    pq.write_table(pa.table({"image": cells, "label": ["a", "b"] * 2}), data / "a.parquet")
    found = named(data, image="image")
    assert (found.files, found.missing) == ((2, 0) if odd == "" else (3, 1))


def test_a_picture_that_changes_while_it_is_audited_is_noticed(tmp_path: Path):
    opened = open_dataset([str(dataset(tmp_path))], shard_rows=2)
    assert [list(payload.images(8)[1]) for payload in payloads(opened)] == [[], [], []]
    picture(tmp_path / "img" / "3.png", 99)
    said = "img/3.png: was changed while it was audited, so nothing can be said of it: audit it again"
    with pytest.raises(DataError, match=said):
        [payload.images(8) for payload in payloads(opened)]
    with pytest.raises(DataError, match=said):
        [payload.pictures() for payload in picked(opened, [0, 3])]
    assert [len(payload.pictures()) for payload in picked(opened, [1, 2])] == [1, 1]
    (tmp_path / "img" / "3.png").unlink()
    with pytest.raises(DataError, match=said):
        [payload.pictures() for payload in picked(opened, [3])]


def test_a_picture_that_comes_while_it_is_audited_is_noticed(tmp_path: Path):
    dataset(tmp_path)
    (tmp_path / "img" / "1.png").unlink()
    opened = open_dataset([str(tmp_path)])
    assert list(next(iter(payloads(opened))).images(8)[1]) == [1]
    picture(tmp_path / "img" / "1.png", 1)
    with pytest.raises(DataError, match=r"img/1\.png: was changed while it was audited"):
        [payload.images(8) for payload in payloads(opened)]


def test_behind_a_url(tmp_path: Path):
    import fsspec

    memory = fsspec.filesystem("memory")
    dataset(tmp_path)
    try:
        memory.put(str(tmp_path), "/named", recursive=True)
        assert open_dataset(["memory://named"]).named.digest == named(tmp_path).digest
    finally:
        memory.rm("/named", recursive=True)


def test_copies(tmp_path: Path):
    data = dataset(tmp_path / "data")
    assert named_files.copied(str(data), str(tmp_path / "to"), "img/0.png") == (data / "img" / "0.png").read_bytes()
    assert (tmp_path / "to" / "img" / "0.png").read_bytes() == (data / "img" / "0.png").read_bytes()
    assert isinstance(named_files.copied(str(data), str(tmp_path / "to"), "../data/img/0.png"), str)
    assert isinstance(named_files.copied(str(data), str(tmp_path / "to"), "nowhere"), str)


def test_no_selection_of_rows_forgets_what_they_named(tmp_path: Path):
    table = pa.table({"image": [f"img/{row}.png" for row in range(6)], "label": ["cat", "dog"] * 3})
    pq.write_table(table, dataset(tmp_path) / "a.parquet")
    [payload] = payloads(open_dataset([str(tmp_path)]))
    odd = torch.arange(6) % 2 == 1
    parts = [encoder._rows(payload, 2, 3), encoder._rows(payload, 4, 9), skeleton.chosen(payload, odd)]
    assert [part.row.tolist() for part in parts] == [[2, 3, 4], [4, 5], [1, 3, 5]]
    for part in parts:
        assert part.pictures() == [(tmp_path / "img" / f"{row}.png").read_bytes() for row in part.row.tolist()]
    for row in range(6):
        picture(tmp_path / "img" / f"{row}.png", 99)
    for part in parts:
        with pytest.raises(DataError, match="was changed while it was audited"):
            part.pictures()
