"""Serves a deployment from this process: checks its parameters first, and watches its dataset until interrupted."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from prefect import serve
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.deployments.runner import RunnerDeployment
from prefect.server.schemas.schedules import CronSchedule
from pydantic import ValidationError

from foretaste.dataset.files import find, keep_out_of
from foretaste.errors import PlanError
from foretaste.flows.scheduling import changes
from foretaste.gate import policy_file
from foretaste.gate.attestation import keys
from foretaste.pipeline import plan as plans

logger = logging.getLogger("foretaste")

PLANS = 150.0  # seconds after which a server's scheduler, which runs every minute, must have planned the first runs


def checked(parameters: Mapping[str, Any], *, cron: str | None, timezone: str) -> str:
    """Check all parameters; returns the time of the first scheduled audit, "" without a schedule.

    Raises now what the first audit would raise: PlanError for a schedule that never occurs, an invalid plan, key or
    policy, a missing dataset, or a results folder inside the dataset.
    """
    places = parameters["datasets"]
    keep_out_of(places, parameters["root"])
    find(places)
    if parameters["plan"]:
        plans.load(parameters["plan"])
    key = parameters["key"] or keys.private()
    if parameters["policy"]:
        policy_file.load(parameters["policy"])
        if key is None:
            raise PlanError("--policy needs a key to sign the audit with, give --key FILE or run foretaste keygen")
    if key:
        keys.signer(key)
    return _first(cron, timezone) if cron else ""


def _first(cron: str, timezone: str) -> str:
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise PlanError(f"--timezone must be the name of a time zone such as Europe/Berlin, got {timezone!r}") from None
    try:
        times = asyncio.run(CronSchedule(cron=cron, timezone=timezone).get_dates(1, datetime.now(zone)))
    except (ValidationError, ValueError):
        times = []
    if not times:
        raise PlanError(
            f"--cron must be minute, hour, day, month and weekday of times that come, such as '0 3 * * *', got {cron!r}"
        )
    return f"{times[0].astimezone(zone):%Y-%m-%d %H:%M %Z}"


def stay(made: RunnerDeployment, places: Sequence[str], *, poll: float, settle: float) -> None:
    """Serve the deployment, and watch its dataset where it has a trigger, until interrupted."""
    stop, broke = threading.Event(), []

    def watch() -> None:
        try:
            changes.watch(made.name, places, poll=poll, settle=settle, stop=stop)
        except BaseException as error:  # otherwise it would go unnoticed that the dataset is not watched any more
            broke.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    if made.triggers:
        threading.Thread(target=watch, name="watch", daemon=True).start()
    if made.schedules:
        threading.Thread(target=_check_scheduler, args=(made.name, stop), name="clock", daemon=True).start()
    # Prefect's SIGTERM handler does not await one of its coroutines.
    warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited", RuntimeWarning)
    try:
        serve(made, print_starting_message=False, limit=1)
    finally:
        stop.set()
    if broke:
        raise broke[0]


def _check_scheduler(name: str, stop: threading.Event) -> None:
    """Warn if nothing was planned: a server without a running scheduler accepts schedules and silently ignores them."""
    if stop.wait(PLANS):
        return
    try:
        with get_client(sync_client=True) as client:
            named = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
            planned = any(run.auto_scheduled for run in client.read_flow_runs(deployment_filter=named))
    except Exception as error:  # the server may be down for a while; httpx raises many kinds of errors
        logger.warning("whether the Prefect server plans the audits of %s could not be asked: %s", name, error)
        return
    if not planned:
        logger.warning("the Prefect server has planned no audit of %s: does its scheduler run?", name)
