"""Digests that name their own recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Digest:
    """A digest that names its own recipe: `algorithm` records everything that influences `value`.

    Law: Digest.parse(str(d)) == d.
    """

    algorithm: str
    value: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        algorithm, _, value = text.rpartition(":")
        return cls(algorithm, value)


def recipe(*parts: Any) -> str:
    """Name of a stored result: 32 hexadecimal digits that depend on every part (str, numbers, frozen dataclasses)."""
    text = json.dumps(parts, sort_keys=True, default=_plain, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return [type(value).__qualname__, asdict(value)]
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no place in a recipe")


def canonical(value: Any) -> bytes:
    """The same JSON bytes for the same value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


PLAN = ("embedders", "detectors", "decide", "plugins")  # what a plan consists of


def plan_digest(plan: Mapping[str, Any]) -> Digest:
    """Names a plan as report.json has it: every setting, and the distributions that its plug-ins come from."""
    named = {name: plan[name] for name in PLAN if name in plan}
    return Digest("sha256", hashlib.sha256(canonical(named)).hexdigest())
