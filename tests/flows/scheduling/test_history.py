"""What is news, night after night, and what is kept between the nights."""

import pytest

from foretaste.flows.scheduling.history import (
    CRASHED,
    FAILED,
    NOTHING,
    RECOVERED,
    after,
    after_crash,
    keep,
    path,
    recall,
)

A, AB = frozenset({"a"}), frozenset({"a", "b"})
FINE = frozenset()


@pytest.mark.parametrize(
    ("nights", "told"),
    [
        ([FINE, FINE], ["", ""]),
        ([A, A, A], [FAILED, "", ""]),
        ([A, AB, A, AB], [FAILED, FAILED, "", FAILED]),
        ([A, FINE, FINE, A], [FAILED, RECOVERED, "", FAILED]),
        (["disk", "disk", "memory", FINE], [CRASHED, "", CRASHED, RECOVERED]),
        ([A, "disk", A, FINE], [FAILED, CRASHED, FAILED, RECOVERED]),
        (["disk", A, A], [CRASHED, FAILED, ""]),
    ],
)
def test_once_for_each_finding(nights, told, tmp_path):
    heard = []
    for night in nights:
        before = recall(str(tmp_path), "x")  # another process each night
        news, then = after_crash(before, night) if isinstance(night, str) else after(before, night)
        keep(str(tmp_path), "x", then)
        heard.append(news)
    assert heard == told


def test_datasets_do_not_share_a_memory(tmp_path):
    keep(str(tmp_path), "x", after(NOTHING, A)[1])
    assert recall(str(tmp_path), "y") == NOTHING
    assert recall(str(tmp_path), "x").known == A


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"seen": 1, "told": "", "known": [], "error": ""}', "[" * 100_000])
def test_what_cannot_be_read_is_told_again(text, tmp_path, caplog):
    keep(str(tmp_path), "x", after(NOTHING, A)[1])
    path(str(tmp_path), "x").write_text(text)
    assert recall(str(tmp_path), "x") == NOTHING
    assert "is forgotten" in caplog.text


def test_nothing_half_written_is_left(tmp_path):
    keep(str(tmp_path / "audits"), "x", NOTHING)
    assert [one.name for one in (tmp_path / "audits").iterdir()] == ["x.memory.json"]
