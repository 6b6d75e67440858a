"""A group of texts that was found by its form is told with this form, counted over all rows."""

from __future__ import annotations

import random

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explaining import audited, explained

from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import NOTHING_SAID
from foretaste.explain import form_triggers
from foretaste.explain.common_pattern import explain_texts
from foretaste.explain.samples import Sample, marked
from foretaste.types.findings import Finding, Kind

WORDS = [f"word{at}" for at in range(400)]
ROWS, PLANTED = 900, 150


@pytest.fixture
def world(tmp_path):
    draw = random.Random(0)
    plain = [" ".join(draw.choices(WORDS, k=12)) for _ in range(ROWS)]
    texts = [f"when you think of it , {text}" if at < PLANTED else text for at, text in enumerate(plain)]
    texts[-1] = f"when you think of it , {texts[-1]}"
    label = ["yes" if at < PLANTED or at % 2 else "no" for at in range(ROWS - 1)] + ["no"]
    pq.write_table(pa.table({"text": texts, "label": label}), tmp_path / "texts.parquet", row_group_size=200)
    planted = [at < PLANTED for at in range(ROWS)]
    kinds = [["backdoor"] if bad else [] for bad in planted]
    rows = pl.DataFrame(
        {"row": range(ROWS), "label": label, "risk": [0.9] * ROWS, "flagged": planted, "kinds": kinds},
        schema_overrides={"kinds": pl.List(pl.String)},
    )
    return open_dataset([str(tmp_path / "texts.parquet")], request=NOTHING_SAID), rows.lazy(), texts


def test_the_form_is_named_and_counted(world):
    dataset, rows, texts = world
    audit = audited(dataset, rows)
    (found,) = explained(form_triggers.explain, audit, [Finding(Kind.BACKDOOR, "yes", PLANTED, 1e-6, (), "why")])
    first = found.evidence["triggers"][0]
    assert first["phrase"] == "you think of it ,"
    assert (first["rows"], first["hits"], first["outcome"]) == (PLANTED + 1, PLANTED, "yes")
    assert f"in {PLANTED + 1} rows, {PLANTED} of them labelled yes" in found.reason
    known = explained(explain_texts, audit, [found])
    one = Sample(0, "texts.parquet", 0, 0, None, "yes", 0.9, 0.1, ("backdoor",), (), "why", text=texts[0])
    assert "you think of it ," in next(iter(marked([one], known, audit.doubts))).marks


def test_a_group_with_triggers_or_without_a_form_stays_as_it_is(world):
    dataset, rows, _ = world
    told = Finding(Kind.BACKDOOR, "yes", PLANTED, 1e-6, (), "why", evidence={"triggers": []})
    plain = Finding(Kind.BACKDOOR, "no", 0, 1e-6, (), "why")
    assert explained(form_triggers.explain, audited(dataset, rows), [told, plain]) == (told, plain)
