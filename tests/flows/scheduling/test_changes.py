"""Data that lands in a real folder, whole or in pieces."""

import os
import shutil
import threading
import time

import pytest
from places import DATA

from foretaste.dataset.parquet import open_dataset
from foretaste.flows.scheduling.changes import changes, digest, listing

DIGITS = DATA / "digits.parquet"
PACE = {"poll": 0.02, "settle": 0.2}


class Seen(list):
    def wait(self, many):
        until = time.monotonic() + 20
        while len(self) < many and time.monotonic() < until:
            time.sleep(0.01)
        assert len(self) == many
        return self[-1]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "set").mkdir()
    shutil.copy(DIGITS, tmp_path / "set" / "a.parquet")
    return tmp_path / "set"


@pytest.fixture
def seen(folder):
    """What was announced so far, by a watch in a thread."""
    out, stop = Seen(), threading.Event()
    thread = threading.Thread(target=lambda: out.extend(changes([str(folder)], stop=stop, **PACE)))
    thread.start()
    yield out
    stop.set()
    thread.join()


def test_the_digest_is_the_audits(folder):
    assert digest([str(folder)]) == open_dataset([str(folder)]).digest


def test_each_change_is_announced_once(folder, seen):
    first = seen.wait(1)
    assert first == str(digest([str(folder)]))
    shutil.copy(DIGITS, folder / "b.parquet")
    second = seen.wait(2)
    (folder / "b.parquet").unlink()
    assert seen.wait(3) == first != second


def test_what_is_only_touched_has_not_changed(folder, seen):
    seen.wait(1)
    os.utime(folder / "a.parquet", (1, 1))
    (folder / "_SUCCESS").touch()
    (folder / "notes.txt").write_text("no data")
    time.sleep(0.5)
    assert len(seen) == 1


def test_other_bytes_of_the_same_size_and_time_have(folder, seen):
    seen.wait(1)
    file = folder / "a.parquet"
    before = file.stat()
    data = bytearray(file.read_bytes())
    data[1000] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert seen.wait(2) == str(digest([str(folder)]))


def test_half_a_shard_is_waited_for(folder, seen):
    seen.wait(1)
    data = DIGITS.read_bytes()
    with open(folder / "b.parquet", "wb") as file:
        file.write(data[:5000])
        file.flush()
        time.sleep(0.5)  # many times as long as things must rest, but not as long as patience lasts
        assert len(seen) == 1
        file.write(data[5000:])
    assert seen.wait(2) == str(digest([str(folder)]))
    time.sleep(0.3)
    assert len(seen) == 2


def test_a_shard_that_stays_half_is_announced_in_the_end(folder, seen):
    seen.wait(1)
    (folder / "b.parquet").write_bytes(DIGITS.read_bytes()[:5000])
    assert seen.wait(2) == str(digest([str(folder)]))


def test_a_dataset_that_vanished_is_announced_as_well(folder, seen):
    seen.wait(1)
    shutil.rmtree(folder)
    assert "no such file or folder" in seen.wait(2)


def test_listing_reads_no_data(folder):
    (folder / "a.parquet").chmod(0)
    assert "a.parquet" in listing([str(folder)])[0]
