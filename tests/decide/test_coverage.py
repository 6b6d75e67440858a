"""What a run tested: classes with rows enough, and nothing else."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from foretaste.dataset.roles import Request
from foretaste.decide.coverage import rows_tested, rows_tested_for_attacks
from foretaste.pipeline.audit import audit
from foretaste.types.dataset import Dataset, File, Modality, Roles
from foretaste.types.digests import Digest
from foretaste.types.findings import Verdict

DIGEST = Digest("dirHash1", "a" * 64)


def dataset(*rows, name="cat"):
    classes = tuple(f"{name}{at}" for at in range(len(rows)))
    return Dataset("", (), (), Roles(Modality.TEXT, ("text",)), classes, rows, DIGEST)


def groups(*tests):
    names = ("detector", "embedder", "label", "tested", "kind")
    return pl.DataFrame(list(tests), schema=names, orient="row")


def test_only_classes_with_rows_enough_count_and_each_once():
    found = groups(
        ("spectral", "grey", 0, True, "backdoor"),
        ("spectral", "grey", 0, True, "backdoor"),
        ("spectral", "grey", 1, False, "backdoor"),
        ("spectral", "grey", -1, True, "backdoor"),
        ("wrong", "probe", 1, True, "label"),
    )
    assert rows_tested(found, dataset(100, 20)) == {("spectral", "grey"): 100, ("wrong", "probe"): 20}
    assert rows_tested_for_attacks(found, dataset(100, 20)) == 100
    assert rows_tested_for_attacks(found.filter(pl.col("kind") == "label"), dataset(100, 20)) == 0


def test_without_classes_a_test_is_of_all_rows():
    file = File("a.parquet", "a.parquet", 70, 1, DIGEST)
    bare = Dataset("", (file,), (), Roles(Modality.TEXT, ("text",)), (), (), DIGEST)
    assert rows_tested(groups(("flood", "copies", 0, True, "duplicate")), bare) == {("flood", "copies"): 70}


@pytest.mark.parametrize(("classes", "expected"), [(100, Verdict.INCONCLUSIVE), (4, Verdict.PASSED)])
def test_classes_too_small_to_be_tested_pass_nothing(tmp_path, classes, expected):
    draw = torch.Generator().manual_seed(0)
    label = torch.arange(1200) % classes
    vector = torch.randn(1200, 8, generator=draw) + 3 * torch.randn(classes, 8, generator=draw)[label]
    table = pa.table({"vector": pa.array(vector.tolist(), pa.list_(pa.float32(), 8)), "label": label.tolist()})
    pq.write_table(table, tmp_path / "data.parquet")
    plan = tmp_path / "plan.toml"
    plan.write_text('[embedders.column]\n[detectors.spectral-signature]\non = ["column"]\n', encoding="utf-8")
    report = audit(
        str(tmp_path / "data.parquet"), request=Request(embedding="vector", label="label"), plan=str(plan),
        out=str(tmp_path / "audit"),
    )  # fmt: skip
    assert report.verdict is expected
    assert [run.rows for run in report.runs] == [0 if expected is Verdict.INCONCLUSIVE else 1200]
