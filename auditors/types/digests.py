"""Digests that name their own recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Digest:
    """A digest whose `algorithm` names everything that influences `value`. Digest.parse(str(d)) == d."""

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        algorithm, _, value = text.rpartition(":")
        return cls(algorithm, value)


def recipe(*parts: Any) -> str:
    """Cache key of a stored result: 32 hexadecimal digits over all parts (str, numbers, frozen dataclasses)."""
    text = json.dumps(parts, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return [type(value).__qualname__, asdict(value)]
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a recipe")


def canonical(value: Any) -> bytes:
    """Canonical JSON: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


PLAN = ("embedders", "detectors", "decide", "plugins")  # sections of a plan in report.json


def plan_digest(plan: Mapping[str, Any]) -> Digest:
    """Digest of a plan as stored in report.json: every setting, and the distributions its plug-ins come from."""
    named = {name: plan[name] for name in PLAN if name in plan}
    return Digest("sha256", hashlib.sha256(canonical(named)).hexdigest())
