"""Alerts: one JSON object, sent to a webhook and to a command.

The recipients come from the environment of the auditing process, never from parameters of the flow: a URL may contain a
secret, which Prefect's page would show, and whoever may start a run could choose a command to execute on this machine.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from foretaste.errors import ForetasteError, PlanError
from foretaste.flows.scheduling import history
from foretaste.report.visible import visible

URL, COMMAND = "FORETASTE_NOTIFY_URL", "FORETASTE_NOTIFY_COMMAND"

ATTEMPTS = 3
PAUSE = 2.0  # seconds before the second attempt, four times as long before the third
ANSWER = 10.0  # seconds that a webhook may take
FINISH = 60.0  # seconds that a command may take


class NotDelivered(ForetasteError):
    """An alert did not reach all channels; the next audit sends it again."""


@dataclass(frozen=True)
class Channels:
    """Where alerts go: a URL for POST requests, and a command that reads standard input."""

    url: str = ""
    command: tuple[str, ...] = ()


def channels(url: str | None = None, command: str | None = None) -> Channels:
    """The given channels, else those of the environment. The command is split like a shell does, but runs without one.

    Raises PlanError where the URL is not HTTP(S) or the command cannot be split.
    """
    url = os.environ.get(URL, "") if url is None else url
    command = os.environ.get(COMMAND, "") if command is None else command
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname):
        raise PlanError(f"--notify-url must be an http:// or https:// address, got {urlsplit(url).scheme or url!r}")
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise PlanError(f"--notify-command cannot be split into words: {error}, got {command!r}") from None
    return Channels(url, words)


def environment(to: Channels) -> dict[str, str]:
    """The environment variables that pass these channels to the auditing processes."""
    return {URL: to.url, COMMAND: shlex.join(to.command)}


def alert(  # noqa: PLR0917
    news: str,
    name: str,
    places: Sequence[str],
    reason: str,
    found: Mapping[str, Any] | None = None,
    folder: str | None = None,
) -> dict[str, Any]:
    """An alert, with the report `found` in `folder` if there is one; chat services display `text` only."""
    event = {history.FAILED: "FAILED", history.CRASHED: "could NOT be audited", history.RECOVERED: "passes again"}
    out: dict[str, Any] = {
        "text": visible(f"foretaste: {name} {event[news]}: {reason}"),
        "news": news,
        "dataset": name,
        "places": list(places),
        "reason": reason,
        "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    if found is not None and folder is not None:
        keys = ("kind", "label", "rows", "p_value", "detectors", "reason")
        out |= {
            "verdict": found["verdict"],
            "rows": found["rows"],
            "flagged": found["flagged"],
            "digest": found["dataset"]["digest"],
            "groups": [{key: group[key] for key in keys} for group in found["groups"]],
            "audit": folder,
            "report": os.path.join(folder, "report.html"),
        }
    return out


def send(message: Mapping[str, Any], to: Channels) -> None:
    """Send an alert to every channel. Raises NotDelivered where one of them failed, after all were tried."""
    body = json.dumps(message, ensure_ascii=True).encode()
    failures = []
    deliveries = [*([partial(_post, to.url)] if to.url else []), *([partial(_run, to.command)] if to.command else [])]
    for deliver in deliveries:
        try:
            deliver(body)
        except NotDelivered as error:
            failures.append(str(error))
    if failures:
        raise NotDelivered("; ".join(failures))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would arrive as a GET without a body, and the alert would be lost."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _post(url: str, body: bytes) -> None:
    ask = urllib.request.Request(url, body, {"Content-Type": "application/json", "User-Agent": "foretaste"})
    opener = urllib.request.build_opener(_NoRedirects)
    host = urlsplit(url).hostname  # the rest may contain a secret
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE * 4 ** (attempt - 1))
        try:
            with opener.open(ask, timeout=ANSWER):
                return
        except urllib.error.HTTPError as error:
            error.close()
            why = f"it answered {error.code}"
            if error.code < 500 and error.code not in (408, 425, 429):
                break
        except (OSError, ValueError) as error:
            why = str(error)
    raise NotDelivered(f"the webhook at {host} could not be told: {why}")


def _run(command: Sequence[str], body: bytes) -> None:
    try:
        done = subprocess.run(
            command, input=body, timeout=FINISH, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise NotDelivered(f"the command {command[0]!r} could not be told: {error}") from None
    if done.returncode:
        last_line = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
        raise NotDelivered(f"the command {command[0]!r} ended with {done.returncode} and said: {last_line}")
