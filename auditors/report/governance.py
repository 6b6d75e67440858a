"""Which entries of security and governance frameworks an audit is evidence for, each with its edition.

The mapping is governance.toml beside this file. It assigns evidence to entries; it does not claim compliance.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from foretaste.types.findings import Kind, Status

FACTS = {
    "detection": "poisoning detection was performed",
    "provenance": "the audited bytes are recorded by digest",
    "evidence": "the result is kept row by row, with reasons",
    "limits": "what could not have been seen is stated",
    "attested": "a signed statement binds the result to the bytes (its signature is not checked here)",
}


@dataclass(frozen=True)
class Framework:
    """A published framework in one edition."""

    title: str
    edition: str
    date: str
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """A technique, control or article; unless `verified`, its id was taken from a secondary source."""

    framework: Framework
    id: str
    name: str
    verified: bool
    covers: frozenset[str]  # kinds of finding and FACTS


@cache
def entries() -> tuple[Entry, ...]:
    """The whole mapping. Raises ValueError for an unknown kind or fact in governance.toml: a bug of foretaste."""
    table = tomllib.loads(files("foretaste.report").joinpath("governance.toml").read_text(encoding="utf-8"))
    frameworks = {name: Framework(**facts) for name, facts in table["frameworks"].items()}
    out = tuple(
        Entry(frameworks[entry["framework"]], entry["id"], entry["name"], entry["verified"], frozenset(entry["for"]))
        for entry in table["entries"]
    )
    unknown = {name for entry in out for name in entry.covers} - {*map(str, Kind), *FACTS}
    if unknown:
        raise ValueError(f"governance.toml maps {', '.join(sorted(unknown))}, which is neither a kind nor a fact")
    return out


def facts(document: Mapping[str, Any], *, attested: bool) -> frozenset[str]:
    """Which of FACTS hold for a stored audit. Only completed runs count as detection."""
    done = any(run["status"] == Status.COMPLETED for run in document["runs"])
    held = {
        "detection": done,
        "provenance": bool(document["dataset"].get("digest")),
        "evidence": done,
        "limits": "notes" in document,
        "attested": attested,
    }
    return frozenset(name for name, holds in held.items() if holds)


def mapped(document: Mapping[str, Any], *, attested: bool = False) -> list[dict[str, Any]]:
    """The entries that a stored audit is evidence for: an object per entry and kind found or fact, in mapping order.

    `because` is "finding" or "fact"; `of` is the kind, or the fact's name; `rows` counts the rows found of a kind.
    """
    found = {kind: rows for kind, rows in document.get("counts", {}).items() if rows}
    for group in document["groups"]:
        found.setdefault(group["kind"], group["rows"])
    true = facts(document, attested=attested)
    return [line for entry in entries() for line in _lines(entry, found, true)]


def _lines(entry: Entry, found: Mapping[str, int], true: frozenset[str]) -> Iterator[dict[str, Any]]:
    framework = entry.framework
    place = {
        "framework": framework.title,
        "edition": framework.edition,
        "date": framework.date,
        "id": entry.id,
        "name": entry.name,
        "verified": entry.verified,
        "note": framework.note,
    }
    for kind in Kind:
        if kind in entry.covers and kind in found:
            yield {**place, "because": "finding", "of": str(kind), "rows": found[kind], "says": f"{kind} rows found"}
    for fact, says in FACTS.items():
        if fact in entry.covers and fact in true:
            yield {**place, "because": "fact", "of": fact, "rows": None, "says": says}
