"""Which files a place names: pipes, devices and what lies behind them are refused, never waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.files import find, is_parquet, opened, sha256
from foretaste.errors import DataError

RULE = "must hold regular files"


def data(folder):
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), folder / "a.parquet")
    return folder


def irregular(kind, path):
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "link to a pipe":
            os.mkfifo(path.with_name(".pipe"))
            path.symlink_to(".pipe")
        case "link to a device":
            path.symlink_to("/dev/zero")
        case "socket":
            with socket.socket(socket.AF_UNIX) as one:
                one.bind(os.path.relpath(path))


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device", "socket"])
def test_what_is_no_regular_file_is_refused_by_name(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    irregular(kind, data(tmp_path) / "x.PARQ")
    for place in (tmp_path, tmp_path / "*", tmp_path / "x.PARQ", tmp_path.parent / f"{tmp_path.name}*"):
        with pytest.raises(DataError, match=f"x.PARQ: .*{RULE}"):
            find([str(place)])


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device", "socket"])
def test_without_a_name_of_parquet_it_is_passed_over_but_not_when_named(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    irregular(kind, data(tmp_path) / "part-0")
    for place in (tmp_path, tmp_path / "*"):
        assert [file.name for file in find([str(place)])[1]] == ["a.parquet"]
    with pytest.raises(DataError, match=f"part-0: .*{RULE}"):
        find([str(tmp_path / "part-0")])


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device"])
def test_a_file_that_became_a_pipe_or_device_is_not_read(tmp_path, kind):
    irregular(kind, tmp_path / "x.parquet")
    with pytest.raises(OSError, match="not a regular file"):
        sha256(str(tmp_path / "x.parquet"))
    assert not is_parquet(str(tmp_path / "x.parquet"))


@pytest.mark.parametrize(("path", "words"), [(".", "regular"), ("x" * 5000, "too long"), ("none", "No such file")])
def test_what_cannot_be_opened_is_an_error_of_the_system(tmp_path, path, words):
    with pytest.raises(OSError, match=words):
        opened(str(tmp_path / path))


@pytest.mark.parametrize("command", ["audit", "gate"])
def test_the_commands_say_so_in_one_sentence(tmp_path, command):
    irregular("pipe", data(tmp_path) / "x.parquet")
    arguments = [sys.executable, "-m", "foretaste.flows.cli", command, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("foretaste: ")
    assert f"x.parquet: a dataset {RULE}" in done.stderr.splitlines()[-1]
