"""Where the work on shards runs: as Prefect tasks, one after the other here or side by side on a cluster."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from foretaste.errors import ForetasteError, MissingPackage, PlanError

T = TypeVar("T")
R = TypeVar("R")


def worth_a_retry(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:  # noqa: ARG001
    """A disk or a worker may come back; what foretaste refuses, it will refuse again."""
    return not isinstance(state.data, ForetasteError)


@task(
    name="shard",
    task_run_name="{stage} {name}",
    retries=2,
    retry_condition_fn=worth_a_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def step(stage: str, name: str, work: Callable[[], Any]) -> Any:  # noqa: ARG001
    return work()


@dataclass(frozen=True)
class Tasks:
    """An Engine whose every item is a Prefect task run with two retries.

    submit  hand the items to the flow's task runner; otherwise they run here, in this thread, where Ctrl-C stops them
            at once and torch, polars and faiss use the cores anyway
    """

    submit: bool = False

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]:
        # Prefect and Dask look through arguments for futures, but not into a partial, which may hold tensors.
        calls = [(stage, name, partial(work, item)) for name, item in zip(names, items, strict=True)]
        if not self.submit:
            for call in calls:
                result: Any = step(*call)
                yield result
        else:
            futures = [step.submit(*call) for call in calls]
            yield from (future.result() for future in futures)


def here() -> Tasks:
    """The engine of the flow run we are in: its task runner is used when it reaches beyond this process."""
    context = FlowRunContext.get()
    return Tasks(submit=context is not None and not isinstance(context.task_runner, ThreadPoolTaskRunner))


def runner(engine: str) -> TaskRunner[Any]:
    """The task runner of an engine by name.

    Dask joins the scheduler in DASK_SCHEDULER_ADDRESS, Ray the cluster in RAY_ADDRESS; else each starts a local one.
    """
    if engine == "threads":
        return ThreadPoolTaskRunner()  # type: ignore[no-untyped-call, unused-ignore]
    if engine == "dask":
        address = _reachable(os.environ.get("DASK_SCHEDULER_ADDRESS"))
        try:
            from prefect_dask.task_runners import DaskTaskRunner
        except ImportError as error:
            raise MissingPackage(f"--engine dask needs prefect-dask: pip install 'foretaste[dask]' ({error})") from None
        # Dask's own log would drown the progress bar. What goes wrong comes back with the task; besides, the log tells
        # of heartbeats that find the scheduler gone when the work is done.
        local = {
            "n_workers": os.cpu_count(),
            "threads_per_worker": 1,
            "silence_logs": "CRITICAL",
            "dashboard_address": None,
        }
        dask: TaskRunner[Any] = DaskTaskRunner(address=address) if address else DaskTaskRunner(cluster_kwargs=local)
        return dask
    if engine == "ray":
        address = _reachable(os.environ.get("RAY_ADDRESS"))
        try:
            from prefect_ray.task_runners import RayTaskRunner
        except ImportError as error:
            raise MissingPackage(f"--engine ray needs prefect-ray: pip install 'foretaste[ray]' ({error})") from None
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
        # Ray's own log would drown the progress bar, and nobody asked for a dashboard.
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        ray: TaskRunner[Any] = RayTaskRunner(address=address) if address else RayTaskRunner(init_kwargs=quiet)
        return ray
    raise PlanError(f"--engine must be local, threads, dask or ray, got {engine!r}")


def _reachable(address: str | None) -> str | None:
    """Workers on other machines report to Prefect, and cannot reach a server that only listens here."""
    if address and not os.environ.get("PREFECT_API_URL"):
        raise PlanError(f"workers at {address} need a Prefect server they can reach: set PREFECT_API_URL")
    return address
