"""Sweeps over the stored embeddings, shared by all runs, until each run has its Scorer or has ended without one."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from foretaste.cache import Store
from foretaste.decide.coverage import Rows
from foretaste.detectors.contract import Aggregator, Detector, GroupFacts, Scorer, State
from foretaste.detectors.states import moved
from foretaste.embedders.contract import Encoder, EstimatesClasses
from foretaste.embedders.store import identity, read_shard, stored
from foretaste.errors import DetectorError, PlanError
from foretaste.pipeline.engine import Job, over_shards
from foretaste.pipeline.fit import Encoders
from foretaste.pipeline.plan import Plan
from foretaste.types.dataset import Dataset, Modality, Schema, Shard
from foretaste.types.findings import Run, Status
from foretaste.types.runs import Outcome, RunKey, ended


class Swept(NamedTuple):
    """The result of sweeps: the Scorers, the runs that ended without one, and the seconds of each run."""

    scorers: Mapping[RunKey, Scorer]
    stopped: Mapping[RunKey, Outcome]
    seconds: Mapping[RunKey, float]


def sweep(job: Job, encoders: Encoders, known: Swept | None = None) -> Swept:
    """Sweep until every run of the plan has its Scorer or has ended; Scorers that are `known` are kept."""
    probs = beliefs(job, encoders)
    live, stopped = begin(job, encoders, believed=bool(probs))
    have = {} if known is None else {run: scorer for run, scorer in known.scorers.items() if run in live}
    swept = finish(job, {run: first for run, first in live.items() if run not in have}, "sweep", beliefs=probs)
    runs_in_order = [(check.name, on) for check in job.plan.checks for on in check.on]
    order = {run: at for at, run in enumerate(runs_in_order)}
    scorers = sorted({**have, **swept.scorers}.items(), key=lambda item: order[item[0].check, item[0].embedder])
    seconds = {**({} if known is None else known.seconds), **swept.seconds}
    return Swept(dict(scorers), {**stopped, **swept.stopped}, seconds)


def begin(job: Job, encoders: Encoders, *, believed: bool) -> tuple[dict[RunKey, Aggregator], dict[RunKey, Outcome]]:
    """The first Aggregator of every run on these encoders, or how the run ended before it.

    `believed` says whether every batch will carry class probabilities.
    """
    live: dict[RunKey, Aggregator] = {}
    stopped: dict[RunKey, Outcome] = {}
    for check in job.plan.checks:
        for on in check.on:
            encoder = encoders.get(on)
            if encoder is None:
                continue
            if isinstance(encoder, Outcome):
                stopped[RunKey(check.name, on, "")] = encoder
                continue
            run = RunKey(check.name, on, identity(encoder))
            first = attempt(check.settings.begin, _schema(job.dataset, encoder, believed=believed))
            if isinstance(first, Outcome):
                # A run that does not apply only because the embedder of the beliefs failed counts as failed.
                lost = encoders.get(job.plan.decide.beliefs)
                failed = isinstance(lost, Outcome) and lost.status is Status.FAILED
                stopped[run] = lost if failed and isinstance(lost, Outcome) else first
            else:
                live[run] = first
    return live, stopped


def finish(job: Job, live: dict[RunKey, Aggregator], stage: str, *, beliefs: str) -> Swept:
    """Sweep until every `live` run has its Scorer or has ended; each sweep is shared by all of them.

    `beliefs` is the identity of the encoder whose class probabilities every batch carries, "" for none.
    """
    scorers: dict[RunKey, Scorer] = {}
    stopped: dict[RunKey, Outcome] = {}
    seconds: dict[RunKey, float] = {}
    detectors = {check.name: check.settings for check in job.plan.checks}
    turn = 0
    while live:
        turn += 1
        start = time.monotonic()
        work = partial(fold_shard, live=live, dataset=job.dataset, folder=job.store, device=job.device, beliefs=beliefs)
        total: dict[RunKey, Any] | None = None
        for states in over_shards(job, f"{stage} {turn}", work):
            total = states if total is None else merge(live, total, states)
        following: dict[RunKey, Aggregator] = {}
        for run, aggregator in live.items():
            state = (total or {})[run]
            if not isinstance(state, Outcome):
                state = attempt(_next, aggregator, moved(state, job.device), detectors[run.check], job.dataset)
            if isinstance(state, Outcome):
                stopped[run] = state
            elif isinstance(state, Scorer):
                scorers[run] = state
            else:
                following[run] = state
        for run in live:
            seconds[run] = seconds.get(run, 0.0) + (time.monotonic() - start) / len(live)
        live = following
    return Swept(scorers, stopped, seconds)


def beliefs(job: Job, encoders: Encoders) -> str:
    """Identity of the encoder whose class probabilities every batch carries; "" where there is none."""
    name = job.plan.decide.beliefs
    encoder = encoders.get(name)
    if encoder is None or isinstance(encoder, Outcome):
        return ""
    if not isinstance(encoder, EstimatesClasses):
        raise PlanError(f"[decide] beliefs must name an embedder that estimates class probabilities, {name!r} does not")
    return identity(encoder)


def runs(plan: Plan, encoders: Encoders, swept: Swept, rows: Rows) -> tuple[Run, ...]:
    """How every run of the plan ended, in the plan's order, with the `rows` that it tested."""
    out = []
    for check in plan.checks:
        for on in check.on:
            encoder = encoders[on]
            run = RunKey(check.name, on, "" if isinstance(encoder, Outcome) else identity(encoder))
            end = swept.stopped.get(run)
            if end is None and run not in swept.scorers:
                end = Outcome(Status.FAILED, "it never finished")
            status, reason = (Status.COMPLETED, "") if end is None else (end.status, end.reason)
            seconds = round(swept.seconds.get(run, 0.0), 3)
            out.append(Run(check.name, on, status, reason, seconds, rows.get((check.name, on), 0)))
    return tuple(out)


