"""`foretaste audit` as people and machines call it: exit codes, output, a kill in the middle, Prefect underneath."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from places import DATA

from foretaste.flows.cli import main

DIGITS = str(DATA / "digits_badnets.parquet")

# Finds the sample poison without training anything.
PLAN = """
[embedders.grey]
kind = "pixels"
[detectors.spectral-signature]
[decide]
content = "grey"
"""


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "plan.toml"
    path.write_text(PLAN, encoding="utf-8")
    return str(path)


def called(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "foretaste.flows.cli", "audit", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "code", "verdict"), [("digits_badnets", 1, "FAILED"), ("digits", 0, "PASSED")])
def test_the_sample_datasets(audited, name, code, verdict):
    run = audited(name)
    assert (run.code, run.out.split()[0]) == (code, verdict)
    assert f"{run.folder}/report.html" in run.out
    assert run.err.startswith("columns: image = image; label = label; id = id (1797 rows, 10 classes, 1 shards)\n")
    assert "embed: 1 in " in run.err


def test_json_is_the_report(plan, tmp_path, capsys):
    assert main(["audit", DIGITS, "--plan", plan, "--out", str(tmp_path / "a"), "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "a" / "report.json").read_text())


def test_what_was_found_can_be_shown(plan, tmp_path, capsys):
    main(["audit", DIGITS, "--plan", plan, "--out", str(tmp_path / "a")])
    capsys.readouterr()
    assert main(["show", str(tmp_path / "a"), "--json", "--kind", "backdoor"]) == 0
    shown = {row["id"] for row in json.loads(capsys.readouterr().out)["samples"]}
    truth = pq.read_table(DATA / "truth" / "digits_badnets.parquet").to_pylist()
    planted = {row["id"] for row in truth if row["is_poisoned"]}
    assert len(planted & shown) >= 0.95 * len(planted)
    assert len(shown - planted) <= 0.005 * len(truth)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
@pytest.mark.parametrize("stage", ["embed", "score"])
def test_a_kill_leaves_no_audit_and_the_next_run_works(stage, plan, tmp_path, monkeypatch):
    monkeypatch.setenv("FORETASTE_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "results" / "a"
    # A real kill, at a moment of our choosing: the process stops itself when the stage begins.
    code = f"""
import os, signal, foretaste
def progress(stage, done, total):
    if stage == {stage!r}:
        os.kill(os.getpid(), signal.SIGKILL)
foretaste.audit({DIGITS!r}, plan={plan!r}, out={str(out)!r}, progress=progress)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [name for name in os.listdir(out.parent) if not name.startswith(".")] == []
    assert main(["audit", DIGITS, "--plan", plan, "--out", str(out)]) == 1
    assert "samples.parquet" in os.listdir(out)


@pytest.mark.parametrize("engine", ["threads", "dask", "ray"])
def test_prefect_finds_what_is_found_without_it(engine, plan, tmp_path):
    """With a server of its own in a fresh home, as on a machine that never saw Prefect."""
    if engine != "threads":
        pytest.importorskip(f"prefect_{engine}")
    table, data = pq.read_table(DIGITS), tmp_path / "data"
    data.mkdir()
    for part in range(3):
        pq.write_table(table.slice(600 * part, 600), data / f"{part}.parquet")
    here, there = tmp_path / "here", tmp_path / "there"
    assert main(["audit", str(data), "--plan", plan, "--out", str(here)]) == 1
    home = {name: str(tmp_path / name) for name in ("HOME", "PREFECT_HOME", "FORETASTE_CACHE")}
    done = called(str(data), "--plan", plan, "--out", str(there), "--engine", engine, **home)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("FAILED")
    assert "embed: 3 in " in done.stderr
    assert "Traceback" not in done.stderr
    for name in ("samples.parquet", "scores.parquet", "flagged.parquet"):
        assert (here / name).read_bytes() == (there / name).read_bytes()
