"""The ground of a soak: a folder with data, keys, a log and a cache, and commands as processes that can be killed."""

from __future__ import annotations

import importlib
import json
import os
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from foretaste.embedders.store import EMBEDS
from foretaste.flows.cli import main as foretaste
from foretaste.pipeline import false_alarms
from foretaste.registry import HOME
from foretaste.types.sources import sources

PLAN = '[embedders.column]\n[detectors.spectral-signature]\n[decide]\ncontent = "column"\n'
POLICY = 'plans = ["any"]\n[reads]\nembedding = "vector"\n'
RIGHT = {"clean": 0, "poisoned": 1}  # exit codes of an audit


@dataclass(frozen=True)
class Process:
    """A forked process, and the end of a pipe that has its messages."""

    pid: int
    messages: int

    @classmethod
    def of(cls, work: Callable[[], int], largest: int | None = None) -> Process:
        """Do the work and end with its exit code; no file that it writes can have more than `largest` bytes."""
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            return cls(pid, read)
        code = 99
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            os.dup2(write, 2)
            if largest is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
            code = work()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 98
        finally:
            os._exit(code)

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def ended(self) -> tuple[int, str]:
        """Wait for it: its exit code, negative where it was killed, and its messages."""
        with os.fdopen(self.messages, "rb") as pipe:
            said = pipe.read().decode(errors="replace")
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]), said


@dataclass(frozen=True)
class Started:
    """An audit that runs: its process, dataset and folder."""

    process: Process
    data: str
    out: Path

    def ended(self) -> Ran:
        """Wait for it."""
        code, said = self.process.ended()
        return Ran(code, self.data, self.out, said)


@dataclass(frozen=True)
class Ran:
    """An audit that ended with an exit code; that of a killed one is the negative signal."""

    code: int
    data: str
    out: Path
    said: str


@dataclass(frozen=True)
class Ground:
    """The folder of a soak, its random numbers, and the seconds of an undisturbed audit."""

    place: Path
    draw: random.Random
    seconds: float = 1.0

    @property
    def cache(self) -> Path:
        return self.place / "cache"

    def new(self) -> Path:
        return self.place / "audits" / f"{self.draw.getrandbits(64):016x}"

    def call(self, data: str, out: Path) -> list[str]:
        source, plan, policy = (str(self.place / name) for name in (f"{data}.parquet", "plan.toml", "gate.toml"))
        return ["audit", source, "--embedding", "vector", "--plan", plan, "--policy", policy, "--out", str(out)]

    def gate(self, data: str) -> list[str]:
        return ["gate", str(self.place / f"{data}.parquet"), "--policy", str(self.place / "gate.toml")]

    def begin(self, data: str, out: Path | None = None, *, largest: int | None = None) -> Started:
        """Start an audit, in a new folder by default; no file that it writes can have more than `largest` bytes."""
        out = out or self.new()
        return Started(Process.of(partial(foretaste, self.call(data, out)), largest), data, out)

    def any(self, **how: int) -> Started:
        return self.begin(self.draw.choice(list(RIGHT)), **how)

    def wait(self) -> None:
        """Some time, at most a little more than an audit takes."""
        time.sleep(self.draw.uniform(0, 1.2 * self.seconds))


@contextmanager
def prepared(place: Path, seed: int) -> Iterator[Ground]:
    """A folder with data, keys, a log and a cache; everything that an audit imports is imported."""
    ground = Ground(place, random.Random(seed))
    os.environ |= {
        "FORETASTE_CACHE": str(ground.cache),
        "FORETASTE_LEDGER": str(place / "ledger.jsonl"),
        "TMPDIR": str(place),
        **{f"XDG_{name}_HOME": str(place / name.lower()) for name in ("CONFIG", "STATE")},
    }
    tempfile.tempdir = None
    ground.cache.mkdir(mode=0o700)
    (place / "plan.toml").write_text(PLAN)
    (place / "gate.toml").write_text(POLICY)
    for work in (partial(written, place), lambda: foretaste(["keygen"])):
        code, said = Process.of(work).ended()
        if code:
            raise RuntimeError(said)
    names = place / "imported.json"
    Process.of(partial(imported, ground, names)).ended()
    for name in json.loads(names.read_text()):
        with suppress(Exception):  # some modules are there only for others
            importlib.import_module(name)
    false_alarms.code()
    sources(*(f"{HOME}.{name}" for name in EMBEDS))
    began = time.monotonic()
    ground.begin("clean").ended()
    yield replace(ground, seconds=time.monotonic() - began)


def written(place: Path) -> int:
    """Write the two datasets."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from foretaste.testing.worlds import backdoored, clean

    for name, world in (("clean", clean(0)), ("poisoned", backdoored(0, shift=8.0))):
        batch = world.batch
        flat = pa.array(batch.embedding.reshape(-1).numpy())
        vector = pa.FixedSizeListArray.from_arrays(flat, batch.embedding.shape[1])
        table = pa.table({"vector": vector, "label": [f"class {label}" for label in batch.label.tolist()]})
        pq.write_table(table, place / f"{name}.parquet", row_group_size=200)
    return 0


def imported(ground: Ground, names: Path) -> int:
    """Audit and ask the gate in this process, and write down which modules that took."""
    foretaste(ground.call("poisoned", ground.place / "audits" / "reviewed"))
    foretaste(ground.gate("poisoned"))
    names.write_text(json.dumps(sorted(name for name, one in sys.modules.items() if getattr(one, "__spec__", None))))
    return 0
