"""Details of a refusal: how the rows of changed files differ from the manifest of the audit.

The manifest is not signed: it is used to explain a refusal, never to decide one.
"""

from __future__ import annotations

import os

from foretaste.dataset import manifest
from foretaste.dataset.diff import Change, within
from foretaste.dataset.files import find
from foretaste.errors import DataError, PlanError
from foretaste.gate.decision import GateDecision
from foretaste.report import numbers

MOST = 1 << 30  # bytes that are read at most, so that a refusal is not delayed


def rowwise(decision: GateDecision) -> tuple[str, ...]:
    """A sentence for each file that changed; empty where the gate allows the data or there is no manifest."""
    if decision.allowed or decision.attestation is None:
        return ()
    audit = os.path.dirname(decision.attestation) or "."
    try:
        old = manifest.stored(audit)
    except DataError:
        return ()
    if old is None:
        return ()
    was = old.facts["files"]
    root, found = find(decision.places)
    paths = {file.name: file.path for file in found}
    # A file with the bytes of another audited file was renamed or swapped, which the decision already says.
    changed = [name for name, digest in decision.files.items() if name in was and str(digest) not in was.values()]
    if any("://" in paths[name] for name in changed) or sum(os.path.getsize(paths[name]) for name in changed) > MOST:
        return (f"what became of the rows: foretaste diff {audit} {' '.join(decision.places)}",)
    out = []
    for name in changed:
        try:
            counts = within(old, root, [name]).counts
        except (DataError, PlanError) as error:
            out.append(f"{name}: its rows cannot be compared with those that were audited: {error}")
            continue
        moved = counts[Change.REORDERED]
        others = ", ".join(f"{numbers.count(number)} {change}" for change, number in counts.items() if number)
        if not others:
            out.append(f"{name}: holds the same rows in the same order, written otherwise")
        elif sum(counts.values()) == moved:
            out.append(f"{name}: holds the same rows in another order, {numbers.count(moved)} of them moved")
        else:
            out.append(f"{name}: of its rows {others}")
    return tuple(out)
