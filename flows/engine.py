"""Runs the work on shards as Prefect tasks, one after the other in this process or in parallel on a cluster."""

from __future__ import annotations

import atexit
import logging
import os
import shutil
import tempfile
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
    """Failures of disks or workers may be temporary; errors that foretaste raises itself are not."""
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
    """An Engine that runs every item as a Prefect task with two retries.

    submit  submit the items to the flow's task runner; otherwise they run in this thread, where Ctrl-C stops them at
            once and torch, polars and faiss already use all cores
    """

    submit: bool = False

    def map(self, stage: str, work: Callable[[T], R], items: Sequence[T], names: Sequence[str]) -> Iterator[R]:
        # Prefect and Dask search arguments for futures, but not inside a partial; the arguments may be large tensors.
        calls = [(stage, name, partial(work, item)) for name, item in zip(names, items, strict=True)]
        if not self.submit:
            for call in calls:
                result: Any = step(*call)
                yield result
        else:
            futures = [step.submit(*call) for call in calls]
            yield from (future.result() for future in futures)


def here() -> Tasks:
    """The engine of the current flow run, which submits to the task runner if that uses other processes."""
    context = FlowRunContext.get()
    return Tasks(submit=context is not None and not isinstance(context.task_runner, ThreadPoolTaskRunner))


def runner(engine: str) -> TaskRunner[Any]:
    """The task runner of an engine by name.

    Dask uses the scheduler at DASK_SCHEDULER_ADDRESS, Ray the cluster at RAY_ADDRESS; else each starts a local one.
    """
    if engine == "threads":
        return ThreadPoolTaskRunner()  # type: ignore[no-untyped-call, unused-ignore]
    if engine == "dask":
        address = _reachable(os.environ.get("DASK_SCHEDULER_ADDRESS"))
        try:
            from prefect_dask.task_runners import DaskTaskRunner
        except ImportError as error:
            raise MissingPackage(f"--engine dask needs prefect-dask: pip install 'foretaste[dask]' ({error})") from None
        # Dask's log would hide the progress bar. Errors are returned with the task; other messages are about heartbeats
        # that fail after the scheduler has stopped.
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
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
        # Ray's log would hide the progress bar.
        quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
        safe = {"runtime_env": {"working_dir": _empty()}}
        ray: TaskRunner[Any] = RayTaskRunner(address=address, init_kwargs=safe if address else {**quiet, **safe})
        return ray
    raise PlanError(f"--engine must be local, threads, dask or ray, got {engine!r}")


def _empty() -> str:
    """An empty folder. Ray puts the working folder, which may hold somebody's data, before all that workers import."""
    folder = tempfile.mkdtemp(prefix="foretaste-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _reachable(address: str | None) -> str | None:
    """Workers on other machines report to the Prefect server, so it must not listen on this machine only."""
    if address and not os.environ.get("PREFECT_API_URL"):
        raise PlanError(f"workers at {address} need a Prefect server they can reach: set PREFECT_API_URL")
    return address
