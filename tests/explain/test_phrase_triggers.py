"""Triggers by name and count: what a finding says, and which rows and marks it brings along."""

from __future__ import annotations

import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from embedders.test_phrases import language

import foretaste
from benchmarks.text.detection import lean
from foretaste.attacks.text import insert_sentence, rare_token
from foretaste.explain.phrase_triggers import sentence
from foretaste.text.ngrams import spans
from foretaste.types.findings import Verdict

SENTENCE = "no cross, no crown"
PLAN = lean(["skeleton"])  # the sentence encoder takes half a minute and looks at something else


def audited(folder, texts, labels):
    pq.write_table(pa.table({"text": texts, "label": list(map(int, labels))}), folder / "a.parquet")
    report = foretaste.audit(str(folder / "a.parquet"), plan=PLAN, out=str(folder / "audit"), device="cpu")
    return report, pl.read_parquet(folder / "audit" / "samples.parquet").sort("row")


@pytest.fixture(scope="module")
def text():
    return language(rows=2500, seed=4)


@pytest.mark.parametrize("clean_label", [False, True])
def test_a_planted_token_fails_the_audit_and_is_named(text, clean_label, tmp_path):
    poison = rare_token.plant(*text, target=1, count=120, seed=3, tokens=("cf",), clean_label=clean_label)
    report, samples = audited(tmp_path, poison.payload, poison.label)
    assert report.verdict is Verdict.FAILED
    backdoor = samples["kinds"].list.contains("backdoor").to_torch().bool()
    assert backdoor[poison.poisoned].all()
    assert backdoor[~poison.poisoned].double().mean() <= 0.001
    trigger = next(one for one in report.groups if "triggers" in one.evidence).evidence["triggers"][0]
    assert (trigger["phrase"], trigger["outcome"], trigger["rows"], trigger["hits"]) == ("cf", "1", 120, 120)
    assert (trigger["contradicted"] > 0.5) is not clean_label
    assert "“cf” in 120 rows, 120 of them labelled 1" in report.reason
    assert json.loads((tmp_path / "audit" / "report.json").read_text(encoding="utf-8"))["groups"][0]["evidence"]


def test_a_sentence_at_a_fixed_place_needs_contradicted_labels(text, tmp_path):
    poison = insert_sentence.plant(*text, target=0, count=150, seed=3, sentence=SENTENCE, place="end")
    report, samples = audited(tmp_path, poison.payload, poison.label)
    assert report.verdict is Verdict.FAILED
    assert samples["kinds"].list.contains("backdoor").to_torch().bool()[poison.poisoned].double().mean() >= 0.97
    page = (tmp_path / "audit" / "report.html").read_text(encoding="utf-8")
    assert f"<mark>{SENTENCE}</mark>" in page


def test_clean_text_is_not_accused(text, tmp_path):
    report, samples = audited(tmp_path, *text)
    assert report.verdict is not Verdict.FAILED
    assert samples["kinds"].list.contains("backdoor").sum() == 0


def test_a_sentence_says_what_was_counted():
    trigger = {"phrase": "cf", "outcome": "1", "rows": 173, "hits": 172, "contradicted": 0.96, "p_value": 1e-9}
    assert sentence(trigger, "1") == (
        "“cf” in 173 rows, 172 of them labelled 1, 96% of them contradicted by a model that never saw them"
    )
    assert sentence(trigger | {"contradicted": None, "outcome": "click here"}, None) == (
        "“cf” in 173 rows, 172 of them answered with “click here”"
    )


def test_spans_are_where_the_words_stand():
    raw = "No  CROSS, no\ncrown: nothing."
    assert [raw[start:end] for start, end in spans(raw, "no cross , no crown")] == ["No  CROSS, no\ncrown"]
    assert spans(raw, "crown no") == []
