"""Prefect's surroundings, settled before it is imported: quiet, offline, and with no server left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Protocol

from foretaste.errors import PlanError

TIMEOUT = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # What fails is said once, by the command; Prefect's own account of it still goes to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # The first start migrates a database: 15 s on a quiet machine, 40 s on a busy one, and Prefect gives it 20.
    TIMEOUT: "180",
    "RAY_USAGE_STATS_ENABLED": "0",
}


def settle() -> None:
    """Set what is not set. Whoever has a Prefect server, home or profile keeps it."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    choices = ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH")
    chosen = any(name in os.environ for name in choices)
    if not chosen and not (Path.home() / ".prefect" / "profiles.toml").exists():
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        home = state / "foretaste" / "prefect"
        home.mkdir(parents=True, exist_ok=True)  # Prefect makes a folder, but not its parents
        os.environ["PREFECT_HOME"] = str(home)


@contextmanager
def server(*, whole: bool = False) -> Iterator[None]:
    """A Prefect API to talk to: the user's, or one of our own that ends with us.

    Its address is exported, or every worker process of a cluster would start yet another one.

    whole   one that has a page and starts deployments by clock and event, which Prefect's embedded one does not
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with _terminable():
        address = PREFECT_API_URL.value()
        if address:
            if whole and not _answers(f"{address}/health"):
                raise PlanError(f"PREFECT_API_URL: a Prefect server must answer at {address}, and nobody does")
            yield
            return
        own = _server(whole)
        try:
            _start_undisturbed(own.start)
            os.environ["PREFECT_API_URL"] = own.api_url
            # Without a heartbeat to wait for, the run ends at once and not at the next full second.
            with temporary_settings({PREFECT_API_URL: own.api_url, PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                try:
                    yield
                finally:
                    _deliver()
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
    """`prefect server start`, on Prefect's own port where that is free. It talks to server.log in PREFECT_HOME."""

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
        # The page asks the port it thinks the server has, unless it is told.
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
    """The wanted port, or any that nobody uses."""
    for port in (wanted, 0):
        with socket.socket() as one, suppress(OSError):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(("127.0.0.1", port))
            return int(one.getsockname()[1])
    raise RuntimeError("no port of this machine is free")


def _answers(url: str) -> bool:
    """Whether somebody is there, if only to say no."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except (OSError, ValueError):
        return False


def _start_undisturbed(start: Callable[[], None]) -> None:
    """Ctrl-C reaches every process of the terminal, and the server must outlive ours to hear how it ended.

    A process inherits the signals that the thread which starts it has blocked, so a thread of its own starts it.
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


def _deliver() -> None:
    """Send what still waits to be sent; otherwise Prefect tries at exit, when our server is gone, and says so."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogHandler

    EventsWorker.drain_all(timeout=5)
    APILogHandler().flush()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the process as an exception does, so that what must be closed is closed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(128 + number)
