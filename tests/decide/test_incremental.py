import json
import shutil

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.stats
from places import DATA

import foretaste
from foretaste.dataset.diff import Change, Difference
from foretaste.dataset.parquet import open_dataset
from foretaste.decide.incremental import Recency, promoted
from foretaste.decide.settings import Decide
from foretaste.errors import PlanError
from foretaste.flows.cli import main

PLAN = '[embedders.grey]\nkind = "pixels"\n[detectors.spectral-signature]\n[decide]\ncontent = "grey"\n'
ROWS, CLASS = 200, 100


@pytest.fixture
def dataset(tmp_path):
    table = pa.table({"text": [f"row {n}" for n in range(ROWS)], "label": ["cat", "dog"] * CLASS})
    pq.write_table(table, tmp_path / "data.parquet")
    return open_dataset([str(tmp_path / "data.parquet")])


def judged(tmp_path, dataset, *, standing: list[int], fresh: list[int], status: str = "watched") -> pl.DataFrame:
    """One group, class cat, of which the rows `standing` stand out, after the rows `fresh` arrived."""
    scores = pl.DataFrame(
        {
            "row": range(ROWS),
            "detector": "d",
            "embedder": "e",
            "group": [0, 1] * CLASS,
            "posterior": [0.9 if row in standing else 0.1 for row in range(ROWS)],
        }
    )
    scores.write_parquet(tmp_path / "scores.parquet")
    groups = pl.DataFrame(
        {"detector": "d", "embedder": "e", "group": [0, 1], "label": [0, 1], "kind": "backdoor"}
    ).with_columns(
        pl.Series("watched", [status == "watched", False]), pl.Series("suspicious", [status == "suspicious", False])
    )
    found = Difference(ROWS, ROWS, 0, "content", dict.fromkeys(Change, 0), {}, fresh=pl.Series(fresh))
    cats = sum(row % 2 == 0 for row in fresh)
    recency = Recency("old", found, frozenset(fresh), {"cat": cats, "dog": len(fresh) - cats})
    return promoted(groups, str(tmp_path / "scores.parquet"), dataset, recency, Decide())


def test_odd_rows_that_were_always_there_are_only_watched(tmp_path, dataset):
    cats = list(range(0, ROWS, 2))
    groups = judged(tmp_path, dataset, standing=cats[:10], fresh=cats[5:55])
    assert groups["watched"].to_list() == [True, False]
    assert not groups["suspicious"].any()
    assert groups["evidence_arrived"].to_list() == [5, None]


def test_odd_rows_that_arrived_together_are_accused(tmp_path, dataset):
    cats = list(range(0, ROWS, 2))
    groups = judged(tmp_path, dataset, standing=cats[:10], fresh=cats[:20])
    assert groups["suspicious"].to_list() == [True, False]
    assert not groups["watched"].any()
    assert groups.select("evidence_arrived", "evidence_stand_out").row(0) == (10, 10)


@pytest.mark.parametrize("arrived", range(8))
def test_the_line_is_fishers(tmp_path, dataset, arrived):
    cats = list(range(0, ROWS, 2))
    groups = judged(tmp_path, dataset, standing=cats[:7], fresh=cats[7 - arrived : 7 - arrived + 30])
    table = [[arrived, 7 - arrived], [30 - arrived, CLASS - 30 - 7 + arrived]]
    exact = scipy.stats.fisher_exact(table, alternative="greater").pvalue
    assert bool(groups["suspicious"][0]) == (exact <= 0.01)


def test_a_class_that_arrived_whole_says_nothing(tmp_path, dataset):
    groups = judged(tmp_path, dataset, standing=[0, 2, 4], fresh=list(range(ROWS)))
    assert not groups["suspicious"].any()


def test_what_is_accused_already_stays_so(tmp_path, dataset):
    groups = judged(tmp_path, dataset, standing=[0, 2], fresh=[100], status="suspicious")
    assert groups["suspicious"].to_list() == [True, False]
    assert groups["evidence_arrived"].to_list() == [0, None]


def test_an_audit_says_what_came_since_the_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "train").mkdir()
    poisoned = pq.read_table(shipped("digits_badnets"))
    truth = pq.read_table(shipped("truth/digits_badnets"))
    bad_ids = set(truth.filter(truth["is_poisoned"])["id"].to_pylist())
    planted = [one in bad_ids for one in poisoned["id"].to_pylist()]
    late = [n for n, bad in enumerate(planted) if bad or n % 4 == 0]
    early = sorted(set(range(len(poisoned))) - set(late))
    pq.write_table(poisoned.take(early), "train/1.parquet")
    assert main(["audit", "train", "--plan", "plan.toml", "--out", "audits/1"]) == 0
    pq.write_table(poisoned.take(late), "train/2.parquet")
    assert main(["audit", "train", "--plan", "plan.toml", "--out", "audits/2", "--since", "audits/1"]) == 1
    report = json.loads((tmp_path / "audits/2/report.json").read_text())
    assert "came or changed since the earlier audit" in report["groups"][0]["reason"]
    assert f"Since audits/1: {len(late)} added; " in report["notes"][-1]
    capsys.readouterr()


def test_an_earlier_audit_that_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(shipped("digits"), tmp_path)
    assert main(["audit", "digits.parquet", "--since", "digits.parquet", "--out", "a"]) == 2
    assert "neither" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    with pytest.raises(PlanError):
        foretaste.audit("digits.parquet", since="nowhere", out="a")


def shipped(name: str) -> str:
    return str(DATA / f"{name}.parquet")
