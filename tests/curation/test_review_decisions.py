import os
import signal
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foretaste.curation.review_decisions import (
    NAME,
    Choice,
    Undone,
    agreed,
    decide,
    frame,
    latest,
    precision,
    settled,
    since,
    undo,
)
from foretaste.errors import DataError, PlanError
from foretaste.types.findings import Precision


@pytest.fixture
def audit(tmp_path):
    (tmp_path / "report.json").write_text("{}")
    return tmp_path


def test_nothing_is_decided_before_somebody_decides(audit):
    assert latest(audit) == []
    assert not (audit / NAME).exists()


def test_the_latest_word_of_each_reviewer_counts(audit):
    decide(audit, [3, 1], Choice.DROP, reviewer="ada")
    decide(audit, [3], Choice.KEEP, reviewer="ada", note="a real 3")
    decide(audit, [3], Choice.DROP, reviewer="bob")
    found = [(one.row, one.choice, one.reviewer, one.note) for one in latest(audit)]
    assert found == [(1, "drop", "ada", ""), (3, "keep", "ada", "a real 3"), (3, "drop", "bob", "")]
    assert settled(audit) == {1: Choice.DROP, 3: Choice.UNSURE}
    assert [(number, one.row) for number, one in since(audit, 2)] == [(3, 3), (4, 3)]


def test_a_note_on_a_row_that_nobody_decided_stays_and_settles_nothing(audit):
    decide(audit, [7], Choice.OPEN, reviewer="ada", note="ask the lab")
    assert [(one.choice, one.note) for one in latest(audit)] == [("open", "ask the lab")]
    assert settled(audit) == {}
    decide(audit, [6, 7], Choice.DROP, reviewer="ada")  # of many rows at once: each keeps its note
    assert [(one.choice, one.note) for one in latest(audit)] == [("drop", ""), ("drop", "ask the lab")]
    decide(audit, [7], Choice.OPEN, reviewer="ada", note="")
    assert [one.row for one in latest(audit)] == [6]


def test_an_undo_takes_one_act_back_whole(audit):
    assert undo(audit, "ada") is None
    decide(audit, [1], Choice.KEEP, reviewer="ada", note="fine")
    decide(audit, [3, 1, 2], Choice.DROP, reviewer="ada")
    decide(audit, [2], Choice.UNSURE, reviewer="bob")
    assert undo(audit, "ada") == Undone((3, 1, 2), Choice.DROP)
    assert [(one.row, one.choice, one.note) for one in latest(audit)] == [(1, "keep", "fine"), (2, "unsure", "")]
    assert undo(audit, "ada") == Undone((1,), Choice.KEEP)
    assert undo(audit, "ada") is None
    assert [one.reviewer for one in latest(audit)] == ["bob"]
    decide(audit, [9], Choice.DROP, reviewer="ada")
    assert undo(audit, "ada") == Undone((9,), Choice.DROP)
    with sqlite3.connect(audit / NAME) as log, pytest.raises(sqlite3.IntegrityError, match="append only"):
        log.execute("UPDATE act SET reviewer = 'bob'")


def test_a_log_of_a_time_before_undo_is_read_and_goes_on(audit):
    old = (
        "CREATE TABLE decision (number INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL, choice TEXT NOT NULL,"
        " reviewer TEXT NOT NULL, note TEXT NOT NULL, time TEXT NOT NULL)"
    )
    with sqlite3.connect(audit / NAME) as log:
        log.execute(old)
        log.execute("INSERT INTO decision (row, choice, reviewer, note, time) VALUES (4, 'drop', 'ada', '', '2026')")
    assert settled(audit) == {4: Choice.DROP}
    assert undo(audit, "ada") is None
    decide(audit, [5], Choice.KEEP, reviewer="ada")
    assert undo(audit, "ada") == Undone((5,), Choice.KEEP)
    assert settled(audit) == {4: Choice.DROP}


