"""The audit as a Prefect flow: the same audit, with a task run for each shard, retries, and Prefect's timeline."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.flows import artifacts, prefect_server
from foretaste.flows.engine import here, runner
from foretaste.flows.naming import name_of
from foretaste.gate.attestation import keys
from foretaste.pipeline.audit import audit as audit_here
from foretaste.report.document import document
from foretaste.types.progress import Progress, quiet

# The progress callback is no parameter of the flow, since deployments show a form field for every parameter.
_PROGRESS: ContextVar[Progress] = ContextVar("progress", default=quiet)


def current_progress() -> Progress:
    """A function, because flows are pickled by value for clusters, and a ContextVar cannot be pickled."""
    return _PROGRESS.get()


@flow(name="foretaste-audit", persist_result=False)
def audit(  # noqa: PLR0917
    datasets: list[str],
    request: Request = NOTHING_SAID,
    plan: str | None = None,
    out: str | None = None,
    device: str = "auto",
    seed: int = 0,
    key: str | None = None,
    policy: str | None = None,
    since: str | None = None,
) -> State[Any]:
    """Audit a training dataset for poison; signed with the key in the file `key`, or the default key if there is one.

    The final state (see artifacts.state) holds the verdict, the folder of the audit and the number of flagged rows;
    everything else is in the folder, and a summary among the artifacts.
    """
    report = audit_here(
        datasets,
        request=request,
        plan=plan,
        out=out,
        device=device,
        seed=seed,
        engine=here(),
        progress=current_progress(),
        key=key or keys.private(),
        policy=policy,
        since=since,
    )
    artifacts.publish(name_of(datasets[0]), document(report), report.folder)
    result = {"verdict": str(report.verdict), "folder": report.folder, "flagged": report.flagged}
    return artifacts.state(str(report.verdict), report.reason, result)


def run(
    datasets: list[str],
    *,
    request: Request,
    plan: str | None,
    out: str | None,
    device: str,
    seed: int,
    engine: str,
    progress: Progress,
    key: str | None = None,
    policy: str | None = None,
    since: str | None = None,
) -> dict[str, Any]:
    """Run the flow on the named engine, with a temporary Prefect server if none is configured."""
    chosen = runner(engine)
    token = _PROGRESS.set(progress)
    try:
        with prefect_server.server():
            state = audit.with_options(task_runner=chosen)(
                datasets,
                request=request,
                plan=plan,
                out=out,
                device=device,
                seed=seed,
                key=key,
                policy=policy,
                since=since,
                return_state=True,
            )
            result: Any = state.result(raise_on_failure=False)
            if isinstance(result, artifacts.Unfit):  # no error for this caller
                result = result.result
            if isinstance(result, Exception):
                raise result
            found: dict[str, Any] = result
            return found
    finally:
        _PROGRESS.reset(token)
