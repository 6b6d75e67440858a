import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditors.decisions import NAME, Choice, Precision, decide, latest, precision, settled, tally
from auditors.errors import DataError, PlanError


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
    assert tally(audit, "ada") == ({Choice.KEEP: 0, Choice.DROP: 1, Choice.UNSURE: 1}, 2)
    assert [one.row for one in latest(audit, [3, 4])] == [3, 3]


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
        "import sys; from auditors.decisions import *\n"
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


@settings(max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 5), choices, st.sampled_from("ab")), unique_by=lambda one: (one[0], one[2])))
def test_a_row_is_settled_as_all_agree(words):
    with TemporaryDirectory() as folder:
        (Path(folder) / "report.json").write_text("{}")
        for row, choice, who in words:
            decide(folder, [row], choice, reviewer=who)
        found, (counts, _) = settled(folder), tally(folder, "a")
    for row, choice in found.items():
        said = {one for other, one, _ in words if other == row}
        assert choice is (said.pop() if len(said) == 1 else Choice.UNSURE)
    assert set(found) == {row for row, _, _ in words}
    assert {choice: number for choice, number in counts.items() if number} == Counter(found.values())


def test_precision_is_what_people_confirmed():
    said = {1: Choice.DROP, 2: Choice.KEEP, 3: Choice.UNSURE, 4: Choice.DROP}
    accusers = {1: ["a", "b"], 2: ["a"], 3: ["b"], 4: ["b"], 9: ["c"]}
    assert precision(said, accusers) == {"a": Precision(1, 2), "b": Precision(2, 2)}
