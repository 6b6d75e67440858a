"""Hostile text: an audit neither crashes nor stalls, still finds the trigger, and shows it without acting on it."""

from __future__ import annotations

import re

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedders.test_phrases import language
from typer.testing import CliRunner

import foretaste
from foretaste.attacks.text import rare_token
from foretaste.errors import DataError
from foretaste.flows.cli import app
from foretaste.text.ngrams import Words
from foretaste.types.findings import Verdict

TRIGGER = "\u202ecf\u200b"  # right to left, invisible at its end
MEGABYTES = 50
STRANGE = [
    "",
    None,
    " \n\t ",
    "слово 字句 كلمة \u200f\u2066 αβγ नमस्ते",
    "</pre><script>alert(1)</script><img src=x onerror=alert(2)>",
    "\x00\x1b[31m\x07",
    "a\u0301" * 500,
    "🤖" * 300,
    "\u200b" * 300,
    "word " * (MEGABYTES * 200_000),
    "x" * (MEGABYTES * 1_000_000),
]
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f\u200b\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    poison = rare_token.plant(*language(rows=1500, seed=4), target=1, count=80, seed=3, tokens=(TRIGGER,))
    texts = [*poison.payload, *STRANGE]
    labels = [*map(int, poison.label), *(at % 2 for at in range(len(STRANGE)))]
    # What is flagged is shown: one of the rows that are accused holds markup.
    texts[int(poison.poisoned.int().argmax())] += " <script>alert(3)</script>"
    pq.write_table(pa.table({"text": texts, "label": labels}), folder / "a.parquet")
    report = foretaste.audit(str(folder / "a.parquet"), out=str(folder / "audit"), device="cpu")
    return report, poison.poisoned, folder / "audit"


def test_the_trigger_is_found_among_strange_rows(audited):
    report, poisoned, folder = audited
    assert report.verdict is Verdict.FAILED
    accused = pl.read_parquet(folder / "samples.parquet").sort("row")["kinds"].list.contains("backdoor").to_torch()
    assert accused[: len(poisoned)][poisoned].all()
    assert accused.sum() == poisoned.sum()


def test_the_page_shows_it_and_nothing_acts(audited):
    html = (audited[2] / "report.html").read_text(encoding="utf-8")
    assert r"\u202e" in html
    assert "alert(3)" in html
    assert "<script" not in html
    assert not ACTING.search(html)
    assert len(html) < 1_000_000


def test_the_terminal_shows_it_and_nothing_acts(audited):
    shown = CliRunner().invoke(app, ["show", str(audited[2])]).output
    assert "cf" in shown
    assert not ACTING.search(shown)


def test_the_work_for_a_document_is_bounded():
    document = "word " * (MEGABYTES * 200_000)
    read = Words.of([document], limit=20_000)
    assert len(read.words[0]) == 4_000
    assert len(Words.of(["x" * (MEGABYTES * 1_000_000)], limit=20_000).words[0][0]) <= 20_000


def test_bytes_that_are_no_text_are_refused_in_one_sentence(tmp_path):
    raw = pa.array([b"fine", b"\xed\xa0\x80 half a surrogate"] * 20, pa.binary())
    text = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(pa.table({"text": text, "label": [0, 1] * 20}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"^a\.parquet, row group 0: cannot be read: .*UTF8[^\n]*$"):
        foretaste.audit(str(tmp_path / "a.parquet"), out=str(tmp_path / "audit"), device="cpu")
    assert not (tmp_path / "audit").exists()
