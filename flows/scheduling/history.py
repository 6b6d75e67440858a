"""What a scheduled audit stores for the next one: a digest of the audited data and settings, and the alerts sent."""

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
    """The stored state of a dataset.

    seen    recipe of the bytes and settings of the last audit that reached a verdict
    told    the last alert: FAILED, CRASHED, RECOVERED, or "" for none
    known   fingerprints of the findings that were reported and still present at the last audit
    error   the error of the last alert of a crash
    """

    seen: str = ""
    told: str = ""
    known: frozenset[str] = frozenset()
    error: str = ""


NOTHING = Memory()


def path(root: str, name: str) -> Path:
    """Path of the memory of a dataset, in the folder of its audits."""
    return Path(root) / f"{name}.memory.json"


def recall(root: str, name: str) -> Memory:
    """The memory of a dataset. An unreadable one is discarded: an alert sent twice is better than none."""
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
    """Write the memory of a dataset atomically and synced to disk."""
    where = path(root, name)
    where.parent.mkdir(parents=True, exist_ok=True)
    with atomic.file(str(where)) as partial, open(partial, "w", encoding="utf-8") as file:
        json.dump({**asdict(memory), "known": sorted(memory.known)}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def after(memory: Memory, marks: frozenset[str]) -> tuple[str, Memory]:
    """The alert after a verdict with these fingerprints (none if it did not fail), "" for no alert, and the new memory.

    An alert is sent for a failure with at least one new fingerprint, or after anything but a failure.
    """
    if marks:
        news = FAILED if marks - memory.known or memory.told != FAILED else ""
        return news, replace(memory, told=FAILED, known=marks, error="")
    news = RECOVERED if memory.told in (FAILED, CRASHED) else ""
    return news, replace(memory, told=news or memory.told, known=frozenset(), error="")


def after_crash(memory: Memory, error: str) -> tuple[str, Memory]:
    """The same after an audit without a verdict."""
    news = CRASHED if memory.told != CRASHED or memory.error != error else ""
    return news, replace(memory, told=CRASHED, error=error)


def _checked(found: Mapping[str, Any]) -> Memory:
    seen, told, known, error = (found[name] for name in ("seen", "told", "known", "error"))
    texts = [seen, told, error, *known]
    if not isinstance(known, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("it does not hold what it should")
    return Memory(seen, told, frozenset(known), error)
