"""What people decided about flagged rows: an append-only log beside the audit, of who decided what and when."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from auditors.errors import DataError, PlanError

NAME = "decisions.sqlite"
LONGEST_NOTE = 2000
# Rows are only ever added; SQLite itself refuses anything else.
SCHEMA = """
CREATE TABLE IF NOT EXISTS decision (
    number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL, choice TEXT NOT NULL, reviewer TEXT NOT NULL,
    note TEXT NOT NULL, time TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS decision_row ON decision (row, reviewer, number);
CREATE TRIGGER IF NOT EXISTS never_changed BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS never_deleted BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


class Choice(StrEnum):
    """What becomes of a row. OPEN takes an earlier choice back."""

    KEEP = "keep"
    DROP = "drop"
    UNSURE = "unsure"
    OPEN = "open"


@dataclass(frozen=True)
class Decision:
    """One reviewer's latest word on a row."""

    row: int
    choice: Choice
    reviewer: str
    note: str
    time: str


def decide(audit: str | Path, rows: Sequence[int], choice: Choice, *, reviewer: str, note: str = "") -> None:
    """Record a choice for all of the rows or for none; on disk before this returns.

    Raises PlanError for a reviewer without a name or a note that is too long, DataError where it cannot be written.
    """
    if not reviewer.strip():
        raise PlanError("a decision needs the name of who decides (--reviewer), got none")
    if len(note) > LONGEST_NOTE:
        raise PlanError(f"a note can have {LONGEST_NOTE} characters, got {len(note)}")
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with _opened(audit, write=True) as log, log:
        log.executemany(
            "INSERT INTO decision (row, choice, reviewer, note, time) VALUES (?, ?, ?, ?, ?)",
            [(row, str(choice), reviewer, note, now) for row in rows],
        )


# The latest word of each reviewer on each row: SQLite takes the other columns from the row that has the maximum.
LATEST = "SELECT row, choice, reviewer, note, time, max(number) FROM decision {where} GROUP BY row, reviewer"

SAID = f"SELECT row, choice, reviewer FROM ({LATEST.format(where='')}) WHERE choice != 'open'"
AGREEMENT = "CASE min(choice) WHEN max(choice) THEN min(choice) ELSE 'unsure' END"
AGREED = f"SELECT row, {AGREEMENT} AS choice FROM ({SAID}) GROUP BY row"


def latest(audit: str | Path, rows: Collection[int] | None = None) -> list[Decision]:
    """The latest word of every reviewer on every row, or on a few rows; what was taken back is left out."""
    if not (Path(audit) / NAME).is_file():
        return []
    where = "" if rows is None else f"WHERE row IN ({', '.join(str(int(row)) for row in rows)})"
    with _opened(audit, write=False) as log:
        found = log.execute(LATEST.format(where=where) + " ORDER BY row, max(number)").fetchall()
    words = [Decision(row, Choice(choice), who, note, time) for row, choice, who, note, time, _ in found]
    return [one for one in words if one.choice is not Choice.OPEN]


def tally(audit: str | Path, reviewer: str) -> tuple[dict[Choice, int], int]:
    """How many rows are settled in which way, and how many of them this reviewer decided about."""
    counts = dict.fromkeys((Choice.KEEP, Choice.DROP, Choice.UNSURE), 0)
    if not (Path(audit) / NAME).is_file():
        return counts, 0
    with _opened(audit, write=False) as log:
        found = log.execute(f"SELECT choice, count(*) FROM ({AGREED}) GROUP BY choice").fetchall()
        counts |= {Choice(choice): number for choice, number in found}
        (mine,) = log.execute(f"SELECT count(*) FROM ({SAID}) WHERE reviewer = ?", (reviewer,)).fetchone()
    return counts, int(mine)


def settled(audit: str | Path) -> dict[int, Choice]:
    """What holds for each row: what all reviewers of it agree on; where they do not, it is unsure."""
    if not (Path(audit) / NAME).is_file():
        return {}
    with _opened(audit, write=False) as log:
        return {row: Choice(choice) for row, choice in log.execute(AGREED)}


@dataclass(frozen=True)
class Precision:
    """Of the rows that a detector accused and people settled, how many they would drop."""

    confirmed: int
    reviewed: int


def precision(settled: Mapping[int, Choice], accusers: Mapping[int, Sequence[str]]) -> dict[str, Precision]:
    """Measured precision of every detector; `accusers` are the detectors that accuse each row."""
    out: dict[str, Precision] = {}
    for row, choice in settled.items():
        if choice is Choice.UNSURE:
            continue
        for name in accusers.get(row, ()):
            before = out.get(name, Precision(0, 0))
            out[name] = Precision(before.confirmed + (choice is Choice.DROP), before.reviewed + 1)
    return dict(sorted(out.items()))


@contextmanager
def _opened(audit: str | Path, *, write: bool) -> Iterator[sqlite3.Connection]:
    path = Path(audit) / NAME
    if not (Path(audit) / "report.json").is_file():
        raise DataError(f"{audit}: there is no audit here to decide about")
    try:
        with closing(sqlite3.connect(path, timeout=30)) as log:
            if write:
                log.execute("PRAGMA journal_mode = WAL")
                # A decision that was shown as made survives a crash of the machine too.
                log.execute("PRAGMA synchronous = FULL")
                log.executescript(SCHEMA)
            yield log
    except sqlite3.Error as error:
        raise DataError(f"{path}: the decisions cannot be read or written: {error}") from error
