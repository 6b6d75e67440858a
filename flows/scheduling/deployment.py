"""The audit as a Prefect deployment: by schedule, on changes of the data, or both; and the flow that it runs."""

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
from foretaste.flows import artifacts, log_variable
from foretaste.flows.engine import here, worth_a_retry
from foretaste.flows.scheduling import alerts, changes, history
from foretaste.flows.scheduling.fingerprints import marks
from foretaste.gate.attestation import keys, log, signing
from foretaste.gate.attestation.envelope import FILE
from foretaste.pipeline.audit import audit as audit_here
from foretaste.pipeline.false_alarms import code
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
def audit_once(  # noqa: PLR0917
    datasets: list[str],
    request: Request,
    plan: str | None,
    out: str,
    device: str,
    seed: int,
    key: str | None,
    policy: str | None,
) -> str:
    """One audit, retried if it broke, but never after a verdict. Returns the folder."""
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


def alert_crash(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Send an alert, once, for a run that ended without a verdict because it broke or its process was killed."""
    if state.name in (artifacts.POISONED, artifacts.REFUSED):
        return
    parameters = flow_run.parameters
    name, root = str(parameters.get("name") or "dataset"), str(parameters.get("root") or "audits")
    error = f"{state.name}: {' '.join((state.message or 'no reason is known').split())}"
    news, after = history.after_crash(history.recall(root, name), error)
    if news:
        alerts.send(alerts.alert(news, name, parameters.get("datasets") or (), error), alerts.channels())
    history.keep(root, name, after)


@flow(
    name=FLOW,
    flow_run_name="{name}",
    persist_result=False,
    on_failure=[alert_crash],
    on_crashed=[alert_crash],
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
    """Audit a dataset into a new folder below `root`, and send alerts.

    The final state is Completed, Warned, Unchanged (with `if_changed`, if bytes and settings are those of the last
    audit), or a failure: Poisoned if the audit failed, Refused if the policy refuses it, another name if it broke.
    """
    before = history.recall(root, name)
    settings = _settings(request, plan, policy, seed)
    if if_changed and before.seen == recipe(str(changes.digest(datasets)), settings):
        return Completed(name="Unchanged", message="the bytes and settings are those of the last audit")
    now = datetime.now(UTC)
    out = os.path.join(root, f"{name}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z")
    folder = audit_once(datasets, request, plan, out, device, seed, key, policy)
    found = read(folder)
    refused = _refused(found, folder, policy)
    reason = refused or found["reason"]
    news, after = history.after(before, frozenset({f"policy|{refused}"}) if refused else marks(found, folder))
    after = replace(after, seen=recipe(found["dataset"]["digest"], settings))
    undelivered = ""
    try:
        if news:
            alerts.send(alerts.alert(news, name, datasets, reason, found, folder), alerts.channels())
        history.keep(root, name, after)
    except alerts.NotDelivered as error:  # history is not updated, so that the next run sends the alert again
        undelivered = f" ({error})"
        get_run_logger().error("%s", error)
    artifacts.publish(name, found, folder)
    _anchor(folder)
    result = {"verdict": found["verdict"], "folder": folder}
    return artifacts.state(artifacts.REFUSED if refused else found["verdict"], reason + undelivered, result)


def _anchor(folder: str) -> None:
    """Tell the server what was seen of the log that a signed audit was appended to."""
    if not os.path.exists(os.path.join(folder, FILE)):
        return
    try:
        log_variable.publish(log.path())
    except Exception as error:  # an audit counts without; httpx raises many kinds of errors
        get_run_logger().warning("the Prefect server could not be told of the log of attestations: %s", error)


def deployment(
    name: str, parameters: Mapping[str, Any], *, cron: str | None = None, timezone: str = "UTC", watched: bool = False
) -> RunnerDeployment:
    """The deployment of a dataset's audit, which runs one audit at a time.

    cron      when to audit, whether or not the data changed
    watched   whether the event changes.CHANGED of the dataset starts an audit, if its bytes were not audited yet
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
        # A queued run ends at once if the change it was started for has been audited meanwhile.
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        description=f"Audits {', '.join(parameters['datasets'])} for poison.",
        tags=["foretaste"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)
    return made


def _settings(request: Request, plan: str | None, policy: str | None, seed: int) -> str:
    """A hash of everything but the data that a verdict depends on: the settings, and the code of this release."""
    return recipe(request, [str(sha256(path)[0]) if path else "" for path in (plan, policy)], seed, code())


def _refused(found: Mapping[str, Any], folder: str, policy: str | None) -> str:
    """Why the policy refuses a signed audit that did not fail; "" where it does not refuse."""
    if found["verdict"] == Verdict.FAILED or not os.path.exists(os.path.join(folder, FILE)):
        return ""
    return "; ".join(signing.refusals(folder, policy))
