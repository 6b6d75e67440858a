"""The section on security testing of a model card, system card or Hugging Face dataset card, as Markdown.

It states what was tested, by digest, how, what was found, and the limits of detection. Text from the dataset is
escaped: a class name can neither end a table nor start a heading, a link or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from foretaste.report import numbers
from foretaste.report.blind_spots import unseen
from foretaste.report.error_rates import certainty
from foretaste.report.visible import visible

FILES = 20  # listed by name
LONGEST = 400  # characters of one text

_SPECIAL = re.compile(r"[\\`*_\[\]<>&|~#$!]|://|(?<=www)\.", re.IGNORECASE)


def card(document: Mapping[str, Any], *, plan: str) -> str:
    """The section for one stored audit; `plan` is the digest of its plan."""
    sections: Sequence[tuple[str, Iterable[str]]] = (
        ("What was tested", _tested(document)),
        ("How", _how(document, plan)),
        ("What was found", _found(document)),
        ("Error rate", map(_text, certainty(document))),
        ("What could not have been seen", _unseen(document)),
    )
    lines = ["## Security testing of the training data", ""]
    lines += [f"**{_text(document['verdict']).capitalize()}.** {_text(document['reason'])}", ""]
    for title, body in sections:
        lines += [f"### {title}", "", *body, ""]
    return "\n".join(lines)


def _tested(document: Mapping[str, Any]) -> Iterator[str]:
    data = document["dataset"]
    extent = [numbers.plural(document["rows"], "row"), numbers.plural(len(data["files"]), "Parquet file")]
    extent += [numbers.plural(len(data["classes"]), "class", "classes")] if data.get("classes") else ["no labels"]
    yield f"- {', '.join(extent)}; {_text(numbers.roles(document['roles']))}"
    yield f"- Digest of the dataset: {_code(data['digest'])}"
    yield ""
    files = data["files"]
    if files:
        rows = [
            (_text(one["name"]), numbers.count(one["rows"]), numbers.size(one["size"]), _code(one["digest"]))
            for one in files[:FILES]
        ]
        yield from _table(("file", "rows", "size", "digest"), rows)
    if len(files) > FILES:
        yield ""
        yield f"and {numbers.plural(len(files) - FILES, 'more file')}, all covered by the digest of the dataset."


def _how(document: Mapping[str, Any], plan: str) -> Iterator[str]:
    settings, versions = document.get("plan", {}), document.get("versions", {})
    release = f" {_text(versions['foretaste'])}" if "foretaste" in versions else ""
    yield f"Audited by foretaste{release}, which needs no trusted rows, poison rate or target class."
    yield ""
    yield f"- Plan: {_code(plan)}, seed {_text(settings.get('seed', 'unknown'))}"
    if "code" in versions:
        yield f"- Code that decides: {_code(versions['code'])}"
    others = ", ".join(
        f"{_text(name)} {_text(number)}" for name, number in versions.items() if name not in ("foretaste", "code")
    )
    yield f"- Versions: {others or 'not recorded'}"
    kinds = settings.get("embedders", {})
    embedders = ", ".join(f"{_text(name)} ({_text(one.get('kind', name))})" for name, one in kinds.items())
    yield f"- Embedders: {embedders or 'not recorded'}"
    yield ""
    runs = [(_text(run["detector"]), _text(run["embedder"]), _text(run["status"])) for run in document["runs"]]
    yield from _table(("detector", "on", "run"), runs)


def _found(document: Mapping[str, Any]) -> Iterator[str]:
    flagged = document["flagged"]
    if not document["groups"]:
        yield "No suspicious group of rows was found."
    else:
        rows = [
            (
                _text(one["kind"]),
                "" if one["label"] is None else _text(one["label"]),
                numbers.count(one["rows"]),
                numbers.probability(one["p_value"]),
                _text(", ".join(one["detectors"])),
                _text(one["reason"]),
            )
            for one in document["groups"]
        ]
        yield from _table(("kind", "class", "rows", "adjusted p-value", "by", "why"), rows)
    yield ""
    yield f"{numbers.plural(flagged, 'row')} of {numbers.count(document['rows'])} flagged."


def _unseen(document: Mapping[str, Any]) -> Iterator[str]:
    for run in document["runs"]:
        if run["status"] != "completed":
            name = f"{_text(run['detector'])} on {_text(run['embedder'])}"
            yield f"- {name}: {_text(run['status'])}, {_text(run['reason'])}"
    yield from (f"- {_text(note)}" for note in document.get("notes", ()))
    yield from (f"- {_text(sentence)}" for sentence in unseen(document))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|{'---|' * len(columns)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _text(value: object) -> str:
    """Any text as one line of Markdown without markup."""
    shown = visible(str(value))
    shown = shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    return _SPECIAL.sub(lambda match: "".join(f"\\{mark}" if mark != "/" else mark for mark in match[0]), shown)


def _code(value: object) -> str:
    """A digest as code; anything else as text."""
    shown = str(value)
    return f"`{shown}`" if re.fullmatch(r"[\w.-]+:[0-9a-f]+", shown) else _text(shown)
