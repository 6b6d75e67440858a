"""What must hold after any fault; each function yields what does not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.soak.ground import RIGHT, Ground, Process, Ran
from foretaste.curation import review_decisions
from foretaste.curation.review_decisions import Choice
from foretaste.errors import ForetasteError
from foretaste.flows.cli import main as foretaste
from foretaste.gate.attestation import log

WRONG = (
    "wrong verdicts", "wrong decisions of the gate", "audits lost", "audits that are not whole", "log entries lost",
    "broken logs", "broken caches", "decisions lost", "faults without a sentence",
)  # fmt: skip
ENDED = (128 + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL)

TABLES = ("samples.parquet", "scores.parquet")


def judged(run: Ran) -> Iterator[str]:
    """What is wrong with how an audit ended."""
    sentence = "foretaste: " in run.said and "FORETASTE_DEBUG" not in run.said
    if run.code in (0, 1) and run.code != RIGHT[run.data]:
        yield "wrong verdicts"
    elif (run.code not in (0, 1, *ENDED) and not (run.code == 2 and sentence)) or "Traceback" in run.said:
        yield "faults without a sentence"
    if not run.out.exists():
        if run.code in (0, 1):
            yield "audits lost"
        return
    try:
        report = json.loads((run.out / "report.json").read_text(encoding="utf-8"))
        if (report["verdict"] == "failed") != bool(RIGHT[run.data]):
            yield "wrong verdicts"
        (run.out / "attestation.json").read_bytes()
    except (OSError, ValueError, KeyError):
        yield "audits that are not whole"


def logged(ground: Ground, runs: Sequence[Ran]) -> Iterator[str]:
    """What is wrong with the log: every audit that ended by itself must be in it."""
    place = str(ground.place / "ledger.jsonl")
    try:
        held = {entry.sha256 for entry in log.read(place, ground.place / "config/foretaste/key.pub")}
    except ForetasteError as error:
        print(error, file=sys.stderr)
        yield "broken logs"
        return
    for run in runs:
        with suppress(OSError):
            sha256 = hashlib.sha256((run.out / "attestation.json").read_bytes()).hexdigest()
            if run.code in (0, 1) and sha256 not in held:
                yield "log entries lost"


def undisturbed(ground: Ground, expected: dict[str, list[bytes]]) -> Iterator[str]:
    """What is wrong with an audit, and the gate after it, that nothing disturbs."""
    for data, right in RIGHT.items():
        run = ground.begin(data).ended()
        yield from judged(run)
        if run.code != right or tables(run.out) != expected.setdefault(data, tables(run.out)):
            yield "broken caches"
        code, _ = Process.of(partial(foretaste, ground.gate(data))).ended()
        if code not in (0, 1) or (code == 0 and right):
            yield "wrong decisions of the gate"


def tables(out: Path) -> list[bytes]:
    return [hashlib.sha256((out / name).read_bytes()).digest() for name in TABLES] if out.exists() else []


def reviewed(ground: Ground, audit: Path) -> Iterator[str]:
    """A reviewer's process is killed: what it was told to be stored must be stored."""
    told, tell = os.pipe()
    name = f"{ground.draw.getrandbits(64):016x}"

    def decide() -> int:
        for row in range(100_000):
            review_decisions.decide(audit, [row], Choice.DROP, reviewer=name)
            os.write(tell, b"x")
        return 0

    process = Process.of(decide)
    os.close(tell)
    time.sleep(ground.draw.uniform(0, 0.3))
    process.kill(signal.SIGKILL)
    process.ended()
    with os.fdopen(told, "rb") as pipe:
        stored = len(pipe.read())
    rows = [made.row for made in review_decisions.latest(audit) if made.reviewer == name]
    if rows[:stored] != list(range(stored)):
        yield "decisions lost"