def fold_shard(
    shard: Shard,
    *,
    live: Mapping[RunKey, Aggregator],
    dataset: Dataset,
    folder: Store,
    device: torch.device,
    beliefs: str = "",
) -> dict[RunKey, Any]:
    """The state of every live run after one shard. Each embedding is read once for all runs on it.

    `beliefs` is the identity of the encoder whose class probabilities every batch carries, "" for none.
    """
    believed = stored(folder, dataset, shard, beliefs) if beliefs else None
    states: dict[RunKey, Any] = {run: moved(attempt(aggregator.zero), device) for run, aggregator in live.items()}
    for digest in dict.fromkeys(run.digest for run in live):
        for batch in read_shard(stored(folder, dataset, shard, digest), shard, device=device, beliefs=believed):
            for run, aggregator in live.items():
                if run.digest == digest and not isinstance(states[run], Outcome):
                    states[run] = attempt(aggregator.reduce, states[run], batch)
    return {run: moved(state, torch.device("cpu")) for run, state in states.items()}


def merge(
    live: Mapping[RunKey, Aggregator], left: Mapping[RunKey, Any], right: Mapping[RunKey, Any]
) -> dict[RunKey, Any]:
    """Merge the states of two shards; a run that ended in either has ended."""
    out: dict[RunKey, Any] = {}
    for run, aggregator in live.items():
        stopped = next((side[run] for side in (left, right) if isinstance(side[run], Outcome)), None)
        out[run] = stopped or attempt(aggregator.merge, left[run], right[run])
    return out


def attempt(work: Any, *arguments: Any) -> Any:
    """The result of `work`, or how it ended."""
    try:
        return work(*arguments)
    except Exception as error:  # whatever a detector raises, it fails its own run only and is reported
        return ended(error)


def _next(aggregator: Aggregator, state: State, detector: Detector, dataset: Dataset) -> Aggregator | Scorer:
    """The next Aggregator or the Scorer. The contract is checked here, where a breach fails this run only."""
    step = aggregator.finish(state)
    if isinstance(step, Scorer):
        groups = step.groups
        unit = detector.claim.unit.evidence
        if unit and unit not in groups.evidence:
            raise DetectorError(f"the groups must have the evidence {unit!r} that is drawn of them, and have none")
        for facts in _facts(step, dataset):
            detector.describe(facts)
    return step


def _facts(scorer: Scorer, dataset: Dataset) -> Iterator[GroupFacts]:
    """The facts of every group, as `describe` will get them, but with no row accused."""
    groups = scorer.groups
    evidence = {name: value.double().tolist() for name, value in groups.evidence.items()}
    for at, label in enumerate(groups.label.tolist()):
        yield GroupFacts(
            rows=0,
            of=dataset.rows,
            label=dataset.classes[label] if dataset.classes and label >= 0 else None,
            views="",
            evidence={name: value[at] for name, value in evidence.items()},
            classes=dataset.classes,
            answered=dataset.roles.modality is not Modality.TEXT,
        )


def _schema(dataset: Dataset, encoder: Encoder, *, believed: bool) -> Schema:
    probs = believed or isinstance(encoder, EstimatesClasses)
    return Schema(encoder.dim, max(1, len(dataset.classes)), bool(dataset.classes), probs, dataset.rows)
