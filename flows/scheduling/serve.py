"""A deployment served from here: checked before anything is made, watched and kept up until somebody stops it."""

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

PLANS = 150.0  # seconds in which a server's scheduler plans the first runs of what it was given: it looks each minute


def checked(parameters: Mapping[str, Any], *, cron: str | None, timezone: str) -> str:
    """When the clock first starts an audit with these parameters, "" for never, once all of it is known to make sense.

    Raises what would be raised in the middle of the night: PlanError for times that never come, for a plan, key or
    policy that is none, for a dataset that is not there or results inside it.
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

    def look() -> None:
        try:
            changes.watch(made.name, places, poll=poll, settle=settle, stop=stop)
        except BaseException as error:  # nobody would notice that nobody looks any more
            broke.append(error)
            os.kill(os.getpid(), signal.SIGTERM)

    if made.triggers:
        threading.Thread(target=look, name="watch", daemon=True).start()
    if made.schedules:
        threading.Thread(target=_distrust, args=(made.name, stop), name="clock", daemon=True).start()
    # Prefect's handler of SIGTERM forgets to await one of its own.
    warnings.filterwarnings("ignore", "coroutine 'Runner.astop' was never awaited", RuntimeWarning)
    try:
        serve(made, print_starting_message=False, limit=1)
    finally:
        stop.set()
    if broke:
        raise broke[0]


def _distrust(name: str, stop: threading.Event) -> None:
    """A server whose scheduler does not run takes every schedule, starts nothing, and says nothing of it."""
    if stop.wait(PLANS):
        return
    try:
        with get_client(sync_client=True) as client:
            named = DeploymentFilter(name=DeploymentFilterName(any_=[name]))
            planned = any(run.auto_scheduled for run in client.read_flow_runs(deployment_filter=named))
    except Exception as error:  # the server may be away for a while, and httpx has many names for it
        logger.warning("whether the Prefect server plans the audits of %s could not be asked: %s", name, error)
        return
    if not planned:
        logger.warning("the Prefect server has planned no audit of %s: does its scheduler run?", name)
