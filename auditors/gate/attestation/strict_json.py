"""JSON in one reading only: no name twice in an object, no NaN, nothing nested deeper than can be read."""

from __future__ import annotations

import json
from typing import Any


def loads(text: str | bytes) -> Any:
    """The value in a JSON text. Raises ValueError, with what is wrong, for everything else."""
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        # Readers differ in which of two values they take.
        names = [name for name, _ in pairs]
        raise ValueError(f"an object says {next(name for name in names if names.count(name) > 1)!r} twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")
