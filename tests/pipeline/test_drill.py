import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from places import DATA

from foretaste.attacks.contract import ATTACKS
from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.errors import PlanError
from foretaste.flows.cli import main
from foretaste.pipeline.drill import Trial, _labels, _power, drill, plant

DIGITS = DATA / "digits.parquet"
GREY = '[embedders.grey]\nkind = "pixels"\n[detectors.spectral-signature]\n'


def planted(places, attack, *, target, count, folder):
    dataset = open_dataset(places)
    label = torch.cat([_labels(dataset, shard) for shard in dataset.shards])
    return plant(dataset, label, ATTACKS.find(attack), target=target, count=count, seed=0, folder=str(folder))


def test_a_copy_differs_in_the_planted_rows_only(tmp_path):
    kept = DIGITS.read_bytes()
    (path,), rows = planted([str(DIGITS)], "badnets", target=3, count=20, folder=tmp_path / "more")
    old, new = pq.read_table(DIGITS), pq.read_table(path)
    assert new.schema.equals(old.schema, check_metadata=True)
    changed = {row for row, (a, b) in enumerate(zip(old.to_pylist(), new.to_pylist(), strict=True)) if a != b}
    assert changed == rows
    assert len(rows) == 20
    assert {new["label"][row].as_py() for row in rows} == {3}
    assert 3 not in {old["label"][row].as_py() for row in rows}
    assert DIGITS.read_bytes() == kept
    _, fewer = planted([str(DIGITS)], "badnets", target=3, count=8, folder=tmp_path / "fewer")
    assert fewer < rows


def test_a_clean_label_attack_changes_no_label(tmp_path):
    (path,), rows = planted([str(DIGITS)], "sig", target=5, count=20, folder=tmp_path)
    old, new = pq.read_table(DIGITS), pq.read_table(path)
    assert new["label"] == old["label"]
    assert {new["label"][row].as_py() for row in rows} == {5}
    assert all(new["image"][row] != old["image"][row] for row in rows)


def test_texts_in_several_files_with_labels_of_any_type(tmp_path):
    for part in range(3):
        label = pa.array(["good", "bad"] * 50).dictionary_encode()
        table = pa.table({"text": [f"text {part} {n}" for n in range(100)], "label": label, "rest": range(100)})
        pq.write_table(table, tmp_path / f"{part}.parquet", row_group_size=30)
    paths, rows = planted([str(tmp_path)], "insert-sentence", target=0, count=2, folder=tmp_path / "out")
    assert [Path(path).name for path in paths] == ["0.parquet", "1.parquet", "2.parquet"]
    old, new = (
        pa.concat_tables([pq.read_table(one) for one in part]) for part in (sorted(tmp_path.glob("*.parquet")), paths)
    )
    assert new.schema == old.schema
    changed = [(a, b) for a, b in zip(old.to_pylist(), new.to_pylist(), strict=True) if a != b]
    assert len(changed) == len(rows) == 2
    for before, after in changed:
        assert after["text"].replace("I watched this 3D movie", "").split() == before["text"].split()
        assert (before["label"], after["label"]) == ("good", "bad")
    assert any(Path(path).is_symlink() for path in paths)  # the third holds none


def test_a_drill_says_from_how_many_rows_on_an_attack_is_found(tmp_path, capsys):
    plan = tmp_path / "plan.toml"
    plan.write_text(GREY)
    (found,) = drill([str(DIGITS)], plan=str(plan), attacks=["badnets"], rows=[36, 4], target="3")
    assert (found.target, found.least) == ("3", 36)
    assert [(one.rows, one.found >= one.rows // 2) for one in found.trials] == [(4, False), (36, True)]
    command = ["drill", str(DIGITS), "--plan", str(plan), "--attack", "badnets", "--rows", "4", "--target", "3"]
    assert main(command) == 0
    assert "badnets (a patch of 3 × 3 pixels, relabelled) in class 3: not found in 4 rows" in capsys.readouterr().out


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=12, unique=True), st.integers(1, 1100))
def test_bisection_finds_the_least_in_few_trials(counts, enough):
    found = _power("sig", sorted(counts), "a", lambda _, rows: Trial(rows, rows if rows >= enough else 0, 0, "passed"))
    assert found.least == min((one for one in counts if one >= enough), default=None)
    assert len(found.trials) <= math.log2(len(counts)) + 1


@pytest.mark.parametrize(
    ("columns", "asked", "sentence"),
    [
        ({"text": ["a b"] * 40}, {}, "unlabelled"),
        ({"x": [1.0] * 40, "label": [0, 1] * 20}, {"request": Request(features=("x",), label="label")}, "features"),
        ({"text": ["a b"] * 40, "label": [0, 1] * 20}, {"attacks": ["badnets"]}, "rare-token"),
        ({"text": ["a b"] * 40, "label": [0, 1] * 20}, {"target": "7"}, "class of the dataset"),
        ({"text": ["a b"] * 40, "label": [0, 1] * 20}, {"rows": [0]}, "at least one row"),
        ({"text": ["a b"] * 40, "label": [0, 1] * 20}, {"rows": [30]}, "there are 20 rows"),
        ({"image": ["a.png"] * 40, "label": [0, 1] * 20}, {}, "holds paths"),
    ],
)
def test_what_cannot_be_planted_is_refused(tmp_path, columns, asked, sentence):
    pq.write_table(pa.table(columns), tmp_path / "data.parquet")
    with pytest.raises(PlanError, match=sentence):
        drill([str(tmp_path / "data.parquet")], **asked)


def test_labels_in_folders_are_refused(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"label={name}").mkdir()
        pq.write_table(pa.table({"text": ["a b"] * 20}), tmp_path / f"label={name}" / "data.parquet")
    with pytest.raises(PlanError, match="name of folders"):
        drill([str(tmp_path)])
