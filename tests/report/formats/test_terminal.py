from dataclasses import asdict

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.errors import DataError
from foretaste.report.document import document
from foretaste.report.flagged_rows import flagged
from foretaste.report.formats.spreadsheet import sheet
from foretaste.report.formats.terminal import terminal
from foretaste.report.numbers import count, duration, probability, share, size


def test_plain_text_for_a_pipe(report, samples):
    shown = terminal(document(report), report.folder, rows=[asdict(one) for one in samples[-2:]], width=120)
    assert "\x1b" not in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
    for expected in (
        "FAILED  30 rows",
        "200 rows, 1 file, 2 classes; 31 flagged (15.5 %)",
        "backdoor",
        "tokens on text",
        "/report.html",
    ):
        assert expected in shown


def test_colour_only_on_request(report):
    assert "\x1b[1;31mFAILED" in terminal(document(report), report.folder, colours="standard")


def test_a_hostile_label_is_no_markup(report, samples):
    row = asdict(samples[-1]) | {"label": "[red]\x1b]0;owned\x07[/]"}
    shown = terminal(document(report), report.folder, rows=[row], width=400, colours="standard")
    assert r"[red]\x1b]0;owned\x07[/]" in shown


def test_a_command_stays_on_one_line(report):
    command = "foretaste show 'audits/it'\"'\"'s here' --top 50"
    assert any(line.endswith(command) for line in terminal(document(report), report.folder, width=40).splitlines())


def test_a_clean_report_gives_no_orders(clean):
    shown = terminal(document(clean), clean.folder)
    assert shown.startswith("PASSED  Nothing was found.")
    assert "foretaste show" not in shown


def test_flagged_rows_are_read_from_the_top(tmp_path):
    rows = [{"row": row, "kinds": ["label"] if row % 2 else ["backdoor"]} for row in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "flagged.parquet")
    assert [row["row"] for row in flagged(tmp_path, top=2)] == [0, 1]
    assert [row["row"] for row in flagged(tmp_path, top=2, kind="label")] == [1, 3]
    assert len(flagged(tmp_path)) == 3000


def test_a_missing_or_damaged_table_is_said(tmp_path):
    with pytest.raises(DataError, match="missing"):
        flagged(tmp_path)
    (tmp_path / "flagged.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        flagged(tmp_path)


def test_a_sheet_runs_no_formula():
    lines = sheet(
        [{"row": 7, "label": "=cmd|' /C calc'!A0", "kinds": ["label", "outlier"], "risk": 0.5, "p_value": None}]
    ).splitlines()
    assert lines == ["row,label,kinds,risk,p_value", "7,'=cmd|' /C calc'!A0,label;outlier,0.5,"]
    assert sheet([]).startswith("row,file,row_group")


def test_words():
    assert [probability(p) for p in (1.0, 0.0123, 3.2e-9, 0.0, None)] == [
        "1",
        "0.012",
        "3 × 10⁻⁹",
        "below 10⁻³⁰⁰",
        "unknown",
    ]
    assert [duration(s) for s in (0.04, 9.96, 59.7, 200, 7500)] == ["0.0 s", "10 s", "1 min", "3 min 20 s", "2 h 5 min"]
    assert [size(n) for n in (0, 999, 1000, 11_300_000)] == ["0 B", "999 B", "1.0 kB", "11 MB"]
    assert [share(*pair) for pair in ((0, 0), (0, 9), (1, 10**6), (1, 3), (10**6 - 1, 10**6))] == [
        "0 %", "0 %", "under 0.01 %", "33.33 %", "over 99.99 %",
    ]  # fmt: skip
    assert count(1234567) == "1,234,567"
