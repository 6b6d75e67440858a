"""Terminals that lack characters, streams that are closed, readers that leave, full disks: the verdict stays."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from stored import store

from foretaste.dataset.roles import Request

PLAIN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
POOR = [{"PYTHONIOENCODING": name} for name in ("ascii:strict", "latin-1")] + [PLAIN_C]


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    """A stored audit whose class has a name that few encodings have."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("audit")
    table = {"text": ["ein gerücht …"] * 40, "label": ["日本", "→"] * 20}
    pq.write_table(pa.table(table), folder / "data.parquet")
    request = Request(text="text", label="label")
    made = store([str(folder / "data.parquet")], folder / "a", {0: "backdoor", 3: "label"}, request=request)
    (made / "flagged.parquet").write_bytes((made / "samples.parquet").read_bytes())
    (made / "report.html").write_text("<meta charset=utf-8>日本", encoding="utf-8")
    return str(made)


def run(*arguments, line="", **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONIO"))}
    command = ["bash", "-c", f'"$@" {line}', "-", sys.executable, "-m", "foretaste.flows.cli", *arguments]
    return subprocess.run(command, env=clean | environment, capture_output=True, check=False)


@pytest.mark.parametrize("environment", POOR, ids=str)
def test_a_poor_terminal_costs_characters_and_nothing_else(audit, environment):
    shown = run("show", audit, **environment)
    assert (shown.returncode, shown.stderr) == (0, b"")
    assert b"FAILED" in shown.stdout
    assert b"?" in shown.stdout


def test_what_is_for_programs_keeps_every_character(audit):
    for option in ("--csv", "--html"):
        shown = run("show", audit, option, PYTHONIOENCODING="ascii")
        assert (shown.returncode, shown.stderr) == (0, b"")
    assert "日本" in run("show", audit, "--csv", PYTHONIOENCODING="ascii").stdout.decode()


def test_a_number_stays_a_number():
    code = (
        "from foretaste.flows.commands import output; output.settle_streams(); output.print_text('6 × 10⁻¹⁷ …')"
    )  # fmt: skip
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True)
    assert done.stdout == b"6 x 10^-17 ..."


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (">&-", 0),
        ("<&- >&- 2>&-", 0),
        (">/dev/full", 2),
        ("2>/dev/full", 0),
        ("| true; exit ${PIPESTATUS[0]}", 0),
    ],
)
def test_streams_that_cannot_be_written(audit, line, code):
    done = run("show", audit, line=line)
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    if line == ">/dev/full":
        assert done.stderr == b"foretaste: standard output: No space left on device\n"


def test_talk_that_nobody_listens_to_changes_no_exit_code(tmp_path):
    """The error is told on stderr, whose reader is gone."""
    done = run("show", str(tmp_path / "none"), line="2>&1 | true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 2


def test_a_closed_stream_is_never_taken_for_the_next_file(tmp_path):
    """Whatever is opened first would get the number of stdout, and be written to."""
    path = tmp_path / "new.txt"
    code = (
        "from foretaste.flows.commands import output; output.settle_streams()\n"
        f"file = open({str(path)!r}, 'w'); output.print_text('report'); file.write('mine'); file.close()"
    )
    subprocess.run(["bash", "-c", '"$@" >&-', "-", sys.executable, "-c", code], check=True)
    assert path.read_text() == "mine"
