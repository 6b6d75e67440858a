"""Policies: what an audit must have checked, and may have found, before a training job reads the data.

A policy is applied to the facts in a signed attestation; neither the data nor the detectors are needed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from foretaste.gate import columns
from foretaste.gate.columns import Reading
from foretaste.gate.facts import CLOCKS, AttestedFinding, Facts, contradictions
from foretaste.gate.times import stamp
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind, Status, Verdict

DEFAULT_PLAN, ANY_PLAN = "default", "any"


@dataclass(frozen=True)
class Limit:
    """The most flagged rows of a kind that are allowed, as a number and as a share of all rows; None for no limit."""

    rows: int | None = None
    share: float | None = None


@dataclass(frozen=True)
class Waiver:
    """Accepts known findings, on a named person's responsibility and for a limited time.

    It covers the findings of one dataset, of one group (kind and label), or both. It waives findings only, never a
    check that did not run, a crash, an audit that is too old, or data other than what was audited.
    """

    by: str
    why: str
    until: datetime  # exclusive, with a UTC offset
    dataset: Digest | None = None
    kind: Kind | None = None
    label: str | None = None  # the group's class; None for a group of no class


@dataclass(frozen=True)
class Policy:
    """What a gate requires of an audit.

    required    detectors ("detector" or "detector on embedder", registered names) of which at least one run must have
                completed, for data with two or more classes
    unlabelled  the same for data without labels or with a single class, where classes cannot be compared
    plans       digests of the accepted plans; DEFAULT_PLAN for the plan that the release audits such data by, ANY_PLAN
                for every plan
    min_tested  smallest accepted share of the rows in classes that a required detector tested: classes with too few
                rows are not
    limits      most flagged rows by kind, as a number or a share of all rows; kinds without a limit are left to the
                verdict. No row that the audit could not read is allowed by default: training may be able to read it
    warned      "allow" or "refuse" an audit whose verdict is warned
    min_fdr     smallest accepted false discovery rate of the audit: with a smaller one next to nothing is found
    max_fdr     largest accepted false discovery rate of the audit: with a larger one many findings are false
    max_age     largest time since the end of the audit
    afterwards  "allow" or "refuse" an attestation that was signed after the audit instead of by it
    waivers     findings that are accepted, by whom, why and until when
    reads       the columns that the jobs behind this gate read; None where a job says so itself
    """

    required: tuple[str, ...] = ("spectral-signature",)
    unlabelled: tuple[str, ...] = ("trigger-enrichment", "flood")
    plans: tuple[Digest | str, ...] = (DEFAULT_PLAN,)
    min_tested: float = 0.5
    limits: Mapping[Kind, Limit] = field(
        default_factory=lambda: {Kind.BACKDOOR: Limit(rows=0), Kind.INTEGRITY: Limit(rows=0)}
    )
    warned: str = "allow"
    min_fdr: float = 0.001
    max_fdr: float = 0.1
    max_age: timedelta = timedelta(days=30)
    afterwards: str = "refuse"
    waivers: tuple[Waiver, ...] = ()
    reads: Reading | None = None

    def canonical(self) -> bytes:
        """The policy with all defaults as canonical JSON: equal policies give equal bytes."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"), default=str).encode()

    @property
    def digest(self) -> Digest:
        """sha256 of `canonical`."""
        return Digest("sha256", hashlib.sha256(self.canonical()).hexdigest())


DEFAULT = Policy()


def decide(policy: Policy, facts: Facts, now: datetime) -> tuple[str, ...]:
    """The reasons why these facts do not satisfy the policy, a sentence each; empty where they do."""
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
    read = columns.refusals(facts.columns, policy.reads)
    return (*contradictions(facts), *found, *_coverage(policy, facts), *read, *_age(policy, facts, now))


def decide_at_signing(policy: Policy, facts: Facts) -> tuple[str, ...]:
    """The same at the end of an audit, where it does not matter yet when it is signed, and what a job will read."""
    audited = facts.columns and replace(facts.columns, chosen=(), unread=())
    return decide(policy, replace(facts, afterwards=False, columns=audited), facts.ended)


