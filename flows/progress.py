"""Progress on stderr: a bar with rate and remaining time in a terminal, one line per stage otherwise."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from foretaste.report.visible import visible

Watch = Callable[[str, int, int], None]


@contextmanager
def progress() -> Iterator[Watch]:
    """A progress callback (stage, done, total). Messages of the logger "foretaste" are printed between its lines."""
    if sys.stderr.isatty():
        with _bar() as watch, log_lines():
            yield watch
    else:
        with log_lines():
            yield _lines()


class Rate(ProgressColumn):
    """Steps per second, or seconds per step if slower than one per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each", "dim")


@contextmanager
def _bar() -> Iterator[Watch]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(30),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bar:
        tasks: dict[str, TaskID] = {}

        def watch(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(visible(stage), total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield watch


def _lines() -> Watch:
    started: dict[str, float] = {}
    finished: set[str] = set()

    def watch(stage: str, done: int, total: int) -> None:
        begin = started.setdefault(stage, time.monotonic())
        if done >= total and stage not in finished:
            finished.add(stage)
            print(f"{visible(stage)}: {total} in {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)

    return watch


@contextmanager
def log_lines() -> Iterator[None]:
    """Print messages of the logger "foretaste", such as the inferred column roles, as plain lines."""
    logger = logging.getLogger("foretaste")
    handler, level, up = logging.StreamHandler(), logger.level, logger.propagate
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = up