def test_decisions_are_a_frame(audit):
    rows = pl.DataFrame({"row": range(4), "label": list("abcd"), "kinds": [["backdoor"]] * 4})
    rows.write_parquet(audit / "samples.parquet")
    assert frame(audit).is_empty()
    decide(audit, [3, 1], Choice.DROP, reviewer="ada")
    decide(audit, [3], Choice.KEEP, reviewer="bob", note="a 3")
    found = frame(audit)
    assert found.columns == ["row", "label", "kinds", "reviewer", "choice", "note", "time", "settled"]
    assert found.select("row", "label", "reviewer", "choice", "note", "settled").rows() == [
        (1, "b", "ada", "drop", "", "drop"),
        (3, "d", "ada", "drop", "", "unsure"),
        (3, "d", "bob", "keep", "a 3", "unsure"),
    ]
    assert found["time"].dtype == pl.Datetime("ms", "UTC")


def test_what_is_taken_back_is_open_again_and_stays_in_the_log(audit):
    decide(audit, [5], Choice.DROP, reviewer="ada")
    decide(audit, [5], Choice.OPEN, reviewer="ada")
    assert latest(audit) == []
    with sqlite3.connect(audit / NAME) as log:
        assert [row[0] for row in log.execute("SELECT choice FROM decision ORDER BY number")] == ["drop", "open"]


@pytest.mark.parametrize("change", ["UPDATE decision SET choice = 'keep'", "DELETE FROM decision"])
def test_the_log_only_grows(audit, change):
    decide(audit, [5], Choice.DROP, reviewer="ada")
    with sqlite3.connect(audit / NAME) as log, pytest.raises(sqlite3.IntegrityError, match="append only"):
        log.execute(change)


def test_two_reviewers_at_once_lose_nothing(audit):
    def review(who: str) -> None:
        for row in range(40):
            decide(audit, [row], Choice.DROP, reviewer=who)

    with ThreadPoolExecutor(2) as both:
        list(both.map(review, ["ada", "bob"]))
    assert len(latest(audit)) == 80


def test_what_was_decided_survives_kill_9(audit):
    script = (
        "import sys; from foretaste.curation.review_decisions import *\n"
        "for row in range(10**6):\n"
        "    decide(sys.argv[1], [row], Choice.DROP, reviewer='ada'); print(row, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(audit)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(30)]
    os.kill(child.pid, signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().split()]
    child.wait()
    child.stdout.close()
    assert {one.row for one in latest(audit)} >= set(said)


def test_bad_decisions_are_refused_whole(audit, tmp_path):
    with pytest.raises(PlanError, match="name of who decides"):
        decide(audit, [1], Choice.DROP, reviewer=" ")
    with pytest.raises(PlanError, match="2000 characters"):
        decide(audit, [1], Choice.DROP, reviewer="ada", note="x" * 2001)
    with pytest.raises(DataError, match="no audit"):
        decide(tmp_path / "elsewhere", [1], Choice.DROP, reviewer="ada")
    (audit / NAME).write_bytes(b"this is no database, but it is long enough to be looked at as one" * 20)
    with pytest.raises(DataError, match="cannot be read"):
        latest(audit)


choices = st.sampled_from([Choice.KEEP, Choice.DROP, Choice.UNSURE])


@settings(max_examples=25, deadline=None)  # every decision waits for the disk
@given(st.lists(st.tuples(st.integers(0, 5), choices, st.sampled_from("ab")), unique_by=lambda one: (one[0], one[2])))
def test_a_row_is_settled_as_all_agree(words):
    with TemporaryDirectory() as folder:
        (Path(folder) / "report.json").write_text("{}")
        for row, choice, who in words:
            decide(folder, [row], choice, reviewer=who)
        found = settled(folder)
    for row, choice in found.items():
        said = {one for other, one, _ in words if other == row}
        assert choice is agreed(said) is (said.pop() if len(said) == 1 else Choice.UNSURE)
    assert set(found) == {row for row, _, _ in words}


def test_precision_is_what_people_confirmed():
    said = {1: Choice.DROP, 2: Choice.KEEP, 3: Choice.UNSURE, 4: Choice.DROP}
    accusers = {1: ["a", "b"], 2: ["a"], 3: ["b"], 4: ["b"], 9: ["c"]}
    assert precision(said, accusers) == {"a": Precision(1, 2), "b": Precision(2, 2)}
