"""The cache: where it is, and that the longest unused goes first."""

from __future__ import annotations

import os

import pytest

from foretaste.embedders import store
from foretaste.types.digests import recipe


def fill(folder, *files):
    """Files of (name, bytes, age in days)."""
    for name, size, age in files:
        path = folder / result(name)
        path.write_bytes(bytes(size))
        os.utime(path, (1e9 - 86_400 * age,) * 2)


def result(name):
    return f"{recipe(name)}.arrow"


def test_the_folder_is_the_one_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("FORETASTE_CACHE", "/here")
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert store.folder() == "/here"
    monkeypatch.delenv("FORETASTE_CACHE")
    assert store.folder() == "/there/foretaste"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/anna")
    assert store.folder() == "/home/anna/.cache/foretaste"


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        (None, 10_000_000_000),
        ("2.5", 2_500_000_000),
        ("0", 0),
        ("much", 10_000_000_000),
        ("inf", 10_000_000_000),
        ("nan", 10_000_000_000),
    ],
)
def test_the_limit_is_in_gigabytes(monkeypatch, said, limit):
    monkeypatch.delenv("FORETASTE_CACHE_GB", raising=False)
    if said is not None:
        monkeypatch.setenv("FORETASTE_CACHE_GB", said)
    assert store.limit() == limit


def test_the_longest_unused_go_first_and_no_more_than_needed(tmp_path):
    fill(tmp_path, ("old", 400, 9), ("middle", 400, 5), ("new", 400, 1))
    store.prune(str(tmp_path), 900)
    assert set(os.listdir(tmp_path)) == {result("middle"), result("new")}
    store.prune(str(tmp_path), 900)
    assert set(os.listdir(tmp_path)) == {result("middle"), result("new")}
    store.prune(str(tmp_path), 0)
    assert os.listdir(tmp_path) == []


def test_what_was_of_use_today_stays(tmp_path):
    fill(tmp_path, ("old", 400, 9), ("new", 400, 1))
    store.touch(str(tmp_path / result("old")))
    store.prune(str(tmp_path), 500)
    assert os.listdir(tmp_path) == [result("old")]


def test_what_is_not_there_is_no_error(tmp_path):
    store.touch(str(tmp_path / "absent"))
    store.prune(str(tmp_path / "absent"), 0)


def test_only_stored_results_are_deleted(tmp_path):
    """Somebody may point the cache at a folder that holds more than the cache."""
    (tmp_path / "folder.arrow").mkdir()
    others = ["thesis.doc", "train.arrow", "a" * 32, f"{'a' * 32}.parquet"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(100))
    fill(tmp_path, ("old", 400, 9))
    (tmp_path / f"{result('new')}.partial-1-2").write_bytes(bytes(100))  # what a crash left
    store.prune(str(tmp_path), 0)
    assert set(os.listdir(tmp_path)) == {"folder.arrow", *others}
