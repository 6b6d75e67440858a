"""What an audit must have done and found before a training job may read the data.

A policy judges facts: what a signed audit says it looked at and found. It needs neither the data nor the detectors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from foretaste.types.digests import Digest
from foretaste.types.findings import Kind, Status, Verdict

CLOCKS = timedelta(minutes=5)  # two machines' clocks may differ by this much


@dataclass(frozen=True)
class Limit:
    """How many flagged rows of a kind are let through, as a number and as a share of all rows; None for any."""

    rows: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class Waiver:
    """A person takes findings on themselves, for a reason and for a time: all of one dataset's, or those of one group.

    A waiver forgives what was found. It never forgives what was not looked at, a crash, an old audit or other bytes.
    """

    by: str
    why: str
    until: datetime  # with an offset; the waiver holds before it
    dataset: Digest | None = None
    kind: Kind | None = None
    label: str | None = None  # the group's class; None for a group of no class


@dataclass(frozen=True)
class Policy:
    """What a gate asks of an audit.

    required    of labelled data: registered detectors (or "detector on embedder") of which a run completed
    unlabelled  the same of data without labels, or of a single class: no class can be held against another there
    plans       digests of the plans that count; any if empty
    limits      by kind; kinds without a limit are left to the audit's verdict
    warned      "allow" or "refuse" an audit that warned
    min_fdr     an audit with a smaller false discovery rate looked away: it accuses nobody
    max_fdr     an audit with a larger one accuses at random
    max_age     of the audit, since its end
    afterwards  "allow" or "refuse" attestations that were not signed by the audit itself but later
    """

    required: tuple[str, ...] = ("spectral-signature",)
    unlabelled: tuple[str, ...] = ("trigger-enrichment", "flood")
    plans: tuple[Digest, ...] = ()
    limits: Mapping[Kind, Limit] = field(
        default_factory=lambda: {Kind.BACKDOOR: Limit(rows=0), Kind.INTEGRITY: Limit(share=0.01)}
    )
    warned: str = "allow"
    min_fdr: float = 0.001
    max_fdr: float = 0.1
    max_age: timedelta = timedelta(days=30)
    afterwards: str = "refuse"
    waivers: tuple[Waiver, ...] = ()

    def canonical(self) -> bytes:
        """The policy with every default spelt out, the same bytes for the same meaning."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), default=str).encode()

    @property
    def digest(self) -> Digest:
        """sha256 of `canonical`."""
        return Digest("sha256", hashlib.sha256(self.canonical()).hexdigest())


DEFAULT = Policy()


@dataclass(frozen=True)
class AttestedRun:
    """How one detector on one embedder ended; `kind` and `embedder_kind` are their registered names."""

    name: str
    kind: str
    embedder: str
    embedder_kind: str
    status: str
    reason: str


@dataclass(frozen=True)
class AttestedFinding:
    """A group that was found. `certain` is False for scattered rows that were merely listed."""

    kind: str
    label: str | None
    rows: int
    certain: bool
    reason: str


@dataclass(frozen=True)
class Facts:
    """What an attestation says, once its signature has been checked.

    verdict     the audit's
    result      the same after the policy that it was signed under
    counts      flagged rows by kind
    ended       when the audit ended
    afterwards  whether somebody signed it later than the audit itself
    classes     None where the attestation does not say, as those of 0.1 do not
    unknown     what a later release says besides
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
    unknown: Mapping[str, Any] = field(default_factory=dict)


def decide(policy: Policy, facts: Facts, now: datetime) -> tuple[str, ...]:
    """Why these facts do not satisfy the policy, a sentence each; empty where they do."""
    expired: list[Waiver] = []
    valid: list[Waiver] = []
    for waiver in policy.waivers:
        if _concerns(waiver, facts):
            (valid if now < waiver.until else expired).append(waiver)
    found = [*_verdict(policy, facts, valid), *_limits(policy, facts, valid)]
    if found:
        found += [
            f"the waiver of {waiver.by} for {_subject(waiver)} expired on {_day(waiver.until)}" for waiver in expired
        ]
    return (*found, *_looked(policy, facts), *_when(policy, facts, now))


def _verdict(policy: Policy, facts: Facts, waivers: Sequence[Waiver]) -> list[str]:
    """The audit's verdict, and what it was signed as; both must let the data through."""
    if _wholly(waivers):
        return []
    organised = [group for group in facts.groups if group.certain]
    open_ = [group for group in organised if not _waived(group, waivers)]
    if facts.verdict is Verdict.FAILED:
        # A failed verdict is forgiven only where every group that can have caused it is; crashes are judged below.
        return [] if organised and not open_ else [f"the audit failed: {facts.reason}"]
    if facts.result is Verdict.FAILED:
        return ["the audit was signed as failed by the policy it ran under; run it again with --policy of this gate"]
    if facts.verdict is Verdict.WARNED and policy.warned == "refuse" and (open_ or not organised):
        return [f"the audit warned, and the policy refuses warnings: {facts.reason}"]
    return []


