"""Prefect's surroundings, settled before it is imported: quiet, offline, and with no server left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    # What fails is said once, by the command; Prefect's own account of it still goes to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    # The first start migrates a database: 15 s on a quiet machine, 40 s on a busy one, and Prefect gives it 20.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
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
def server() -> Iterator[None]:
    """A Prefect API to talk to: the user's, or one of our own that ends with us.

    Its address is exported, or every worker process of a cluster would start yet another one.
    """
    from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

    with _terminable():
        if PREFECT_API_URL.value():
            yield
            return
        from prefect.server.api.server import SubprocessASGIServer

        own = SubprocessASGIServer()
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
