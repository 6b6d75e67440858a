"""Values of a statement by name, each with its type: what somebody signed may still be anything.

Each function raises ValueError, with the name and the value, where the value is not of its type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from foretaste.gate.times import moment

T = TypeVar("T")
MOST = 1 << 63  # numbers of rows are smaller in Parquet


def value(of: Mapping[str, Any], name: str) -> Any:
    """The value, whatever it is."""
    said(of, (name,))
    return of[name]


def said(of: Mapping[str, Any], names: Sequence[str], what: str = "") -> None:
    """That all the names are there; `what` they are of."""
    missing = [name for name in names if name not in of]
    if missing:
        raise ValueError(f"it does not say {', '.join(missing)}{what}")


def text(of: Mapping[str, Any], name: str) -> str:
    """A text."""
    return _of_type(value(of, name), str, "a text", name)


def count(of: Mapping[str, Any], name: str) -> int:
    """A number of rows or classes."""
    found = value(of, name)
    if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found < MOST:
        raise _wrong(found, "a whole number of at least 0", name)
    return found


def rate(of: Mapping[str, Any], name: str) -> float:
    """A number from 0 to 1."""
    found = value(of, name)
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not 0 <= found <= 1:
        raise _wrong(found, "a number from 0 to 1", name)
    return float(found)


def flag(of: Mapping[str, Any], name: str) -> bool:
    """True or false."""
    return _of_type(value(of, name), bool, "true or false", name)


def time(of: Mapping[str, Any], name: str) -> datetime:
    """A time, in UTC."""
    try:
        return moment(text(of, name))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def sha256(of: Mapping[str, Any], name: str) -> str:
    """64 hexadecimal digits."""
    found = text(of, name)
    if not re.fullmatch("[0-9a-f]{64}", found):
        raise _wrong(found, "64 hexadecimal digits", name)
    return found


def table(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object."""
    return _of_type(value(of, name), dict, "an object", name)


def texts(of: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts."""
    found = _of_type(value(of, name), list, "a list", name)
    return [_of_type(one, str, "a text", f"each of {name}") for one in found]


def tables(of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects."""
    found = _of_type(value(of, name), list, "a list", name)
    return [_of_type(one, dict, "an object", f"each of {name}") for one in found]


def _of_type(found: Any, kind: type[T], what: str, name: str) -> T:
    if not isinstance(found, kind):
        raise _wrong(found, what, name)
    return found


def _wrong(found: Any, what: str, name: str) -> ValueError:
    got = repr(found)
    return ValueError(f"{name} must be {what}, got {got[:80]}{'…' * (len(got) > 80)}")