def _limits(policy: Policy, facts: Facts, waivers: Sequence[Waiver]) -> list[str]:
    if _wholly(waivers):
        return []
    out = []
    for kind, limit in policy.limits.items():
        waived = sum(group.rows for group in facts.groups if group.kind == kind and _waived(group, waivers))
        rows = max(facts.counts.get(kind, 0) - waived, 0)
        if limit.rows is not None and rows > limit.rows:
            out.append(f"{rows} rows are flagged as {kind}, and the policy allows {limit.rows}")
        if limit.share is not None and rows > limit.share * facts.rows:
            out.append(f"{rows} of {facts.rows} rows are flagged as {kind}, and the policy allows {limit.share:.4%}")
    return out


def _looked(policy: Policy, facts: Facts) -> list[str]:
    """Whether enough was looked at: no waiver forgives this."""
    failed = [f"{run.name} on {run.embedder} crashed: {run.reason}" for run in facts.runs if run.status == FAILED]
    out = [*failed]
    compared = facts.classes is None or facts.classes > 1
    for required in policy.required if compared else policy.unlabelled:
        detector, _, embedder = required.partition(" on ")
        runs = [
            run for run in facts.runs if run.kind == detector and (embedder in ("", run.embedder, run.embedder_kind))
        ]
        if not runs:
            out.append(f"the policy requires {required}, which the audit did not run")
        elif not any(run.status == COMPLETED for run in runs):
            said = "; ".join(dict.fromkeys(f"{run.status}, {run.reason}" if run.reason else run.status for run in runs))
            out.append(f"the policy requires {required}, which did not complete: {said}")
    if not any(run.status == COMPLETED for run in facts.runs):
        out.append("no detector of the audit completed, so nothing can be said of the data")
    if policy.plans and facts.plan not in policy.plans:
        out.append(f"the audit followed the plan {facts.plan}, which is not among the policy's plans")
    if not policy.min_fdr <= facts.fdr <= policy.max_fdr:
        out.append(
            f"the audit's false discovery rate is {facts.fdr:g}, and the policy allows {policy.min_fdr:g} to "
            f"{policy.max_fdr:g}"
        )
    if facts.afterwards and policy.afterwards == "refuse":
        out.append("the audit was not signed when it ran but later, which the policy refuses (afterwards)")
    return out


def _when(policy: Policy, facts: Facts, now: datetime) -> list[str]:
    age = now - facts.ended
    if age < -CLOCKS:
        return [f"the audit says it ended at {facts.ended:%Y-%m-%dT%H:%M:%SZ}, which has not come yet"]
    if age > policy.max_age:
        return [
            f"the audit is {span(age)} old (ended {facts.ended:%Y-%m-%dT%H:%M:%SZ}), and the policy allows "
            f"{span(policy.max_age)}"
        ]
    return []


FAILED, COMPLETED = str(Status.FAILED), str(Status.COMPLETED)


def _concerns(waiver: Waiver, facts: Facts) -> bool:
    if waiver.dataset is not None and waiver.dataset != facts.dataset:
        return False
    return waiver.kind is None or any(_waived(group, [waiver]) for group in facts.groups)


def _wholly(waivers: Sequence[Waiver]) -> bool:
    return any(waiver.kind is None for waiver in waivers)


def _waived(group: AttestedFinding, waivers: Sequence[Waiver]) -> bool:
    return any(waiver.kind == group.kind and waiver.label == group.label for waiver in waivers)


def _subject(waiver: Waiver) -> str:
    if waiver.kind is None:
        return f"dataset {waiver.dataset}"
    return f"the {waiver.kind} group" + ("" if waiver.label is None else f" labelled {waiver.label}")


def _day(moment: datetime) -> str:
    return f"{moment - timedelta(seconds=1):%Y-%m-%d}"


def span(length: timedelta) -> str:
    """7d, 36h, 5m: a length of time as a policy writes it, rounded down to a whole unit."""
    minutes = length // timedelta(minutes=1)
    if minutes >= 2880:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes >= 120 else f"{minutes}m"
