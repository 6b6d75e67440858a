"""Numbers formatted for reading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def count(number: int) -> str:
    """12,345."""
    return f"{number:,}"


def plural(number: int, noun: str, many: str = "") -> str:
    """1 row, 2 rows, 2 classes."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def probability(p: float | None) -> str:
    """0.013, 3 × 10⁻⁹, or "below 10⁻³⁰⁰", near the smallest double."""
    if p is None or math.isnan(p):
        return "unknown"
    if p >= 0.001:
        return f"{p:.3f}".rstrip("0").rstrip(".")
    if p < 1e-300:
        return "below 10⁻³⁰⁰"
    mantissa, exponent = f"{p:.0e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPT)}"


def sentence(text: str) -> str:
    """The text with a capital and a full stop."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "!", "?", "…")) or not whole else f"{whole}."


def duration(seconds: float | None) -> str:
    """0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(octets: int) -> str:
    """Bytes in decimal units, as file managers count."""
    amount = float(octets)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" or amount >= 9.95 else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} TB"


def share(part: int, whole: int) -> str:
    """A percentage that does not round a positive share to 0 % or one below 1 to 100 %."""
    percent = 100 * part / whole if whole else 0.0
    if 0 < percent < 0.01:
        return "under 0.01 %"
    if 99.99 < percent < 100:
        return "over 99.99 %"
    return f"{percent:.2f}".rstrip("0").rstrip(".") + " %"


def listed(names: Sequence[str], most: int = 12) -> str:
    """a, b, c and 5 more."""
    return ", ".join(names[:most]) + (f" and {count(len(names) - most)} more" if len(names) > most else "")


def unaudited(named: Mapping[str, Any]) -> str:
    """The columns that no check read: 'chosen' (conversations), 'notes' (texts); empty where there are none."""
    return listed([f"{column!r} ({why})" for column, why in (named.get("unaudited") or {}).items()])


def roles(named: Mapping[str, Any]) -> str:
    """The roles of the columns: image from 'img', label from 'y', no id, no source."""
    payload: Sequence[str] = named["payload"]
    parts = [f"{named['modality']} from {listed([repr(name) for name in payload], 6)}"]
    parts += [f"{role} from {named[role]!r}" if named.get(role) else f"no {role}" for role in ("label", "id", "source")]
    return ", ".join(parts)
