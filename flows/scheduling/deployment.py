"""The audit as a deployment: by the clock, when the data changes, or both; and what one such run does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, FlowRun, State
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.flows import Flow
from prefect.schedules import Cron
from prefect.states import Completed
from prefect.types.entrypoint import EntrypointType

from foretaste.dataset.files import sha256
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.flows import artifacts
from foretaste.flows.engine import here, worth_a_retry
from foretaste.flows.scheduling import alerts, changes, history
from foretaste.flows.scheduling.fingerprints import marks
from foretaste.gate.attestation import keys, signing
from foretaste.gate.attestation.envelope import FILE
from foretaste.pipeline.audit import audit as audit_here
from foretaste.report.document import read
from foretaste.types.digests import recipe
from foretaste.types.findings import Verdict

FLOW = "foretaste-scheduled"


@task(
    name="audit",
    retries=2,
    retry_delay_seconds=30,
    retry_condition_fn=worth_a_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def taste(  # noqa: PLR0917
    datasets: list[str],
    request: Request,
    plan: str | None,
    out: str,
    device: str,
    seed: int,
    key: str | None,
    policy: str | None,
) -> str:
    """One audit, tried again where it broke; a verdict is never tried again. Returns the folder."""
    report = audit_here(
        datasets,
        request=request,
        plan=plan,
        out=out,
        device=device,
        seed=seed,
        engine=here(),
        key=key or keys.private(),
        policy=policy,
    )
    return report.folder


def could_not(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Told once where a run ended without a verdict: it broke, or its process was killed."""
    if state.name in (artifacts.POISONED, artifacts.REFUSED):
        return
    said = flow_run.parameters
    name, root = str(said.get("name") or "dataset"), str(said.get("root") or "audits")
    error = f"{state.name}: {' '.join((state.message or 'no reason is known').split())}"
    news, after = history.after_crash(history.recall(root, name), error)
    if news:
        alerts.send(alerts.letter(news, name, said.get("datasets") or (), error), alerts.channels())
    history.keep(root, name, after)


@flow(
    name=FLOW,
    flow_run_name="{name}",
    persist_result=False,
    on_failure=[could_not],
    on_crashed=[could_not],
)
def scheduled(  # noqa: PLR0917
    datasets: list[str],
    name: str,
    root: str = "audits",
    request: Request = NOTHING_SAID,
    plan: str | None = None,
    device: str = "auto",
    seed: int = 0,
    key: str | None = None,
    policy: str | None = None,
    if_changed: bool = False,
) -> State[Any]:
    """Audit a dataset into a new folder below `root`, and tell whoever is to be told.

    Ends as Completed, Warned, Unchanged (with `if_changed`, where the last audit saw the same bytes), or failed: as
    Poisoned where the audit failed, as Refused where the policy refuses what it says, and otherwise where it broke.
    """
    before = history.recall(root, name)
    settings = _settings(request, plan, policy, seed)
    if if_changed and before.seen == recipe(str(changes.digest(datasets)), settings):
        return Completed(name="Unchanged", message="the bytes and settings are those of the last audit")
    now = datetime.now(UTC)
    out = os.path.join(root, f"{name}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z")
    folder = taste(datasets, request, plan, out, device, seed, key, policy)
    found = read(folder)
    refused = _refused(found, folder, policy)
    reason = refused or found["reason"]
    news, after = history.after(before, frozenset({f"policy|{refused}"}) if refused else marks(found, folder))
    after = replace(after, seen=recipe(found["dataset"]["digest"], settings))
    unheard = ""
    try:
        if news:
            alerts.send(alerts.letter(news, name, datasets, reason, found, folder), alerts.channels())
        history.keep(root, name, after)
    except alerts.NotDelivered as error:  # not remembered, so that the next run tells it again
        unheard = f" ({error})"
        get_run_logger().error("%s", error)
    artifacts.publish(name, found, folder)
    result = {"verdict": found["verdict"], "folder": folder}
    return artifacts.state(artifacts.REFUSED if refused else found["verdict"], reason + unheard, result)


def deployment(
    name: str, parameters: Mapping[str, Any], *, cron: str | None = None, timezone: str = "UTC", watched: bool = False
) -> RunnerDeployment:
    """The deployment of a dataset's audit, one run at a time.

    cron      when to audit, changed or not
    watched   whether the event watch.CHANGED of the dataset starts an audit, of bytes that were not audited yet
    """
    trigger = DeploymentEventTrigger(
        name=f"foretaste: {name} changed",
        expect={changes.CHANGED},
        match={"prefect.resource.id": changes.resource(name)},
        parameters={"if_changed": True},
    )
    made = scheduled.to_deployment(
        name,
        schedules=[Cron(cron, timezone=timezone)] if cron else [],
        triggers=[trigger] if watched else [],
        parameters={"name": name, **parameters},
        # What waits finds nothing left to do where it was only told of the same change.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        description=f"Audits {', '.join(parameters['datasets'])} for poison.",
        tags=["foretaste"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    return made


def _settings(request: Request, plan: str | None, policy: str | None, seed: int) -> str:
    """What an audit depends on besides the data, in one word."""
    return recipe(request, [str(sha256(path)[0]) if path else "" for path in (plan, policy)], seed)


def _refused(found: Mapping[str, Any], folder: str, policy: str | None) -> str:
    """Why the policy refuses a signed audit whose verdict lets the data through; "" where it does not."""
    if found["verdict"] == Verdict.FAILED or not os.path.exists(os.path.join(folder, FILE)):
        return ""
    return "; ".join(signing.refusals(folder, policy))
