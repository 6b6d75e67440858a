"""What a stored page still tells."""

from __future__ import annotations

import pytest

from foretaste.errors import DataError
from foretaste.flows.cli import main
from foretaste.report.document import document, text
from foretaste.report.html.page import page
from foretaste.report.html.stored import PLACE, pictures, reviewed
from foretaste.types.findings import Precision


@pytest.fixture
def folder(report, samples, tmp_path):
    (tmp_path / "report.html").write_text(page(report, samples), encoding="utf-8")
    return tmp_path


def test_the_pictures_of_a_page_by_row(folder, samples, tmp_path):
    found = pictures(folder)
    assert set(found) == {one.row for one in samples if one.picture and one.row >= 6}  # the most suspicious 24
    assert all(one.startswith(b"\x89PNG") for one in found.values())
    assert pictures(tmp_path / "absent") == {}


def test_what_people_decided_comes_into_the_page(folder):
    plain = (folder / "report.html").read_text()
    assert plain.count(PLACE) == 1
    html = reviewed(folder, {"<b>spectral</b>": Precision(confirmed=9, reviewed=12)})
    assert "What people decided" in html
    assert "75 %" in html
    assert "<b>spectral" not in html
    assert reviewed(folder, {}) == plain.replace(PLACE, "")
    with pytest.raises(DataError, match="cannot be read"):
        reviewed(folder / "absent", {})


def test_show_prints_the_page(folder, report, capsys):
    (folder / "report.json").write_text(text(document(report)), encoding="utf-8")
    assert main(["show", str(folder), "--html"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert main(["show", str(folder), "--html", "--csv"]) == 2
