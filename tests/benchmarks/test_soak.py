"""A soak finds nothing wrong where nothing is, and would see it where something is."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest
from places import ROOT

from benchmarks.soak.ground import Ground, Process, Ran
from benchmarks.soak.truth import judged, logged


def test_three_rounds_lose_nothing():
    call = [sys.executable, "-m", "benchmarks.soak", "--rounds", "3", "--seed", "3"]
    done = subprocess.run(
        call, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, *counted = done.stdout.splitlines()
    assert first.startswith("3 rounds in ")
    assert {line.split()[0] for line in counted} == {"0"}


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "report.json").write_text('{"verdict": "passed"}')
    (folder / "attestation.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("code", "data", "said", "wrong"),
    [
        (0, "clean", "", []),
        (-9, "clean", "", []),
        (2, "clean", "foretaste: the disk is full", []),
        (1, "clean", "", ["wrong verdicts"]),
        (0, "poisoned", "", ["wrong verdicts", "wrong verdicts"]),
        (2, "clean", "ups", ["faults without a sentence"]),
        (2, "clean", "foretaste: OSError: ups (run with FORETASTE_DEBUG=1)", ["faults without a sentence"]),
        (99, "clean", "", ["faults without a sentence"]),
        (2, "clean", "Traceback\nforetaste: x", ["faults without a sentence"]),
    ],
)
def test_what_is_wrong_with_an_audit_is_seen(out, code, data, said, wrong):
    assert list(judged(Ran(code, data, out, said))) == wrong


def test_an_audit_that_is_gone_or_half_is_seen(out, tmp_path):
    assert list(judged(Ran(0, "clean", tmp_path / "none", ""))) == ["audits lost"]
    (out / "attestation.json").unlink()
    assert list(judged(Ran(-9, "clean", out, ""))) == ["audits that are not whole"]


def test_an_entry_that_is_not_in_the_log_is_seen(out, tmp_path):
    from foretaste.gate.attestation import keys

    keys.generate(tmp_path / "config" / "foretaste")
    ground = Ground(tmp_path, random.Random(0))
    assert list(logged(ground, [Ran(0, "clean", out, "")])) == ["log entries lost"]
    (tmp_path / "ledger.jsonl").write_text("half a li")
    assert list(logged(ground, [])) == ["broken logs"]


def test_a_process_says_how_it_ended():
    assert Process.of(lambda: 3).ended() == (3, "")
    assert Process.of(lambda: sys.exit(4)).ended()[0] == 4
    waiting = Process.of(lambda: os.read(os.pipe()[0], 1)[0])
    waiting.kill(9)
    assert waiting.ended()[0] == -9
