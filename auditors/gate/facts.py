"""What an attestation states of an audit, and where its statements contradict each other.

An audit cannot state a contradiction, whatever it finds. So one shows that the audit, or who signed for it, is not to
be believed, and no policy admits data on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from foretaste.gate.times import stamp
from foretaste.types.dataset import NamedFiles
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind, Status, Verdict

CLOCKS = timedelta(minutes=5)  # tolerated difference between two clocks, or of one clock that is set back
BADNESS = {Verdict.PASSED: 0, Verdict.WARNED: 1, Verdict.FAILED: 2}
CRASHED, DONE = str(Status.FAILED), str(Status.COMPLETED)
_WARN = tuple(str(kind) for kind in Kind if not kind.fails_audit)


@dataclass(frozen=True)
class AttestedRun:
    """How one run ended; `kind` and `embedder_kind` are the registered names of its detector and embedder."""

    name: str
    kind: str
    embedder: str
    embedder_kind: str
    status: str
    reason: str


@dataclass(frozen=True)
class AttestedFinding:
    """A finding. `certain` is False for scattered rows that are listed without a group test."""

    kind: str
    label: str | None
    rows: int
    certain: bool
    reason: str


@dataclass(frozen=True)
class Facts:
    """What an attestation states, after its signature was verified.

    verdict     the verdict of the audit
    result      the same, or failed if the policy at signing refused the audit
    counts      number of flagged rows by kind
    ended       when the audit ended
    afterwards  whether it was signed after the audit instead of by it
    classes     number of classes; None in attestations of release 0.1, which do not state it
    named       the files that rows name by path, without columns if there are none; None where it is not stated, as
                before release 0.2
    flagged     number of flagged rows; None where it is not stated
    started     when the audit started; None where it is not stated
    suspicious  the runs that crashed or found an attack, as in-toto's failedTests names them
    unknown     annotations that this release does not know
    """

    dataset: Digest
    verdict: Verdict
    result: Verdict
    reason: str
    rows: int
    counts: Mapping[str, int]
    groups: tuple[AttestedFinding, ...]
    runs: tuple[AttestedRun, ...]
    fdr: float
    plan: Digest
    ended: datetime
    afterwards: bool
    classes: int | None = None
    named: NamedFiles | None = None
    flagged: int | None = None
    started: datetime | None = None
    suspicious: tuple[str, ...] = ()
    unknown: Mapping[str, Any] = field(default_factory=dict)


def contradictions(facts: Facts) -> tuple[str, ...]:
    """What in these facts cannot all be true of one audit, a sentence each; empty where nothing is."""
    return tuple(f"the attestation contradicts itself: {found}" for found in _contradictions(facts))


def _contradictions(facts: Facts) -> Iterator[str]:
    yield from _unknown(facts)
    yield from _verdict(facts)
    yield from _numbers(facts)
    if facts.started is not None and not facts.afterwards and facts.started - facts.ended > CLOCKS:
        yield f"the audit ended at {stamp(facts.ended)}, before it started at {stamp(facts.started)}"


def _unknown(facts: Facts) -> Iterator[str]:
    kinds, ends = [str(kind) for kind in Kind], [str(status) for status in Status]
    for kind in dict.fromkeys([*facts.counts, *(group.kind for group in facts.groups)]):
        if kind not in kinds:
            yield f"it has a finding of the kind {kind!r}, and there are {', '.join(kinds)}"
    for run in facts.runs:
        if run.status not in ends:
            yield f"{run.name} on {run.embedder} ended as {run.status!r}, and a run can be {', '.join(ends)}"
    endings: dict[str, str] = {}
    for run in facts.runs:
        name = f"{run.name} on {run.embedder}"
        if endings.setdefault(name, run.status) != run.status:
            yield f"{name} ended as {endings[name]} and as {run.status}"
    for group in facts.groups:
        if group.kind in kinds and Kind(group.kind).fails_audit and not group.certain:
            yield f"a {group.kind} group was found by a test and cannot be uncertain"


def _verdict(facts: Facts) -> Iterator[str]:
    """A verdict that is better than what was found and what was done."""
    certain = [group for group in facts.groups if group.certain]
    demands = [
        *((Verdict.FAILED, f"a {one.kind} group was found: {one.reason}") for one in certain if one.kind not in _WARN),
        *((Verdict.FAILED, f"{run.name} on {run.embedder} crashed") for run in facts.runs if run.status == CRASHED),
        *((Verdict.FAILED, f"{name} is among its failed tests") for name in facts.suspicious),
        *([] if facts.rows else [(Verdict.FAILED, "it has looked at no row")]),
        *([] if any(run.status == DONE for run in facts.runs) else [(Verdict.FAILED, "no run completed")]),
        *((Verdict.WARNED, f"a {one.kind} group was found: {one.reason}") for one in certain if one.kind in _WARN),
        *((Verdict.WARNED, f"{rows} rows cannot be read") for rows in [facts.counts.get(Kind.INTEGRITY, 0)] if rows),
    ]
    broken = [because for least, because in demands if BADNESS[facts.verdict] < BADNESS[least]]
    if broken:
        yield f"the audit {facts.verdict}, and {broken[0]}"
    if facts.result not in (facts.verdict, Verdict.FAILED):
        yield f"the audit {facts.verdict}, and was signed as {facts.result}"


def _numbers(facts: Facts) -> Iterator[str]:
    """Numbers of rows and classes that do not fit each other."""
    for kind, rows in facts.counts.items():
        if rows > facts.rows:
            yield f"{rows} of {facts.rows} rows are flagged as {kind}"
    for group in facts.groups:
        known = facts.counts.get(group.kind, 0)
        if group.rows > known:
            yield f"a {group.kind} group has {group.rows} rows, and {known} rows are flagged as {group.kind}"
    for kind, rows in facts.counts.items():
        # Rows of groups of outliers are flagged as backdoors: what they have in common may be one.
        holders = (kind, Kind.OUTLIER) if kind == Kind.BACKDOOR else (kind,)
        if rows and not any(group.kind in holders for group in facts.groups):
            yield f"{rows} rows are flagged as {kind}, and no {kind} group was found"
    if facts.flagged is not None:
        least, most = max(facts.counts.values(), default=0), min(sum(facts.counts.values()), facts.rows)
        if not least <= facts.flagged <= most:
            yield f"{facts.flagged} rows are flagged, and by kind they are {_listed(facts.counts)}"
    if facts.classes is not None:
        labels = {group.label for group in facts.groups if group.label is not None}
        if len(labels) > facts.classes:
            yield f"it has findings in {len(labels)} classes, and there are {facts.classes}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{rows} {kind}" for kind, rows in counts.items()) or "none"
