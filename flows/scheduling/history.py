"""What a scheduled audit remembers of the ones before: which bytes they saw, and what people were told of them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foretaste import atomic

logger = logging.getLogger("foretaste")

FAILED, CRASHED, RECOVERED = "failed", "could not audit", "recovered"


@dataclass(frozen=True)
class Memory:
    """One dataset's past.

    seen    recipe of the bytes and settings of the last audit that came to a verdict
    told    what people heard last: FAILED, CRASHED, RECOVERED, or "" for nothing
    known   marks of the findings that they heard of and that were still there at the last audit
    error   what the last alert of a crash was about
    """

    seen: str = ""
    told: str = ""
    known: frozenset[str] = frozenset()
    error: str = ""


NOTHING = Memory()


def path(root: str, name: str) -> Path:
    """Where the memory of a dataset lies: beside its audits."""
    return Path(root) / f"{name}.memory.json"


def recall(root: str, name: str) -> Memory:
    """The memory of a dataset. What cannot be read is forgotten, so that somebody is told twice rather than never."""
    where = path(root, name)
    try:
        found = json.loads(where.read_text(encoding="utf-8"))
        return _checked(found)
    except FileNotFoundError:
        return NOTHING
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        logger.warning("%s: the memory of earlier audits cannot be read and is forgotten: %r", where, error)
        return NOTHING


def keep(root: str, name: str, memory: Memory) -> None:
    """Write the memory of a dataset, whole or not at all, so that it survives a power cut."""
    where = path(root, name)
    where.parent.mkdir(parents=True, exist_ok=True)
    with atomic.file(str(where)) as partial, open(partial, "w", encoding="utf-8") as file:
        json.dump({**asdict(memory), "known": sorted(memory.known)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def after(memory: Memory, marks: frozenset[str]) -> tuple[str, Memory]:
    """What to tell after a verdict with these marks (none where it did not fail), "" for nothing, and what to remember.

    A finding is told once. The same rows again are no news, one row more is; so is a failure after anything else.
    """
    if marks:
        news = FAILED if marks - memory.known or memory.told != FAILED else ""
        return news, replace(memory, told=FAILED, known=marks, error="")
    news = RECOVERED if memory.told in (FAILED, CRASHED) else ""
    return news, replace(memory, told=news or memory.told, known=frozenset(), error="")


def after_crash(memory: Memory, error: str) -> tuple[str, Memory]:
    """The same after an audit that came to no verdict."""
    news = CRASHED if memory.told != CRASHED or memory.error != error else ""
    return news, replace(memory, told=CRASHED, error=error)


def _checked(found: Mapping[str, Any]) -> Memory:
    seen, told, known, error = (found[name] for name in ("seen", "told", "known", "error"))
    texts = [seen, told, error, *known]
    if not isinstance(known, list) or not all(isinstance(one, str) for one in texts):
        raise ValueError("it does not hold what it should")
    return Memory(seen, told, frozenset(known), error)
