"""What the gate refuses and why, through the command line, and how fast it reads: every line is a command that was run.

python -m benchmarks.gate data/digits.parquet data/digits_badnets.parquet --gigabytes 10
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pyarrow.parquet as pq
import typer

from foretaste.detectors.contract import Aggregator, Claim, Family, GroupFacts, detector
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema
from foretaste.types.findings import Kind

PLAN = '[embedders.grey]\nkind = "pixels"\n[detectors.spectral-signature]\n[decide]\ncontent = "grey"\n'
GATE = """
from foretaste.gate.require import decide
assert not decide('train', key='config/foretaste/key.pub').allowed
print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))
"""
CRASHING = PLAN + "[detectors.crashing]\n"


@detector("crashing")
@dataclass(frozen=True)
class Crashing:
    """Raises on the first batch, as a detector with a bug does."""

    claim: ClassVar[Claim] = Claim(Kind.OUTLIER, Family("crashing"))

    def begin(self, schema: Schema) -> Aggregator:  # noqa: ARG002
        return _Raises()

    def describe(self, group: GroupFacts) -> str:
        return f"{group.counted} crash"


@dataclass(frozen=True)
class _Raises:
    def zero(self) -> int:
        return 0

    def reduce(self, _: int, __: Batch) -> int:
        raise ArithmeticError("a bug")

    def merge(self, left: int, right: int) -> int:
        return left + right

    def finish(self, _: int) -> Aggregator:
        return self


@dataclass(frozen=True)
class Case:
    """One thing that happens between the audit and the training, and what the gate is asked."""

    name: str
    happens: Callable[[Path], None]
    options: tuple[str, ...] = ()
    code: int = 1
    said: str = ""


def nothing(here: Path) -> None:
    """Between audit and training."""


def byte(here: Path) -> None:
    path = here / "train/a.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def added(here: Path) -> None:
    shutil.copy(here / "train/a.parquet", here / "train/z.parquet")


def removed(here: Path) -> None:
    (here / "train/b.parquet").unlink()


def reordered(here: Path) -> None:
    path = here / "train/a.parquet"
    table = pq.read_table(path)
    pq.write_table(table.take(list(reversed(range(len(table))))), path)


def swapped(here: Path) -> None:
    a, b, c = (here / "train" / name for name in ("a.parquet", "b.parquet", "c"))
    a.rename(c)
    b.rename(a)
    c.rename(b)


def edited(here: Path) -> None:
    path = here / "audits/1/attestation.json"
    envelope = json.loads(path.read_text())
    statement = base64.b64decode(envelope["payload"]).replace(b'"rows":1797', b'"rows":1796')
    envelope["payload"] = base64.b64encode(statement[:-1] + b" }").decode()
    path.write_text(json.dumps(envelope))


def unlogged(here: Path) -> None:
    shutil.rmtree(here / "audits")


def policy(text: str) -> Callable[[Path], None]:
    """What writes this gate.toml."""

    def write(here: Path) -> None:
        (here / "gate.toml").write_text(text)

    return write


def aged(here: Path) -> None:
    (here / "gate.toml").write_text('max_age = "1m"\n')
    time.sleep(61)


NAMED = ("--policy", "gate.toml")
WAIVER = """
[[waiver]]
dataset = "DIGEST"
by = "ada@example.org"
why = "looked at"
until = {until}
"""
CASES = (
    Case("untouched", nothing, code=0, said="ALLOWED"),
    Case("one byte changed", byte, said="bytes"),
    Case("a file added", added, said="z.parquet"),
    Case("a file removed", removed, said="b.parquet"),
    Case("rows reordered", reordered, said="holds the same rows in another order"),
    Case("two files' names swapped", swapped, said="a.parquet"),
    Case("attestation edited", edited, ("--attestation", "audits/1/attestation.json"), said="signature"),
    Case("another key", nothing, ("--key", "other/key.pub"), said="key"),
    Case("no attestation", unlogged, said="foretaste audit train"),
    Case("old audit", aged, NAMED, said="old"),
    Case("a required detector was not run", policy('required = ["label-issue"]\n'), NAMED, said="label-issue"),
    Case("policy that is none", policy("maximum_age = 3\n"), NAMED, code=2, said="maximum_age"),
    Case("no such data", nothing, ("elsewhere",), code=2, said="elsewhere"),
)


def main(
    clean: Annotated[Path, typer.Argument(help="a Parquet file that passes an audit")],
    poisoned: Annotated[Path, typer.Argument(help="one that fails")],
    gigabytes: Annotated[float, typer.Option(help="size of the dataset to hash; 0 for none")] = 1.0,
) -> None:
    print("| what happened | exit | what the gate says |\n|---|---:|---|", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for case, code, said in [*audited(Path(folder) / "a", clean), *accused(Path(folder) / "b", clean, poisoned)]:
            print(f"| {case.name} | {code} | {said} |", flush=True)
            if code != case.code or case.said not in said:
                wrong.append(case.name)
        if gigabytes:
            print("\n" + hashed(Path(folder) / "c", gigabytes))
    if wrong:
        raise SystemExit(f"not as it must be: {', '.join(wrong)}")


def audited(here: Path, clean: Path) -> list[tuple[Case, int, str]]:
    """Every case against a clean dataset of two files that was audited once."""
    begin(here)
    table = pq.read_table(clean)
    half = len(table) // 2
    pq.write_table(table.slice(0, half), here / "train/a.parquet")
    pq.write_table(table.slice(half), here / "train/b.parquet")
    foretaste(here, "audit", "train", "--plan", "plan.toml", "--out", "audits/1")
    foretaste(here, "keygen", "--out", "other")
    return [tried(here, case) for case in CASES]


def accused(here: Path, clean: Path, poisoned: Path) -> list[tuple[Case, int, str]]:
    """A dataset that failed, with and without a waiver, and one whose detector crashed."""
    begin(here)
    shutil.copy(poisoned, here / "train/a.parquet")
    foretaste(here, "audit", "train", "--plan", "plan.toml", "--out", "audits/1")
    waiver = WAIVER.replace("DIGEST", json.loads((here / "audits/1/report.json").read_text())["dataset"]["digest"])
    past, future = ((datetime.now(UTC) + timedelta(days=by)).isoformat() for by in (-1, 1))
    out = [
        tried(here, Case("poisoned", nothing, said="backdoor")),
        tried(here, Case("poisoned, waiver expired", policy(waiver.format(until=past)), NAMED, said="expired")),
        tried(here, Case("poisoned, waiver holds", policy(waiver.format(until=future)), NAMED, 0, "ALLOWED")),
    ]
    shutil.rmtree(here)
    begin(here)
    shutil.copy(clean, here / "train/a.parquet")
    (here / "plan.toml").write_text(CRASHING)
    run(here, [sys.executable, "-m", "benchmarks.gate", "crash"])
    crash = Case("a required detector crashed", policy('required = ["crashing"]\n'), NAMED, said="crashing")
    return [*out, tried(here, crash)]


def begin(here: Path) -> None:
    """A working directory with an empty dataset, a plan and a key pair."""
    (here / "train").mkdir(parents=True)
    (here / "plan.toml").write_text(PLAN)
    foretaste(here, "keygen")


def tried(here: Path, case: Case) -> tuple[Case, int, str]:
    """What the gate says once the case has happened; all is put back afterwards."""
    kept = here.with_name(here.name + "-kept")
    shutil.copytree(here, kept)
    case.happens(here)
    done = foretaste(here, "gate", *(() if "elsewhere" in case.options else ("train",)), *case.options)
    shutil.rmtree(here)
    kept.rename(here)
    said = re.sub(r"\s+", " ", (done.stdout + done.stderr).replace(str(here), "."))
    return case, done.returncode, said.strip().replace("|", "\\|")


def foretaste(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(here, [sys.executable, "-m", "foretaste.flows.cli", *words])


def run(here: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    there = {
        "XDG_CONFIG_HOME": str(here / "config"),
        "FORETASTE_LEDGER": str(here / "audits/ledger.jsonl"),
        "FORETASTE_CACHE": str(here.parent / "cache"),
        "FORETASTE_STATE": str(here / "state"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "COLUMNS": "1000",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORETASTE_", "PREFECT_"))}
    return subprocess.run(command, cwd=here, env=kept | there, capture_output=True, text=True, check=False)


def hashed(here: Path, gigabytes: float) -> str:
    """How fast and in how much memory the gate reads so many gigabytes in files of 256 MB, twice."""
    begin(here)
    draw = np.random.default_rng(0)
    block = draw.bytes(2**26)
    for number in range(max(1, round(gigabytes * 4))):
        with open(here / f"train/{number:05d}.parquet", "wb") as file:
            for part in range(4):
                file.write(bytes([number % 256, part]) + block[2:])
    size = sum(path.stat().st_size for path in (here / "train").iterdir())
    found = [measured(here) for _ in range(2)]
    rates = ", ".join(f"{seconds:.1f} s ({size / seconds / 1e9:.2f} GB/s)" for seconds, _ in found)
    peak = max(gibibytes for _, gibibytes in found)
    return f"{size / 1e9:.1f} GB in {len(list((here / 'train').iterdir()))} files: {rates}; at most {peak:.2f} GiB"


def measured(here: Path) -> tuple[float, float]:
    """Seconds and peak memory in GiB of a gate that hashes everything and then refuses, since nothing was audited."""
    start = time.monotonic()
    done = run(here, [sys.executable, "-c", GATE])
    if done.returncode:
        raise SystemExit(done.stderr)
    # A child's ru_maxrss starts from its parent's; what the system says of the child itself does not.
    return time.monotonic() - start, int(done.stdout) / 2**20


if __name__ == "__main__":
    if sys.argv[1:] == ["crash"]:
        from foretaste.flows.cli import main as command

        sys.exit(command(["audit", "train", "--plan", "plan.toml", "--out", "audits/1"]))
    typer.run(main)
