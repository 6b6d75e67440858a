"""What to do after an audit, as commands that can be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from foretaste.types.findings import Kind


def advice(document: Mapping[str, Any], folder: str) -> list[tuple[str, str]]:
    """Pairs of (what it does, command), the most useful first."""
    where = shlex.quote(folder)
    if not document["flagged"]:
        return []
    kinds = [kind for kind, rows in document.get("counts", {}).items() if rows]
    commands = [
        ("Look at them, and decide", f"foretaste review {where}"),
        ("The most suspicious as a list", f"foretaste show {where} --top 50"),
        ("Take the flagged rows elsewhere", f"foretaste show {where} --csv > flagged.csv"),
    ]
    if any(Kind(kind).fails_audit for kind in kinds):
        commands += [
            ("Go on without the accused rows", f"foretaste export {where} cleaned"),
            ("Audit what is left: large groups hide rows", "foretaste audit cleaned/clean"),
        ]
    if len(kinds) > 1:
        commands.insert(1, (f"Only the {kinds[0]} findings", f"foretaste show {where} --kind {shlex.quote(kinds[0])}"))
    return commands
