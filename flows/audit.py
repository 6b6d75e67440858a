"""The audit as a Prefect flow: the same audit, with a task run for each shard, retries, and a place on a timeline."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from prefect import flow

from auditors.auditing import Progress, quiet
from auditors.auditing import audit as audit_here
from auditors.roles import NOTHING_SAID, Request
from flows import environment
from flows.engine import here, runner

# Who watches a run is no parameter of it: a deployment's form would ask for it.
_WATCHER: ContextVar[Progress] = ContextVar("watcher", default=quiet)


def watcher() -> Progress:
    """Asked through a function, because clusters get the flow by value, and a ContextVar has none."""
    return _WATCHER.get()


@flow(name="foretaste-audit", persist_result=False)
def audit(  # noqa: PLR0917
    datasets: list[str],
    request: Request = NOTHING_SAID,
    plan: str | None = None,
    out: str | None = None,
    device: str = "auto",
    seed: int = 0,
) -> dict[str, Any]:
    """Audit a training dataset for poison.

    Returns the verdict, the folder of the audit and the number of flagged rows; everything else is in the folder.
    """
    report = audit_here(
        datasets, request=request, plan=plan, out=out, device=device, seed=seed, engine=here(), progress=watcher()
    )
    return {"verdict": str(report.verdict), "folder": report.folder, "flagged": report.flagged}


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
) -> dict[str, Any]:
    """The flow, now, on the named engine; with a Prefect server of its own where there is no other."""
    chosen = runner(engine)
    watching = _WATCHER.set(progress)
    try:
        with environment.server():
            result: dict[str, Any] = audit.with_options(task_runner=chosen)(
                datasets, request=request, plan=plan, out=out, device=device, seed=seed
            )
            return result
    finally:
        _WATCHER.reset(watching)