def _verdict(policy: Policy, facts: Facts, waivers: Sequence[Waiver]) -> list[str]:
    """Reasons from the audit's verdict and from the result it was signed with."""
    if facts.verdict is Verdict.INCONCLUSIVE:
        return [f"the audit was inconclusive: {facts.reason}"]  # nothing was found that could be waived
    if _wholly(waivers):
        return []
    organised = [group for group in facts.groups if group.certain]
    open_ = [group for group in organised if not _waived(group, waivers)]
    if facts.verdict is Verdict.FAILED:
        # Waived only if every group that can have caused the verdict is; crashes are refused in _coverage.
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
            out.append(f"{rows} rows are flagged as {kind}, and the policy allows {limit.rows}{_known(kind, rows)}")
        if limit.share is not None and rows > limit.share * facts.rows:
            out.append(
                f"{rows} of {facts.rows} rows are flagged as {kind}, and the policy allows {limit.share:.4%}"
                f"{_known(kind, rows)}"
            )
    return out


def _known(kind: Kind, rows: int) -> str:
    """How to let in rows that cannot be read and are known; the audit is signed by the same policy."""
    if kind is not Kind.INTEGRITY:
        return ""
    return (
        f": they could not be looked at and training may be able to read them; repair or remove them, or allow them in "
        f"the policy of audit and gate with [limits.integrity] rows = {rows}"
    )


def _coverage(policy: Policy, facts: Facts) -> list[str]:
    """Reasons from checks that did not run or did not complete; they cannot be waived."""
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
            ends = "; ".join(dict.fromkeys(f"{run.status}, {run.reason}" if run.reason else run.status for run in runs))
            out.append(f"the policy requires {required}, which did not complete: {ends}")
        elif policy.min_tested > 0:
            out += _tested(required, [run.rows for run in runs], policy, facts)
    if not any(run.status == COMPLETED for run in facts.runs):
        out.append("no detector of the audit completed, so nothing can be said of the data")
    if not {facts.plan, ANY_PLAN, *([DEFAULT_PLAN] if facts.ordinary else [])} & set(policy.plans):
        known = f"the policy's plans are {_named(policy)}: name it in plans of gate.toml"
        out.append(f"the audit followed the plan {facts.plan}, and {known}")
    if not policy.min_fdr <= facts.fdr <= policy.max_fdr:
        out.append(
            f"the audit's false discovery rate is {facts.fdr:g}, and the policy allows {policy.min_fdr:g} to "
            f"{policy.max_fdr:g}"
        )
    if facts.afterwards and policy.afterwards == "refuse":
        out.append("the audit was not signed when it ran but later, which the policy refuses (afterwards)")
    return out


def _tested(required: str, rows: Sequence[int | None], policy: Policy, facts: Facts) -> list[str]:
    stated = [tested for tested in rows if tested is not None]
    if not stated:
        return [
            f"the attestation does not say how many rows {required} tested, and the policy requires it (min_tested)"
        ]
    if max(stated) >= policy.min_tested * facts.rows:
        return []
    return [
        f"{required} tested classes with {max(stated)} of {facts.rows} rows, as other classes have too few, and the "
        f"policy requires {policy.min_tested:.0%} (min_tested)"
    ]


def _age(policy: Policy, facts: Facts, now: datetime) -> list[str]:
    age, ended = now - facts.ended, stamp(facts.ended)
    if age < -CLOCKS:
        return [f"the audit says it ended at {ended}, which has not come yet"]
    if age > policy.max_age:
        return [f"the audit is {span(age)} old (ended {ended}), and the policy allows {span(policy.max_age)}"]
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


def _named(policy: Policy) -> str:
    words = {DEFAULT_PLAN: "the release's default plan"}
    return ", ".join(words.get(str(plan), str(plan)) for plan in policy.plans) or "none"


def _day(end: datetime) -> str:
    """The last day before an exclusive end; before the first moment there is none."""
    try:
        return (end - timedelta(seconds=1)).date().isoformat()
    except OverflowError:
        return end.date().isoformat()


def span(length: timedelta) -> str:
    """A duration as policies write it, rounded down to a whole unit: 7d, 36h, 5m."""
    minutes = length // timedelta(minutes=1)
    if minutes >= 2880:
        return f"{minutes // 1440}d"
    return f"{minutes // 60}h" if minutes >= 120 else f"{minutes}m"
