"""Measurements that can be stopped and continued: what a file already holds of the same code and plans stays."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from foretaste.pipeline import default_plans
from foretaste.pipeline.false_alarms import code
from foretaste.types.digests import recipe

Line = dict[str, Any]


def present() -> Line:
    """What a line must say to be of the present code and default plans."""
    return {"code": code(), "plans": str(recipe("plans", 1, default_plans.BARE, default_plans.DEFAULT))}


def continued(
    out: Path, asked: Sequence[tuple[Any, ...]], names: Sequence[str], work: Callable[..., Line], workers: int
) -> list[Line]:
    """The lines that OUT has of the present code and plans, and those that `work` adds for what else is `asked`.

    `asked` are the arguments of `work`: a path, whose stem a line has as its origin, and what it has under `names`.
    """
    now = present()
    lines: list[Line] = []
    if out.exists():
        lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    valid = [line for line in lines if now.items() <= line.items()]
    have = {(line["origin"], *(line[name] for name in names)) for line in valid}
    missing = [one for one in asked if (one[0].stem, *one[1:]) not in have]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(work, *one) for one in missing]):
            line = future.result() | now
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            valid.append(line)
    return valid
