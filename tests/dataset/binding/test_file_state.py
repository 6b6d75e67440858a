"""What is said of a file is said of what was read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.binding import file_state
from foretaste.dataset.files import Found
from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.errors import DataError

CHANGED = r"a\.parquet: was changed while it was audited, so nothing can be said of it: audit it again"


def write(path: Path, first: float) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"x": [first, 1.0, 2.0], "y": [1.0, 2.0, 3.0], "label": [0, 1, 0]}), path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files of the same size and times."""
    for name, first in (("data", 5.0), ("evil", 6.0)):
        write(tmp_path / name / "a.parquet", first)
        os.utime(tmp_path / name / "a.parquet", (1e9, 1e9))
    return tmp_path / "data"


def values(dataset) -> list[float]:
    return [value for payload in payloads(dataset) for value in payload.columns["x"].to_pylist()]


def opened(data: Path):
    return open_dataset([str(data)], request=Request(features=("x", "y"), label="label"))


def swapped(data: Path) -> None:
    (data / "a.parquet").rename(data / "kept")
    shutil.copy2(data.parent / "evil" / "a.parquet", data / "a.parquet")


def folder_swapped(data: Path) -> None:
    data.rename(data.parent / "kept")
    (data.parent / "evil").rename(data)


def linked_elsewhere(data: Path) -> None:
    (data / "a.parquet").unlink()
    (data / "a.parquet").symlink_to(data.parent / "evil" / "a.parquet")


def written(data: Path) -> None:
    path = data / "a.parquet"
    content = (data.parent / "evil" / "a.parquet").read_bytes()
    with open(path, "r+b") as file:
        file.write(content)
    os.utime(path, (1e9, 1e9))


@pytest.mark.parametrize("change", [swapped, folder_swapped, linked_elsewhere, written])
def test_what_is_read_is_what_was_digested(change, data: Path):
    dataset = opened(data)
    assert values(dataset) == [5.0, 1.0, 2.0]
    change(data)
    with pytest.raises(DataError, match=CHANGED):
        values(dataset)
    with pytest.raises(DataError, match=CHANGED):
        file_state.require_unchanged(dataset.files)


def test_what_is_put_back_in_time_was_never_read(data: Path):
    dataset = opened(data)
    swapped(data)
    (data / "kept").rename(data / "a.parquet")
    assert values(dataset) == [5.0, 1.0, 2.0]
    file_state.require_unchanged(dataset.files)


def test_times_alone_change_nothing(data: Path):
    dataset = opened(data)
    os.utime(data / "a.parquet")
    os.link(data / "a.parquet", data.parent / "other-name")
    assert values(dataset) == [5.0, 1.0, 2.0]
    shutil.copy(data / "a.parquet", data / "copy")
    os.replace(data / "copy", data / "a.parquet")
    assert values(dataset) == [5.0, 1.0, 2.0]
    file_state.require_unchanged(dataset.files)


def test_a_write_in_the_middle_of_reading(data: Path):
    dataset = opened(data)
    with pytest.raises(DataError, match=CHANGED), file_state.reading(dataset.files[0]):
        written(data)


def test_what_breaks_because_of_a_write_is_a_write(data: Path):
    dataset = opened(data)

    def read() -> None:
        with file_state.reading(dataset.files[0]):
            os.truncate(data / "a.parquet", 10)
            raise OSError("unexpected end")

    with pytest.raises(DataError, match=CHANGED):
        read()


def test_a_file_that_is_gone(data: Path):
    dataset = opened(data)
    (data / "a.parquet").unlink()
    with pytest.raises(DataError, match=r"a\.parquet: is gone since it was audited: No such file or directory"):
        file_state.require_unchanged(dataset.files)


def test_two_writes_within_a_tick_of_the_clock(data: Path):
    """A file system counts time in ticks of some milliseconds; a file that is new may change within its own."""
    for attempt in range(20):
        path = data / f"{attempt}"
        path.write_bytes(b"good")
        file = file_state.digested(Found(str(attempt), str(path)))
        with open(path, "r+b") as later:
            later.write(b"evil")
        with pytest.raises(DataError, match="was changed while it was audited"):
            file_state.require_unchanged([file])
