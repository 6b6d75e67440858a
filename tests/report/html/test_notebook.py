from dataclasses import replace
from html.parser import HTMLParser

import polars as pl
from hostile import EVIL

from foretaste.report.html.notebook import cell


class Tags(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.words = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        assert {name for name, _ in attrs} <= {"style", "scope"}

    def handle_data(self, data):
        self.words += data


def test_a_notebook_shows_the_verdict_and_the_groups(report):
    assert report._repr_html_() is None  # nobody has drawn it
    seen = Tags(replace(report, html=cell(report))._repr_html_())
    for expected in ("Failed: Do not train", report.reason, "200 rows, 31 flagged (15.5 %)", "2 of 4 checks", "cat"):
        assert expected in seen.words


def test_nothing_from_the_dataset_runs_in_a_notebook(report):
    seen = Tags(cell(report))
    assert set(seen.tags) <= {"div", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert "alert(1)" in seen.words


def test_a_cell_stays_small(report):
    long = replace(report.groups[0], label=EVIL * 1000, reason=EVIL * 1000)
    html = cell(replace(report, groups=(long,) * 500, notes=(EVIL * 1000,) * 500, reason=EVIL * 1000))
    assert len(html) < 60_000
    assert "480 more groups" in html


def test_the_tables_are_one_call_away(report, tmp_path):
    pl.DataFrame({"row": [3, 1]}).write_parquet(tmp_path / "flagged.parquet")
    pl.DataFrame({"row": [0, 1, 2, 3]}).write_parquet(tmp_path / "samples.parquet")
    stored = replace(report, folder=str(tmp_path))
    assert stored.table()["row"].to_list() == [3, 1]
    assert len(stored.table("samples")) == 4
