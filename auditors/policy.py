"""gate.toml → Policy: what an audit must have done and found before a training job may read the data.

A policy judges facts: what a signed audit says it looked at and found. It needs neither the data nor the detectors.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from auditors.errors import PlanError
from auditors.values import Digest, Kind, Status, Verdict

CLOCKS = timedelta(minutes=5)  # two machines' clocks may differ by this much
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


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

    required    registered detectors (or "detector on embedder") of which a run completed and none failed
    plans       digests of the plans that count; any if empty
    limits      by kind; kinds without a limit are left to the audit's verdict
    warned      "allow" or "refuse" an audit that warned
    min_fdr     an audit with a smaller false discovery rate looked away: it accuses nobody
    max_fdr     an audit with a larger one accuses at random
    max_age     of the audit, since its end
    afterwards  "allow" or "refuse" attestations that were not signed by the audit itself but later
    """

    required: tuple[str, ...] = ("spectral-signature",)
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
class Ran:
    """How one detector on one embedder ended; `kind` and `embedder_kind` are their registered names."""

    name: str
    kind: str
    embedder: str
    embedder_kind: str
    status: str
    reason: str


@dataclass(frozen=True)
class Finding:
    """A group that was found. `certain` is False for scattered rows that were merely listed."""

    kind: str
    label: str | None
    rows: int
    certain: bool
    reason: str


@dataclass(frozen=True)
class Facts:
    """What an attestation says, once its signature has been checked."""

    dataset: Digest
    verdict: Verdict  # the audit's
    result: Verdict  # after the policy that it was signed under
    reason: str
    rows: int
    counts: Mapping[str, int]  # flagged rows by kind
    groups: tuple[Finding, ...]
    runs: tuple[Ran, ...]
    fdr: float
    plan: Digest
    ended: datetime
    afterwards: bool


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
    for required in policy.required:
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


def _waived(group: Finding, waivers: Sequence[Waiver]) -> bool:
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


# Reading


def load(path: str) -> Policy:
    """Read a policy file. Raises PlanError where it cannot be read or says what foretaste does not know."""
    try:
        with open(path, "rb") as file:
            return parse(tomllib.load(file))
    except OSError as error:
        raise PlanError(f"{path}: the policy cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"{path}: the policy is not TOML: {error}") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> Policy:
    """A policy from its TOML document; what it leaves out is as in DEFAULT, kinds without a limit included."""
    known = ("required", "plans", "limits", "warned", "min_fdr", "max_fdr", "max_age", "afterwards", "waiver")
    _known(document, known, "the policy")
    given = dict(document)
    out: dict[str, Any] = {}
    if "required" in given:
        out["required"] = tuple(_texts(given["required"], "required"))
    if "plans" in given:
        out["plans"] = tuple(_digest(one, "sha256", "plans") for one in _texts(given["plans"], "plans"))
    if "limits" in given:
        out["limits"] = {**DEFAULT.limits, **_limits_of(given["limits"])}
    for name in ("warned", "afterwards"):
        if name in given:
            if given[name] not in ("allow", "refuse"):
                raise PlanError(f"{name} must be 'allow' or 'refuse', got {given[name]!r}")
            out[name] = given[name]
    for name in ("min_fdr", "max_fdr"):
        if name in given:
            out[name] = _share(given[name], name)
    if "max_age" in given:
        out["max_age"] = _length(given["max_age"])
    if "waiver" in given:
        if not isinstance(given["waiver"], list):
            raise PlanError(f"waivers are written as [[waiver]] tables, got {given['waiver']!r}")
        out["waivers"] = tuple(_waiver(one, f"[[waiver]] {n}") for n, one in enumerate(given["waiver"], 1))
    policy = Policy(**out)
    if policy.min_fdr > policy.max_fdr:
        raise PlanError(f"min_fdr must not exceed max_fdr, got {policy.min_fdr:g} and {policy.max_fdr:g}")
    return policy


def _limits_of(table: Any) -> dict[Kind, Limit]:
    _known(_table(table, "[limits]"), [str(kind) for kind in Kind], "[limits]")
    out = {}
    for kind, limit in table.items():
        where = f"[limits.{kind}]"
        _known(_table(limit, where), ("rows", "share"), where)
        rows, share = limit.get("rows"), limit.get("share")
        if rows is not None and (not isinstance(rows, int) or isinstance(rows, bool) or rows < 0):
            raise PlanError(f"{where} rows must be a whole number of at least 0, got {rows!r}")
        out[Kind(kind)] = Limit(rows, None if share is None else _share(share, f"{where} share"))
    return out


def _waiver(table: Any, where: str) -> Waiver:
    _known(_table(table, where), ("dataset", "group", "by", "why", "until"), where)
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
        group = _table(table["group"], f"{where} group")
        _known(group, ("kind", "label"), f"{where} group")
        if group.get("kind") not in list(Kind):
            raise PlanError(f"{where} group kind must be one of {', '.join(Kind)}, got {group.get('kind')!r}")
        kind, label = Kind(group["kind"]), group.get("label")
        if label is not None and not isinstance(label, str):
            raise PlanError(f"{where} group label must be a text, got {label!r}")
    return Waiver(table["by"], table["why"], _moment(table["until"], f"{where} until"), dataset, kind, label)


def _moment(value: Any, where: str) -> datetime:
    """A date holds to its end in UTC; a moment needs an offset."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise PlanError(f"{where} must be a date or a time with an offset such as Z, got {value.isoformat()}")
        return value.astimezone(UTC)
    if isinstance(value, date):
        return datetime.combine(value, time(), UTC) + timedelta(days=1)
    raise PlanError(f"{where} must be a date such as 2027-01-31 without quotes, got {value!r}")


def _length(value: Any) -> timedelta:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([mhdw])", value) if isinstance(value, str) else None
    if not match:
        raise PlanError(f"max_age must be a number and m, h, d or w, such as '7d' or '36h', got {value!r}")
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


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} must be a table, got {value!r}")
    return value


def _known(table: Mapping[str, Any], names: Sequence[str], where: str) -> None:
    for name in table:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}"
            raise PlanError(f"{where} has no setting {name!r}; {hint}")
