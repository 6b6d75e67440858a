"""On a terminal, which a pseudo-terminal is: colours, pictures and bars; anywhere else none of them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.report.document import document, text
from foretaste.report.html.page import page

BARS = """
import time
from foretaste.flows.progress import progress
with progress() as watch:
    for done in range(21):
        watch("embed \\x1b[31m", done, 20)
        time.sleep(0.05)
print("result")
"""


def told(command, *, stream, columns=120, **environ):
    """What a command writes to its `stream` (1 or 2) where that is a terminal; the other one is a pipe."""
    ours, theirs = pty.openpty()
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {["", "stdout", "stderr"][stream]: theirs}
    base = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLORTERM", "FORCE_COLOR")}
    environment = base | {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environ
    process = subprocess.Popen([sys.executable, *command], env=environment, **quiet)
    os.close(theirs)
    said = b""
    while True:
        try:
            said += (piece := os.read(ours, 65536))
        except OSError:  # how Linux says that nobody holds the other end any more
            break
        if not piece:
            break
    os.close(ours)
    other = process.communicate()[0 if stream == 2 else 1]
    assert process.returncode == 0, said
    return said.decode(), other.decode()


@pytest.fixture
def audit(report, samples, tmp_path):
    """The folder of an audit of pictures."""
    (tmp_path / "report.json").write_text(text(document(report)), encoding="utf-8")
    (tmp_path / "report.html").write_text(page(report, samples), encoding="utf-8")
    rows = [
        {"row": one.row, "file": one.file, "row_group": 0, "row_in_group": one.row, "label": one.label,
         "risk": one.risk, "kinds": list(one.kinds), "detectors": list(one.detectors), "reason": "why"}
        for one in samples[29:19:-1]
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "flagged.parquet")
    return tmp_path


def show(audit, **environ):
    return told(["-m", "foretaste.flows.cli", "show", str(audit)], stream=1, **environ)[0]


def test_pictures_come_where_the_terminal_can(audit):
    assert "▀" in show(audit)
    assert "38;2;200;30;30" in show(audit, COLORTERM="truecolor")  # the pictures are of that red
    assert "▀" not in show(audit, TERM="xterm")
    plain = show(audit, TERM="dumb")
    assert "▀" not in plain
    assert "\x1b" not in plain


def test_no_color_is_honoured(audit):
    said = show(audit, NO_COLOR="1")
    assert "FAILED" in said
    assert "\x1b[" not in said
    assert "▀" not in said


def test_a_pipe_gets_text(audit):
    done = subprocess.run(
        [sys.executable, "-m", "foretaste.flows.cli", "show", str(audit)], capture_output=True, check=True
    )
    assert b"FAILED" in done.stdout
    assert b"\x1b" not in done.stdout
    assert "▀" not in done.stdout.decode()


def test_a_bar_shows_how_far_how_fast_and_how_long_yet():
    bar, result = told(["-c", BARS], stream=2)
    assert result == "result\n"
    assert "20/20" in bar
    assert re.search(r"\d+\.\d/s", bar)
    assert re.search(r"\d:\d\d", bar)  # the time left
    assert r"embed \x1b[31m" in bar  # of a stage's name nothing acts


def test_without_a_terminal_there_is_a_line_a_stage():
    done = subprocess.run([sys.executable, "-c", BARS], capture_output=True, check=True, text=True)
    assert done.stdout == "result\n"
    assert re.fullmatch(r"embed \\x1b\[31m: 20 in \d\.\d s\n", done.stderr)


def test_a_bar_without_colours():
    bar, _ = told(["-c", BARS], stream=2, NO_COLOR="1")
    assert "20/20" in bar
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]", bar)
