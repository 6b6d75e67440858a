"""gate.toml → Policy, with an error message for everything that is not allowed in it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from foretaste.errors import PlanError
from foretaste.gate.policy import DEFAULT, Limit, Policy, Waiver
from foretaste.settings import known, table_of
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind

UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def chosen(policy: Policy | str | None) -> Policy:
    """The policy itself, the one in the file it names, or DEFAULT. Raises PlanError as `load`."""
    if policy is None:
        return DEFAULT
    return load(policy) if isinstance(policy, str) else policy


def load(path: str) -> Policy:
    """Read a policy file. Raises PlanError where it cannot be read or says what foretaste does not know."""
    try:
        with open(path, "rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise PlanError(f"{path}: the policy cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # tomllib says no more of an integer of thousands of digits
        raise PlanError(f"{path}: the policy is not TOML: {error}") from error
    try:
        return parse(document)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> Policy:
    """A policy from its TOML document; what is not given, limits of kinds included, is as in DEFAULT."""
    known(document, set(READERS), "the policy")
    read: dict[str, Any] = {FIELDS.get(name, name): READERS[name](value, name) for name, value in document.items()}
    policy = Policy(**read)
    if policy.min_fdr > policy.max_fdr:
        raise PlanError(f"min_fdr must not exceed max_fdr, got {policy.min_fdr:g} and {policy.max_fdr:g}")
    return policy


def _names(value: Any, where: str) -> tuple[str, ...]:
    return tuple(_texts(value, where))


def _plans(value: Any, where: str) -> tuple[Digest, ...]:
    return tuple(_digest(one, "sha256", where) for one in _texts(value, where))


def _choice(value: Any, where: str) -> str:
    if value not in ("allow", "refuse"):
        raise PlanError(f"{where} must be 'allow' or 'refuse', got {value!r}")
    return str(value)


def _waivers(value: Any, where: str) -> tuple[Waiver, ...]:
    if not isinstance(value, list):
        raise PlanError(f"waivers are written as [[{where}]] tables, got {value!r}")
    return tuple(_waiver(one, f"[[{where}]] {n}") for n, one in enumerate(value, 1))


def _limits(tables: Any, where: str) -> dict[Kind, Limit]:
    known(table_of(tables, f"[{where}]"), {str(kind) for kind in Kind}, f"[{where}]")
    out = dict(DEFAULT.limits)
    for kind, limit in tables.items():
        where = f"[limits.{kind}]"
        known(table_of(limit, where), {"rows", "share"}, where)
        rows, share = limit.get("rows"), limit.get("share")
        if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 0):
            raise PlanError(f"{where} rows must be a whole number of at least 0, got {rows!r}")
        out[Kind(kind)] = Limit(rows, None if share is None else _share(share, f"{where} share"))
    return out


def _waiver(table: Any, where: str) -> Waiver:
    known(table_of(table, where), {"dataset", "group", "by", "why", "until"}, where)
    for name in ("by", "why", "until"):
        if name not in table:
            raise PlanError(f"{where} must say {name!r}: a waiver names who takes it on, why, and until when")
    for name in ("by", "why"):
        if not isinstance(table[name], str) or not table[name].strip():
            raise PlanError(f"{where} {name} must be a text, got {table[name]!r}")
    if "dataset" not in table and "group" not in table:
        raise PlanError(f"{where} must name a dataset (its digest), a group (kind and label), or both, got neither")
    dataset = kind = label = None
    if "dataset" in table:
        dataset = _digest(table["dataset"], "dirHash1", f"{where} dataset")
    if "group" in table:
        group = table_of(table["group"], f"{where} group")
        known(group, {"kind", "label"}, f"{where} group")
        if group.get("kind") not in list(Kind):
            raise PlanError(f"{where} group kind must be one of {', '.join(Kind)}, got {group.get('kind')!r}")
        kind, label = Kind(group["kind"]), group.get("label")
        if label is not None and not isinstance(label, str):
            raise PlanError(f"{where} group label must be a text, got {label!r}")
    return Waiver(table["by"], table["why"], _moment(table["until"], f"{where} until"), dataset, kind, label)


def _moment(value: Any, where: str) -> datetime:
    """A date lasts until its end in UTC; a time needs an offset."""
    if not isinstance(value, date):
        raise PlanError(f"{where} must be a date such as 2027-01-31 without quotes, got {value!r}")
    try:
        if not isinstance(value, datetime):
            return datetime.combine(value, time(), UTC) + timedelta(days=1)
        if value.tzinfo is not None:
            return value.astimezone(UTC)
    except OverflowError:
        raise PlanError(f"{where} must end within the years 1 to 9999 of UTC, got {value.isoformat()}") from None
    raise PlanError(f"{where} must be a date or a time with an offset such as Z, got {value.isoformat()}")


def _length(value: Any, where: str) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", value) if isinstance(value, str) else None
    if not match:
        raise PlanError(f"{where} must be a number and m, h, d or w, such as '7d' or '36h', got {value!r}")
    return timedelta(**{UNITS[match[2]]: int(match[1])})


def _share(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise PlanError(f"{where} must be a number from 0 to 1, got {value!r}")
    return float(value)


def _digest(text: Any, algorithm: str, where: str) -> Digest:
    if not isinstance(text, str) or not re.fullmatch(rf"{algorithm}:[0-9a-f]{{64}}", text):
        raise PlanError(f"{where} must be {algorithm}: and 64 hexadecimal digits, got {text!r}")
    return Digest.parse(text)


def _texts(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise PlanError(f"{where} must be a list of texts, got {value!r}")
    return value


FIELDS = {"waiver": "waivers"}  # names in the file that differ from the fields of Policy
READERS: dict[str, Callable[[Any, str], Any]] = {
    "required": _names,
    "unlabelled": _names,
    "plans": _plans,
    "limits": _limits,
    "warned": _choice,
    "min_fdr": _share,
    "max_fdr": _share,
    "max_age": _length,
    "afterwards": _choice,
    "waiver": _waivers,
}
