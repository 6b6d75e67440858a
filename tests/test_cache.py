"""The cache: where it is, who may write there, and that the longest unused goes first."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from foretaste import cache, user_folders
from foretaste.errors import PlanError
from foretaste.types.digests import recipe


def fill(folder, *files):
    """Files of (name, bytes, age in days)."""
    for name, size, age in files:
        path = folder / result(name)
        path.write_bytes(bytes(size))
        os.utime(path, (1e9 - 86_400 * age,) * 2)


def result(name):
    return f"{recipe(name)}.sealed"


def test_the_folder_is_the_one_that_was_asked_for(monkeypatch):
    monkeypatch.setenv("FORETASTE_CACHE", "/here")
    monkeypatch.setenv("XDG_CACHE_HOME", "/there")
    assert cache.folder() == "/here"
    monkeypatch.delenv("FORETASTE_CACHE")
    assert cache.folder() == "/there/foretaste"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/anna")
    assert cache.folder() == "/home/anna/.cache/foretaste"


def test_a_user_without_a_home_has_none_anywhere(monkeypatch):
    """Nobody of this number is known to the system; '~' would be a folder beside the data."""
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert str(user_folders.cache()) == "/nonexistent/.cache/foretaste"


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
    assert cache.limit() == limit


def test_the_longest_unused_go_first_and_no_more_than_needed(tmp_path):
    fill(tmp_path, ("old", 400, 9), ("middle", 400, 5), ("new", 400, 1))
    cache.prune(str(tmp_path), 900)
    assert set(os.listdir(tmp_path)) == {result("middle"), result("new")}
    cache.prune(str(tmp_path), 900)
    assert set(os.listdir(tmp_path)) == {result("middle"), result("new")}
    cache.prune(str(tmp_path), 0)
    assert os.listdir(tmp_path) == []


def test_what_was_of_use_today_stays(tmp_path):
    fill(tmp_path, ("old", 400, 9), ("new", 400, 1))
    cache.touch(str(tmp_path / result("old")))
    cache.prune(str(tmp_path), 500)
    assert os.listdir(tmp_path) == [result("old")]


def test_what_is_not_there_is_no_error(tmp_path):
    cache.touch(str(tmp_path / "absent"))
    cache.prune(str(tmp_path / "absent"), 0)


def test_only_stored_results_are_deleted(tmp_path):
    """Somebody may point the cache at a folder that holds more than the cache."""
    (tmp_path / "folder.arrow").mkdir()
    (tmp_path / result("folder")).mkdir()
    others = ["thesis.doc", "train.arrow", "a" * 32, f"{'a' * 32}.parquet"]
    for name in others:
        (tmp_path / name).write_bytes(bytes(100))
    fill(tmp_path, ("old", 400, 9))
    left = tmp_path / f"{result('new')}.partial-1-2"
    left.write_bytes(bytes(100))  # what a crash left
    os.utime(left, (1e9, 1e9))
    (tmp_path / f"{result('new')}.partial-3-4").write_bytes(bytes(100))  # of somebody who may still be writing
    cache.prune(str(tmp_path), 0)
    assert set(os.listdir(tmp_path)) == {
        "folder.arrow", result("folder"), f"{result('new')}.partial-3-4", *others
    }  # fmt: skip


# Which folder is used


@pytest.fixture
def place(tmp_path, monkeypatch):
    path = tmp_path / "cache"
    monkeypatch.setenv("FORETASTE_CACHE", str(path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return path


def test_what_is_made_is_its_owners(place, tmp_path):
    mask = os.umask(0)
    try:
        with cache.opened() as store:
            assert store.folder == str(place)
    finally:
        os.umask(mask)
    key = tmp_path / "config" / "foretaste" / "cache.key"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (place, key.parent, key)]
    assert modes == [0o700, 0o700, 0o600]
    with cache.opened() as again:
        assert again == store
    assert "key" not in repr(store).replace("cache.key", "")


def loop(path):
    path.symlink_to(path)


SPOILT = {
    "a file in its place": (lambda path: path.write_text("mine"), "File exists"),
    "a loop of links": (loop, "it cannot be written"),
    "others can write": (lambda path: path.mkdir() or path.chmod(0o777), "others have access to it"),
    "nothing there and nowhere to make it": (lambda path: path.symlink_to("/dev/null/x"), "it cannot be written"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_a_folder_that_cannot_be_used_is_replaced_for_the_time_of_an_audit(place, case, caplog):
    spoil, said = SPOILT[case]
    spoil(place)
    with caplog.at_level(logging.WARNING, "foretaste"), cache.opened() as store:
        assert store.folder != str(place)
        assert stat.S_IMODE(os.stat(store.folder).st_mode) == 0o700
    assert not os.path.exists(store.folder)
    (record,) = caplog.records
    assert said in record.getMessage()
    assert "FORETASTE_CACHE" in record.getMessage()


def read_only(**_):
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize(
    ("call", "instead", "said"),
    [
        ("tempfile.TemporaryFile", read_only, "Read-only file system"),
        ("shutil.disk_usage", lambda _: SimpleNamespace(free=100), "its disk is full"),
        ("os.geteuid", lambda: 4242, "it belongs to somebody else"),
    ],
)
def test_disks_and_owners_that_are_hard_to_come_by(place, caplog, call, instead, said, monkeypatch):  # noqa: PLR0917
    monkeypatch.setattr(f"foretaste.cache.{call}", instead)
    with cache.opened() as store:
        assert store.folder != str(place)
    assert said in caplog.text


def test_without_any_folder_one_sentence_says_so(place, monkeypatch):
    place.write_text("mine")

    def none(*_, **__):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr("foretaste.cache.tempfile.TemporaryDirectory", none)
    with pytest.raises(PlanError, match="name one as FORETASTE_CACHE or TMPDIR"), cache.opened():
        pytest.fail("there is no folder")


@pytest.mark.parametrize("spoil", [lambda path: path.chmod(0o644), lambda path: path.write_bytes(b"short"), loop])
@pytest.mark.usefixtures("place")
def test_a_key_that_others_know_seals_nothing(tmp_path, caplog, spoil):
    path = tmp_path / "config" / "foretaste" / "cache.key"
    path.parent.mkdir(parents=True)
    if spoil is not loop:
        path.write_bytes(bytes(32))
        path.chmod(0o600)
    spoil(path)
    keys = set()
    for _ in range(2):
        with cache.opened() as store:
            keys.add(store.key)
    assert len(keys - {bytes(32)}) == 2
    assert "the key of the cache" in caplog.text


def test_a_config_folder_that_cannot_be_written_costs_only_the_reuse(place, tmp_path, caplog):
    (tmp_path / "config").write_text("a file")
    with cache.opened() as store:
        assert store.folder == str(place)
    assert "no embedding will be reused" in caplog.text


def test_nothing_is_pruned_that_another_process_uses(place, monkeypatch):
    monkeypatch.setenv("FORETASTE_CACHE_GB", "0")
    with cache.opened():
        fill(place, ("theirs", 400, 9))
        code = "from foretaste import cache\nwith cache.opened():\n    pass"
        subprocess.run([sys.executable, "-c", code], check=True)
        assert (place / result("theirs")).exists()
    assert not Path(place, result("theirs")).exists()
