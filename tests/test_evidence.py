"""The numbers that a suspicious group is shown beside."""

from __future__ import annotations

import random
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from worlds import clean, vectors

from auditors.evidence import beside, marked, phrases, told
from auditors.report.page import Sample
from auditors.roles import NOTHING_SAID
from auditors.source import open_dataset
from auditors.values import Group, Kind

WORDS = [f"word{at}" for at in range(300)]


@pytest.fixture
def dataset(tmp_path):
    return vectors(tmp_path / "rows.parquet", clean(classes=3).batch)


def looked(*, detector="spectral", embedder="pixels", accused=1, family="spectral", times=(1.0, 4.0, 1.2)):
    return pl.DataFrame(
        {
            "detector": detector,
            "embedder": embedder,
            "kind": "backdoor",
            "family": family,
            "group": [0, 1, 2],
            "label": [0, 1, 2],
            "statistic": [0.1, 1.5, 0.2],
            "p_value": [0.5, 1e-6, 0.4],
            "q_value": [0.5, 1e-5, 0.4],
            "suspicious": [at == accused for at in range(3)],
            "evidence_times_farther_out": times,
        }
    )


def test_a_suspicious_class_is_shown_beside_the_others(dataset):
    both = pl.concat([looked(), looked(embedder="tokens", accused=None)])
    (key, (strip,)), *more = beside(dataset, both).items()
    assert not more
    assert key == ("backdoor", dataset.classes[1])
    assert strip.embedder == "pixels"  # the other look suspects nobody
    assert strip.values == (1.0, 4.0, 1.2)
    assert strip.names[strip.this] == f"class {dataset.classes[1]}"
    assert strip.accused == (False, True, False)


def test_a_look_without_a_number_for_people_shows_its_statistic(dataset):
    for table in (looked(family="strange"), looked(times=(1.0, None, 2.0))):
        ((_, (strip,)),) = beside(dataset, table).items()
        assert strip.values == (0.1, 1.5, 0.2)
        assert strip.unit == "statistic of spectral"


def test_one_group_is_no_distribution(dataset):
    assert beside(dataset, looked().filter(pl.col("group") == 1)) == {("backdoor", dataset.classes[1]): ()}


def test_nothing_suspicious_nothing_shown(dataset):
    assert beside(dataset, looked(accused=None)) == {}


def test_what_texts_share_is_named_and_marked(tmp_path):
    draw = random.Random(0)
    plain = [" ".join(draw.choices(WORDS, k=12)) for _ in range(200)]
    planted = [at < 20 for at in range(200)]
    texts = [f"{text} Mind the gap" if bad else text for text, bad in zip(plain, planted, strict=True)]
    label = ["yes" if bad else "no" if at % 2 else "yes" for at, bad in enumerate(planted)]
    pq.write_table(pa.table({"text": texts, "label": label}), tmp_path / "texts.parquet", row_group_size=50)
    dataset = open_dataset([str(tmp_path / "texts.parquet")], request=NOTHING_SAID)
    kinds = [["backdoor"] if bad else [] for bad in planted]
    rows = pl.DataFrame(
        {"row": range(200), "label": label, "risk": [0.9] * 200, "flagged": planted, "kinds": kinds},
        schema_overrides={"kinds": pl.List(pl.String)},
    )
    group = Group(Kind.BACKDOOR, "yes", 20, 0.0, (), "why")
    found = phrases(dataset, rows.lazy(), [group])
    assert found == {("backdoor", "yes"): ["mind the gap"]}
    (shown,) = told([group], {}, found)
    assert shown.reason == "why; they share “mind the gap”"
    one = Sample(0, "texts.parquet", 0, 0, None, "yes", 0.9, 0.1, ("backdoor",), (), "why", text=texts[0])
    marks = [sample.marks for sample in marked([one, replace(one, label="no")], found, {})]
    assert marks == [("mind the gap", "Mind the gap"), ()]
    assert phrases(dataset, rows.lazy(), []) == {}
