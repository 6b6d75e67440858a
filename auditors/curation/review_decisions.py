"""Reviewers' decisions on flagged rows: an append-only log in the audit's folder, of who decided what and when."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from foretaste.errors import DataError, PlanError
from foretaste.types.findings import Precision

if TYPE_CHECKING:
    import polars as pl

NAME = "decisions.sqlite"
LONGEST_NOTE = 2000
# Append-only: triggers refuse updates and deletions. An act is the range of decisions of one user action.
SCHEMA = """
CREATE TABLE IF NOT EXISTS decision (
    number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL, choice TEXT NOT NULL, reviewer TEXT NOT NULL,
    note TEXT NOT NULL, time TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS act (
    number INTEGER PRIMARY KEY AUTOINCREMENT, reviewer TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    undoes INTEGER UNIQUE
);
CREATE INDEX IF NOT EXISTS decision_row ON decision (row, reviewer, number);
CREATE INDEX IF NOT EXISTS act_reviewer ON act (reviewer, number);
CREATE TRIGGER IF NOT EXISTS never_changed BEFORE UPDATE ON decision BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS never_deleted BEFORE DELETE ON decision BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS act_never_changed BEFORE UPDATE ON act BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS act_never_deleted BEFORE DELETE ON act BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""


class Choice(StrEnum):
    """A reviewer's choice for a row. OPEN withdraws an earlier choice, or accompanies a note without a choice."""

    KEEP = "keep"
    DROP = "drop"
    UNSURE = "unsure"
    OPEN = "open"


@dataclass(frozen=True)
class ReviewDecision:
    """One reviewer's latest decision on a row."""

    row: int
    choice: Choice
    reviewer: str
    note: str
    time: str


def decide(audit: str | Path, rows: Sequence[int], choice: Choice, *, reviewer: str, note: str | None = None) -> None:
    """Record a choice for all of the rows or none, as one act; synced to disk before this returns.

    Without a `note` each row keeps the reviewer's previous note.

    Raises PlanError for an empty reviewer name or a note that is too long, DataError where it cannot be written.
    """
    if not reviewer.strip():
        raise PlanError("a decision needs the name of who decides (--reviewer), got none")
    if note is not None and len(note) > LONGEST_NOTE:
        raise PlanError(f"a note can have {LONGEST_NOTE} characters, got {len(note)}")
    if not rows:
        return
    now = _now()
    with _opened(audit, write=True) as log, log:
        log.execute("BEGIN IMMEDIATE")
        log.executemany(
            "INSERT INTO decision (row, choice, reviewer, note, time) "
            f"VALUES (:row, :choice, :reviewer, coalesce(:note, {NOTED}, ''), :now)",
            ({"row": row, "choice": str(choice), "reviewer": reviewer, "note": note, "now": now} for row in rows),
        )
        _act(log, reviewer, len(rows))


# The reviewer's last note on the row.
NOTED = "(SELECT note FROM decision WHERE row = :row AND reviewer = :reviewer ORDER BY number DESC LIMIT 1)"


@dataclass(frozen=True)
class Undone:
    """An act that was undone: its rows, in its order, and its choice."""

    rows: tuple[int, ...]
    choice: Choice


LAST_ACT = """
SELECT number, first, last FROM act AS made
WHERE reviewer = ? AND undoes IS NULL AND NOT EXISTS (SELECT 1 FROM act WHERE undoes = made.number)
ORDER BY number DESC LIMIT 1
"""
RESTORE = """
INSERT INTO decision (row, choice, reviewer, note, time)
SELECT now.row, coalesce(before.choice, 'open'), now.reviewer, coalesce(before.note, ''), :now
FROM decision AS now LEFT JOIN decision AS before ON before.number = (
    SELECT max(number) FROM decision WHERE row = now.row AND reviewer = now.reviewer AND number < :first
)
WHERE now.number BETWEEN :first AND :last ORDER BY now.number
"""


def undo(audit: str | Path, reviewer: str) -> Undone | None:
    """Undo a reviewer's last act that is not undone yet: its rows get their previous choices and notes.

    None where there is nothing to undo. Both the act and its undoing stay in the log.
    """
    if not (Path(audit) / NAME).is_file():
        return None
    with _opened(audit, write=True) as log, log:
        log.execute("BEGIN IMMEDIATE")
        found = log.execute(LAST_ACT, (reviewer,)).fetchone()
        if found is None:
            return None
        number, first, last = found
        undone = log.execute("SELECT row, choice FROM decision WHERE number BETWEEN ? AND ?", (first, last)).fetchall()
        log.execute(RESTORE, {"first": first, "last": last, "now": _now()})
        _act(log, reviewer, len(undone), undoes=number)
    return Undone(tuple(row for row, _ in undone), Choice(undone[0][1]))


def _act(log: sqlite3.Connection, reviewer: str, decisions: int, undoes: int | None = None) -> None:
    """Record the last `decisions` decisions, which this transaction wrote, as one act."""
    (last,) = log.execute("SELECT max(number) FROM decision").fetchone()
    log.execute(
        "INSERT INTO act (reviewer, first, last, undoes) VALUES (?, ?, ?, ?)",
        (reviewer, last - decisions + 1, last, undoes),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# Each reviewer's latest decision on each row: SQLite takes the other columns from the row that has the maximum.
LATEST = "SELECT row, choice, reviewer, note, time, max(number) AS number FROM decision GROUP BY row, reviewer"

CHOSEN = f"SELECT row, choice, reviewer FROM ({LATEST}) WHERE choice != 'open'"
AGREEMENT = "CASE min(choice) WHEN max(choice) THEN min(choice) ELSE 'unsure' END"
AGREED = f"SELECT row, {AGREEMENT} AS choice FROM ({CHOSEN}) GROUP BY row"


def latest(audit: str | Path) -> list[ReviewDecision]:
    """Every reviewer's latest decision on every row, without withdrawn ones unless they have a note."""
    if not (Path(audit) / NAME).is_file():
        return []
    with _opened(audit, write=False) as log:
        found = log.execute(f"SELECT * FROM ({LATEST}) WHERE choice != 'open' OR note != '' ORDER BY row, number")
        return [ReviewDecision(row, Choice(choice), who, note, time) for row, choice, who, note, time, _ in found]


def since(audit: str | Path, number: int) -> list[tuple[int, ReviewDecision]]:
    """The decisions after this number in the log, in order, with their numbers."""
    if not (Path(audit) / NAME).is_file():
        return []
    with _opened(audit, write=False) as log:
        found = log.execute(
            "SELECT number, row, choice, reviewer, note, time FROM decision WHERE number > ? ORDER BY number", (number,)
        )
        return [
            (entry, ReviewDecision(row, Choice(choice), who, note, time))
            for entry, row, choice, who, note, time in found
        ]


def agreed(choices: Iterable[Choice]) -> Choice:
    """The settled choice for a row: what all reviewers agree on, unsure if they disagree, open if nobody chose."""
    distinct = set(choices) - {Choice.OPEN}
    return Choice.OPEN if not distinct else distinct.pop() if len(distinct) == 1 else Choice.UNSURE


def settled(audit: str | Path) -> dict[int, Choice]:
    """The settled choice (see `agreed`) for each row with a choice."""
    if not (Path(audit) / NAME).is_file():
        return {}
    with _opened(audit, write=False) as log:
        return {row: Choice(choice) for row, choice in log.execute(AGREED)}


def frame(audit: str | Path) -> pl.DataFrame:
    """Every reviewer's latest decision on every row, with the row's result in the audit, as a polars frame.

    The columns of samples.parquet, then reviewer, choice, note, time (UTC) and settled (see `agreed`).
    """
    import polars as pl

    choices = settled(audit)
    values = [
        (made.row, made.reviewer, str(made.choice), made.note, made.time, str(choices.get(made.row, Choice.OPEN)))
        for made in latest(audit)
    ]
    names = ("row", "reviewer", "choice", "note", "time", "settled")
    types = {name: pl.Int64 if name == "row" else pl.String for name in names}
    decisions = pl.DataFrame(values, schema=types, orient="row").with_columns(
        pl.col("time").str.to_datetime("%+", time_zone="UTC", time_unit="ms")
    )
    rows = pl.scan_parquet(Path(audit) / "samples.parquet").filter(
        pl.col("row").is_in(decisions["row"].unique().implode())
    )
    return rows.collect().join(decisions, on="row", maintain_order="right")


def precision(settled: Mapping[int, Choice], accusers: Mapping[int, Sequence[str]]) -> dict[str, Precision]:
    """Measured precision of every detector; `accusers` are the detectors that accuse each row."""
    out: dict[str, Precision] = {}
    for row, choice in settled.items():
        if choice is Choice.UNSURE:
            continue
        for name in accusers.get(row, ()):
            so_far = out.get(name, Precision(0, 0))
            out[name] = Precision(so_far.confirmed + (choice is Choice.DROP), so_far.reviewed + 1)
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
                # A decision that was confirmed to the reviewer must survive a crash of the machine.
                log.execute("PRAGMA synchronous = FULL")
                if log.execute("SELECT 1 FROM sqlite_master WHERE name = 'act_never_deleted'").fetchone() is None:
                    log.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            yield log
    except sqlite3.Error as error:
        raise DataError(f"{path}: the decisions cannot be read or written: {error}") from error
