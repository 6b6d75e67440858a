"""Columns that no check read are named in the report, on its page and on the terminal, each with the reason."""

from __future__ import annotations

import json
import logging

import pytest
from written import counts, kinds, measures, names, parquet, sentences, uuids

from foretaste import audit
from foretaste.report.document import read
from foretaste.report.formats.terminal import terminal
from foretaste.types.dataset import Unaudited

ROWS = 200
TABLE = """
[embedders.features]
[detectors.spectral-signature]
on = ["features"]
"""
WORDS = """
[embedders.tokens]
[detectors.spectral-signature]
on = ["tokens"]
"""


@pytest.fixture
def audited(tmp_path, monkeypatch):
    """Audit a file of these columns by a plan; the report, its page and what a terminal shows."""
    monkeypatch.setenv("FORETASTE_CACHE", str(tmp_path / "cache"))

    def run(plan, /, **columns):
        (tmp_path / "plan.toml").write_text(plan, encoding="utf-8")
        out = str(tmp_path / "out")
        report = audit(
            parquet(tmp_path / "a.parquet", **columns), plan=str(tmp_path / "plan.toml"), out=out, device="cpu"
        )
        stored = read(out)
        assert json.loads(json.dumps(stored))["roles"]["unaudited"] == {
            one.column: one.why for one in report.dataset.roles.unaudited
        }
        with open(f"{out}/report.html", encoding="utf-8") as page:
            return report, page.read(), " ".join(terminal(stored, out, width=200).split())

    return run


def test_features_that_tell_no_rows_apart(audited):
    report, page, shown = audited(
        TABLE,
        name=names(ROWS),
        always=kinds(ROWS, "same"),
        key=uuids(ROWS),
        height=measures(ROWS),
        size=counts(ROWS),
        label=kinds(ROWS, "yes", "no"),
    )
    assert report.dataset.roles.payload == ("name", "always", "height", "size")
    assert report.dataset.roles.unaudited == (
        Unaudited("key", "identifiers", payload=False),
        Unaudited("name", "no string in 10 rows", payload=False),
        Unaudited("always", "constant", payload=False),
    )
    said = "'key' (identifiers), 'name' (no string in 10 rows), 'always' (constant)"
    assert f"No check read these columns, and whatever they hold was not looked for: {said}." in shown
    assert page.count("no string in 10 rows") >= 2


def test_another_part_of_a_conversation(audited):
    chats = [[{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}] for text in sentences(ROWS)]
    report, page, shown = audited(
        WORDS, messages=chats, chosen=chats, rejected=chats, label=kinds(ROWS, "yes", "no"), stars=counts(ROWS)
    )
    assert [one.column for one in report.dataset.roles.unaudited] == ["chosen", "rejected"]
    assert "'chosen' (conversations), 'rejected' (conversations)" in shown
    assert "read by no check" in page


def test_nothing_is_said_where_everything_is_read(audited):
    report, page, shown = audited(WORDS, text=sentences(ROWS), label=kinds(ROWS, "yes", "no"))
    assert report.dataset.roles.unaudited == ()
    assert "No check read" not in shown
    assert "read by no check" not in page


def test_classes_that_probably_are_none(audited):
    _, page, shown = audited(WORDS, text=sentences(ROWS), label=[-1.0, 0.0, 1.0, 1.0] * (ROWS // 4))
    assert "Class -1 (50 rows) was audited like any other." in shown
    assert "Class -1 (50 rows) was audited like any other." in page


def test_many_features_are_told_in_a_line(audited, caplog):
    many = {f"feature_{place:03}": measures(ROWS, seed=place) for place in range(300)}
    with caplog.at_level(logging.INFO, logger="foretaste"):
        audited(TABLE, **many, label=kinds(ROWS, "yes", "no"))
    [line] = [record.getMessage() for record in caplog.records if record.getMessage().startswith("columns:")]
    assert "feature_011 and 288 more; label = label" in line
    assert len(line) < 300
