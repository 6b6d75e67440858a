"""Results are complete or absent."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from foretaste import atomic
from foretaste.errors import PlanError


def test_a_folder_is_complete(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new" / "er" / "out", tmp_path / "empty"):
        with atomic.folder(str(folder)) as partial:
            assert os.path.dirname(partial) == str(folder.parent)
            assert not folder.exists() or folder.name == "empty"
            Path(partial, "x").write_text("whole")
        assert (folder / "x").read_text() == "whole"
    assert sorted(os.listdir(tmp_path)) == ["empty", "new"]
    assert os.listdir(tmp_path / "new" / "er") == ["out"]


def test_a_folder_is_open_to_whom_it_should_be(tmp_path):
    with atomic.folder(str(tmp_path / "mine"), mode=0o700):
        pass
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o700


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_is_absent_when_the_work_fails(tmp_path, error):
    def fail(folder):
        (Path(folder) / "half").touch()
        raise error

    with pytest.raises(error), atomic.folder(str(tmp_path / "out")) as partial:
        fail(partial)
    assert os.listdir(tmp_path) == []


def test_a_folder_never_replaces_anything(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").touch()
    (tmp_path / "file").touch()
    for taken in ("out", "file", "file/below"):
        with pytest.raises(PlanError), atomic.folder(str(tmp_path / taken)):
            pytest.fail("work was done that cannot be kept")
    with pytest.raises(PlanError, match="the folder for a snapshot must be new or empty"):
        atomic.folder(str(tmp_path / "out"), what="a snapshot").__enter__()

    def late():
        with atomic.folder(str(tmp_path / "late")):
            (tmp_path / "late").mkdir()
            (tmp_path / "late" / "theirs").touch()

    with pytest.raises(PlanError, match="meanwhile"):
        late()
    assert sorted(os.listdir(tmp_path)) == ["file", "late", "out"]


def test_a_folder_that_cannot_be_made_is_refused_before_any_work(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refuse)
    with (
        pytest.raises(PlanError, match="must be writable, got Permission denied"),
        atomic.folder(str(tmp_path / "out")),
    ):
        pytest.fail("work was done that cannot be kept")


def test_a_folder_whose_name_is_not_utf8_is_refused_before_any_work(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/out\xff")
    with (
        pytest.raises(PlanError, match=r"out\\xff': the folder for results must have a name in UTF-8, it has not"),
        atomic.folder(place),
    ):
        pytest.fail("work was done that cannot be kept")
    assert os.listdir(tmp_path) == []


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "x"
    for text in ("first", "second"):
        with atomic.file(str(path)) as partial:
            assert Path(partial).name.startswith(".x.")
            Path(partial).write_text(text)
        assert path.read_text() == text

    def break_off(partial):
        Path(partial).write_text("ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), atomic.file(str(path)) as partial:
        break_off(partial)
    with pytest.raises(KeyError), atomic.file(str(path)):
        raise KeyError
    assert os.listdir(tmp_path) == ["x"]
    assert path.read_text() == "second"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, number):
    def fill(folder):
        (Path(folder) / "half").touch()
        raise OSError(number, os.strerror(number))

    with (
        pytest.raises(PlanError, match="the folder for results cannot be written: "),
        atomic.folder(str(tmp_path / "a" / "b")) as at,
    ):
        fill(at)
    assert os.listdir(tmp_path) == []


def test_folders_that_were_made_on_the_way_go_again_when_the_work_fails(tmp_path):
    (tmp_path / "audits").mkdir()
    with pytest.raises(KeyError), atomic.folder(str(tmp_path / "new" / "er" / "out")):
        raise KeyError
    with pytest.raises(KeyError), atomic.folder(str(tmp_path / "audits" / "out")):
        raise KeyError
    assert os.listdir(tmp_path) == ["audits"]


def age(path, days):
    for one in (*path.iterdir(), path) if path.is_dir() else (path,):
        os.utime(one, (time.time() - 86_400 * days,) * 2)


def left(folder, name, *, days):
    """What a killed process left."""
    path = folder / f".{name}.partial-4242-0123abcd"
    path.mkdir()
    (path / "half").touch()
    age(path, days)
    return path


def test_what_killed_processes_left_goes_after_a_day(tmp_path):
    old, fresh = left(tmp_path, "a", days=2), left(tmp_path, "b", days=0.5)
    used = left(tmp_path, "c", days=2)
    os.utime(used / "half")  # somebody still writes there
    half = tmp_path / ".x.partial-17"
    half.touch()
    age(half, 2)
    others = [tmp_path / ".hidden", tmp_path / "b.partial-1", tmp_path / ".partial-1-0123abcd"]
    for other in others:
        other.touch()
        age(other, 2)
    with atomic.folder(str(tmp_path / "out")):
        pass
    assert not old.exists()
    assert not half.exists()
    assert all(path.exists() for path in (fresh, used, *others))


def test_what_another_process_still_writes_stays_however_old(tmp_path):
    """A long audit may not touch its folder for days."""
    code = (
        "import os, sys\nfrom foretaste import atomic\n"
        f"with atomic.folder({str(tmp_path / 'theirs')!r}) as at:\n print(at, flush=True)\n sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], text=True, **pipes) as other:
        theirs = Path(other.stdout.readline().strip())
        age(theirs, 3)
        with atomic.folder(str(tmp_path / "mine")):
            assert theirs.is_dir()
        other.kill()
    with atomic.folder(str(tmp_path / "again")):
        assert not theirs.exists()


def test_a_link_in_place_of_a_half_written_folder_is_not_followed(tmp_path):
    (tmp_path / "precious").mkdir()
    link = tmp_path / ".a.partial-4242-0123abcd"
    link.symlink_to("precious")
    os.utime(link, (0, 0), follow_symlinks=False)
    with atomic.folder(str(tmp_path / "out")):
        pass
    assert (tmp_path / "precious").is_dir()
    assert not link.is_symlink()


def test_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"), atomic.file(str(tmp_path / "pipe")):
        raise AssertionError("never begun")
    assert os.listdir(tmp_path) == ["pipe"]
