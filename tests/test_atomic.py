"""Results are complete or absent."""

from __future__ import annotations

import os
import stat
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
