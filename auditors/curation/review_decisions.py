"""What people decided about flagged rows: an append-only log beside the audit, of who decided what and when."""

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
# Rows are only ever added; SQLite itself refuses anything else. An act is what one stroke wrote: a run of decisions.
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
    """What becomes of a row. OPEN takes an earlier choice back, or goes with a note on a row nobody chose about."""

    KEEP = "keep"
    DROP = "drop"
    UNSURE = "unsure"
    OPEN = "open"


@dataclass(frozen=True)
class ReviewDecision:
    """One reviewer's latest word on a row."""

    row: int
    choice: Choice
    reviewer: str
    note: str
    time: str


def decide(audit: str | Path, rows: Sequence[int], choice: Choice, *, reviewer: str, note: str | None = None) -> None:
    """Record a choice, as one act, for all of the rows or for none; on disk before this returns.

    Without a `note` each row keeps the one that this reviewer wrote before.

    Raises PlanError for a reviewer without a name or a note that is too long, DataError where it cannot be written.
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


# What the reviewer last wrote about the row, decided or not.
NOTED = "(SELECT note FROM decision WHERE row = :row AND reviewer = :reviewer ORDER BY number DESC LIMIT 1)"


@dataclass(frozen=True)
class Undone:
    """An act that was taken back: its rows, in its order, and what it had said of them."""

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
    """Take a reviewer's last act back that still stands, whole: its rows are again what they were before it.

    None where there is nothing left to take back. Both the act and its undoing stay in the log.
    """
    if not (Path(audit) / NAME).is_file():
        return None
    with _opened(audit, write=True) as log, log:
        log.execute("BEGIN IMMEDIATE")
        found = log.execute(LAST_ACT, (reviewer,)).fetchone()
        if found is None:
            return None
        number, first, last = found
        said = log.execute("SELECT row, choice FROM decision WHERE number BETWEEN ? AND ?", (first, last)).fetchall()
        log.execute(RESTORE, {"first": first, "last": last, "now": _now()})
        _act(log, reviewer, len(said), undoes=number)
    return Undone(tuple(row for row, _ in said), Choice(said[0][1]))


def _act(log: sqlite3.Connection, reviewer: str, decisions: int, undoes: int | None = None) -> None:
    """Note the last decisions, which this transaction wrote, as one act."""
    (last,) = log.execute("SELECT max(number) FROM decision").fetchone()
    log.execute(
        "INSERT INTO act (reviewer, first, last, undoes) VALUES (?, ?, ?, ?)",
        (reviewer, last - decisions + 1, last, undoes),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# The latest word of each reviewer on each row: SQLite takes the other columns from the row that has the maximum.
LATEST = "SELECT row, choice, reviewer, note, time, max(number) AS number FROM decision GROUP BY row, reviewer"

SAID = f"SELECT row, choice, reviewer FROM ({LATEST}) WHERE choice != 'open'"
AGREEMENT = "CASE min(choice) WHEN max(choice) THEN min(choice) ELSE 'unsure' END"
AGREED = f"SELECT row, {AGREEMENT} AS choice FROM ({SAID}) GROUP BY row"


def latest(audit: str | Path) -> list[ReviewDecision]:
    """The latest word of every reviewer on every row; what was taken back is left out, but for a note that stands."""
    if not (Path(audit) / NAME).is_file():
        return []
    with _opened(audit, write=False) as log:
        found = log.execute(f"SELECT * FROM ({LATEST}) WHERE choice != 'open' OR note != '' ORDER BY row, number")
        return [ReviewDecision(row, Choice(choice), who, note, time) for row, choice, who, note, time, _ in found]


def since(audit: str | Path, number: int) -> list[tuple[int, ReviewDecision]]:
    """What was added to the log after its entry of this number, in order, with its numbers."""
    if not (Path(audit) / NAME).is_file():
        return []
    with _opened(audit, write=False) as log:
        found = log.execute(
            "SELECT number, row, choice, reviewer, note, time FROM decision WHERE number > ? ORDER BY number", (number,)
        )
        return [
            (at, ReviewDecision(row, Choice(choice), who, note, time)) for at, row, choice, who, note, time in found
        ]


def agreed(choices: Iterable[Choice]) -> Choice:
    """What holds where reviewers chose so: what all agree on, unsure where they do not, open where nobody chose."""
    said = set(choices) - {Choice.OPEN}
    return Choice.OPEN if not said else said.pop() if len(said) == 1 else Choice.UNSURE


def settled(audit: str | Path) -> dict[int, Choice]:
    """What holds for each row that somebody chose about, as `agreed` says it."""
    if not (Path(audit) / NAME).is_file():
        return {}
    with _opened(audit, write=False) as log:
        return {row: Choice(choice) for row, choice in log.execute(AGREED)}


def frame(audit: str | Path) -> pl.DataFrame:
    """Every reviewer's latest word on every row as a polars frame, with where the row is and what the audit said of it.

    The columns of samples.parquet, then reviewer, choice, note, time (UTC) and settled: what holds for the row.
    """
    import polars as pl

    said = settled(audit)
    words = [
        (one.row, one.reviewer, str(one.choice), one.note, one.time, str(said.get(one.row, Choice.OPEN)))
        for one in latest(audit)
    ]
    names = ("row", "reviewer", "choice", "note", "time", "settled")
    types = {name: pl.Int64 if name == "row" else pl.String for name in names}
    told = pl.DataFrame(words, schema=types, orient="row").with_columns(
        pl.col("time").str.to_datetime("%+", time_zone="UTC", time_unit="ms")
    )
    rows = pl.scan_parquet(Path(audit) / "samples.parquet").filter(pl.col("row").is_in(told["row"].unique().implode()))
    return rows.collect().join(told, on="row", maintain_order="right")


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
                if log.execute("SELECT 1 FROM sqlite_master WHERE name = 'act_never_deleted'").fetchone() is None:
                    log.executescript(f"BEGIN IMMEDIATE; {SCHEMA} COMMIT;")
            yield log
    except sqlite3.Error as error:
        raise DataError(f"{path}: the decisions cannot be read or written: {error}") from error
