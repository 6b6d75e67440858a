"""Prefect's environment, to be set before it is imported, and a Prefect server that ends with the command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from foretaste import user_folders
from foretaste.errors import PlanError
from foretaste.flows.termination import terminable

TIMEOUT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # Errors are printed once, by the command; Prefect's log of them still goes to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # The first start migrates a database: 15 s on an idle machine, 40 s on a busy one; Prefect's default is 20 s.
    TIMEOUT: "180",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Servers and workers are started with `python -m`, which would import modules from the working folder.
    "PYTHONSAFEPATH": "1",
}
SETTINGS_FILES = (".env", "prefect.toml", "pyproject.toml")  # from which Prefect reads settings in the working folder


def settle() -> None:
    """Set environment variables that are not set. A Prefect server, home or profile of the user is kept.

    Raises PlanError where a file in the working folder, which may be somebody else's, has settings for Prefect, or
    where Prefect's files cannot be kept.
    """
    for name in SETTINGS_FILES:
        if os.path.lexists(name) and _speaks_of_prefect(Path(name)):
            raise PlanError(
                f"{Path(name).absolute()}: Prefect would take settings from this file, such as the server it talks to; "
                "give them as environment variables (PREFECT_API_URL) or in a Prefect profile, and run foretaste in "
                "another folder"
            )
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    choices = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")
    chosen = any(name in os.environ for name in choices)
    if not chosen and not (user_folders.home() / ".prefect" / "profiles.toml").exists():
        home = user_folders.state() / "prefect"
        try:
            home.mkdir(parents=True, exist_ok=True)  # Prefect does not create parent folders
        except OSError as error:
            raise PlanError(
                f"{home}: Prefect's files cannot be kept there: {error.strerror}; name another folder as PREFECT_HOME"
            ) from error
        os.environ["PREFECT_HOME"] = str(home)


def _speaks_of_prefect(path: Path) -> bool:
    """Whether a file in the working folder may have settings for Prefect, as one may that cannot be read."""
    if not path.is_file():
        return True
    try:
        if path.suffix != ".toml":
            return b"prefect_" in path.read_bytes().lower()
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return True
    return bool(found if path.name == "prefect.toml" else "prefect" in found.get("tool", {}))


@contextmanager
def server(*, whole: bool = False) -> Iterator[None]:
    """A Prefect API: the user's, or a server that is started here and stopped at the end.

    Its address is exported, since otherwise every worker process of a cluster would start a server.

    whole   a full server, with web page, scheduler and event triggers, which Prefect's embedded one lacks
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with terminable():
        address = PREFECT_API_URL.value()
        if address:
            if whole and not _answers(f"{address}/health"):
                raise PlanError(f"PREFECT_API_URL: a Prefect server must answer at {address}, and nobody does")
            yield
            return
        own = _server(whole)
        try:
            _start_shielded(own.start)
            os.environ["PREFECT_API_URL"] = own.api_url
            # Without heartbeats the run ends at once instead of at the next full second.
            with temporary_settings({PREFECT_API_URL: own.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                try:
                    yield
                finally:
                    _flush()
        finally:
            os.environ.pop("PREFECT_API_URL", None)
            own.stop()


class _Server(Protocol):
    @property
    def api_url(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


def _server(whole: bool) -> _Server:
    if whole:
        return _Whole()
    from prefect.server.api.server import SubprocessASGIServer

    return SubprocessASGIServer()


class _Whole:
    """`prefect server start`, on Prefect's default port if that is free. It logs to server.log in PREFECT_HOME."""

    def __init__(self) -> None:
        from prefect.settings import PREFECT_HOME

        self.port = _free(4200)
        self.log = Path(PREFECT_HOME.value()) / "server.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        # The web page assumes the default port unless this is set.
        page = {"PREFECT_UI_API_URL": self.api_url}
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command, env={**os.environ, **page}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + float(os.environ[TIMEOUT])
        while not _answers(f"{self.api_url}/health"):
            if self.process.poll() is not None or time.monotonic() > until:
                ended = self.process.poll() is not None
                self.stop()
                raise RuntimeError(f"the Prefect server {'ended' if ended else 'does not answer'}, see {self.log}")
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _free(wanted: int) -> int:
    """The wanted port, or any free one."""
    for port in (wanted, 0):
        with socket.socket() as listener, suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            return int(listener.getsockname()[1])
    raise RuntimeError("no port of this machine is free")


def _answers(url: str) -> bool:
    """Whether an HTTP server answers, even with an error."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except (OSError, ValueError):
        return False


def _start_shielded(start: Callable[[], None]) -> None:
    """Start the server with SIGINT blocked: Ctrl-C reaches all processes of a terminal, but the server must run longer.

    A process inherits the blocked signals of the thread that starts it, so a separate thread starts it.
    """
    failure: list[BaseException] = []

    def begin() -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            start()
        except Exception as error:
            failure.append(error)

    thread = threading.Thread(target=begin, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def _flush() -> None:
    """Send pending events and logs; otherwise Prefect tries at exit, when the server is gone, and logs errors."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    EventsWorker.drain_all(timeout=5)
    APILogHandler().flush()
