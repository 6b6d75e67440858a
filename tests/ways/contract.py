"""Ways past the gate that somebody has tried: a function each, in any module of this folder.

    @way("log: last line deleted and head rewritten", "must have 2, the last ones were deleted")
    def _(scene: Scene) -> Options:
        scene.log.write_bytes(scene.lines()[0])
        scene.head(1)
        return {}

The function acts on a scene (data, keys, an older audit that passed and a newer one that failed) and returns what the
gate is asked besides the data. The gate must then refuse for the reason given, or let the data in where it is "".

    python -m pytest tests/gate/test_ways_past.py         how many were tried, and which got through
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from attested import NOW, Workshop, group

from foretaste.errors import ForetasteError, Refused
from foretaste.gate.attestation import envelope, log, statement

Options = dict[str, Any]
POISON = {"verdict": "failed", "reason": "poison", "groups": [group()], "counts": {"backdoor": 12}}


@dataclass
class Scene:
    """What an attacker finds: `passed` and `failed` are attestations of the same bytes, the failed one is newer."""

    workshop: Workshop
    passed: str = field(init=False)
    failed: str = field(init=False)

    def __post_init__(self) -> None:
        self.passed = self.workshop.sign(ended=NOW - timedelta(hours=2))
        self.failed = self.workshop.sign(ended=NOW - timedelta(hours=1), **POISON)

    @property
    def log(self) -> Path:
        return Path(log.path())

    def lines(self) -> list[bytes]:
        return self.log.read_bytes().splitlines(keepends=True)

    def head(self, entries: object) -> None:
        """Write a head that says so, with the hash of that entry where there is one."""
        lines = self.lines()
        last = lines[entries - 1] if isinstance(entries, int) and 0 < entries <= len(lines) else b"\n"
        told = {"entries": entries, "last": hashlib.sha256(last[:-1]).hexdigest()}
        Path(f"{self.log}.head").write_text(json.dumps(told))

    def without_log(self) -> None:
        for path in (self.log, Path(f"{self.log}.head")):
            path.unlink(missing_ok=True)

    def elsewhere(self) -> None:
        """As on a machine that never saw the log."""
        shutil.rmtree(os.environ["FORETASTE_STATE"], ignore_errors=True)

    def body(self) -> dict[str, Any]:
        """The statement of the passed audit."""
        return statement.verified(Path(self.passed).read_bytes(), self.workshop.public)

    def restated(self, change: Callable[[dict[str, Any]], object]) -> Options:
        """That statement, changed and signed with the right key, in place of all others."""
        body = self.body()
        change(body)
        return self.given(statement.sign(body, self.workshop.private))

    def told(self, **changed: Any) -> Options:
        """The same with other annotations."""
        return self.restated(lambda body: annotations(body).update(changed))

    def sealed(self, payload: bytes) -> Options:
        """Bytes signed as a statement with the right key."""
        return self.given(json.dumps(envelope.seal(payload, statement.PAYLOAD, self.workshop.private)).encode())

    def given(self, text: bytes) -> Options:
        """An attestation with this content, where no log and no anchor knows another."""
        self.without_log()
        self.elsewhere()
        path = self.workshop.folder / "given.json"
        path.write_bytes(text)
        return {"attestation": str(path)}

    def policy(self, text: str) -> Options:
        path = self.workshop.folder / "gate.toml"
        path.write_text(text)
        return {"policy": str(path)}


@dataclass(frozen=True)
class Way:
    """Something that was tried, and the reason for which it is refused; "" where nothing is gained by it."""

    name: str
    said: str
    act: Callable[[Scene], Options]

    def reasons(self, scene: Scene) -> str:
        """What the gate says after it, every reason; "" where it allows the data."""
        try:
            return "; ".join(scene.workshop.decide(**self.act(scene)).reasons)
        except Refused as refused:
            return "; ".join(refused.reasons)
        except ForetasteError as error:
            return str(error)


WAYS: list[Way] = []


def way(name: str, said: str) -> Callable[[Callable[[Scene], Options]], Callable[[Scene], Options]]:
    """Decorator that adds a way to the table. Raises ValueError where the name is taken."""

    def put(act: Callable[[Scene], Options]) -> Callable[[Scene], Options]:
        if any(known.name == name for known in WAYS):
            raise ValueError(f"two ways are called {name!r}")
        WAYS.append(Way(name, said, act))
        return act

    return put


def every() -> list[Way]:
    """All ways, of all modules of this folder."""
    for module in pkgutil.iter_modules([os.path.dirname(__file__)]):
        importlib.import_module(f"ways.{module.name}")
    return list(WAYS)


def annotations(body: dict[str, Any]) -> dict[str, Any]:
    """What a statement says of the audit."""
    [report] = [one for one in body["predicate"]["configuration"] if one["name"] == statement.REPORT]
    return report["annotations"]
