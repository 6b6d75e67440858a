"""What cannot be audited is refused in one sentence that names the place, the rule and what came; nothing is left."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from foretaste.flows.cli import main

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
VECTORS = """
[embedders.column]
[detectors.spectral-signature]
"""
TOKENS = """
[embedders.tokens]
[detectors.spectral-signature]
"""
PIXELS = """
[embedders.pixels]
[detectors.spectral-signature]
[decide]
broken_rows = "{broken_rows}"
"""


def png(seed: int) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


def pictures(rows: int, broken: dict[int, bytes | None] | None = None) -> pa.Table:
    encoded = [(broken or {}).get(row, png(row)) for row in range(rows)]
    images = pa.array([{"bytes": one, "path": None} for one in encoded], PICTURE)
    return pa.table({"image": images, "label": [row % 2 for row in range(rows)]})


def vectors(rows: int = 100, dim: int = 4) -> pa.Table:
    value = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(value.reshape(-1)), dim)
    return pa.table({"embedding": embedding, "label": [row % 2 for row in range(rows)]})


@pytest.fixture
def given(tmp_path: Path) -> Callable[..., str]:
    """Write a dataset or a plan and say where."""

    def write(content: pa.Table | str | bytes, name: str = "train.parquet") -> str:
        path = tmp_path / "given" / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, pa.Table):
            pq.write_table(content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Audit what must be refused; the sentence that says why."""

    def audit(*arguments: str, out: Path | None = None) -> str:
        folder = out or tmp_path / "results" / "audit"
        before = everything(tmp_path)
        assert main(["audit", *arguments, "--out", str(folder)]) == 2
        said, told = capsys.readouterr()
        assert said == ""
        *talk, sentence = told.splitlines()
        assert sentence.startswith("foretaste: ")
        assert not [line for line in talk if line.startswith(("foretaste: ", "Traceback"))]
        assert "FORETASTE_DEBUG" not in sentence  # refused on purpose, not fallen over
        assert everything(tmp_path) - {tmp_path / "results"} == before
        return sentence.removeprefix("foretaste: ")

    return audit


def everything(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


# Files


def test_not_parquet(given, refused):
    sentence = refused(given("id,label\n1,2\n"), "--text", "id")
    assert "train.parquet" in sentence
    assert "is not a Parquet file" in sentence


def test_truncated(given, refused):
    whole = Path(given(vectors(), "whole.parquet"))
    sentence = refused(given(whole.read_bytes()[:-100]))
    assert "train.parquet: is truncated or damaged" in sentence


def test_damaged_inside(given, refused):
    data = bytearray(Path(given(vectors(1000), "whole.parquet")).read_bytes())
    data[4:104] = bytes(100)  # the first page's header
    sentence = refused(given(bytes(data)), "--plan", given(VECTORS, "plan.toml"))
    assert sentence.startswith("train.parquet, row group 0: ")


def test_no_such_file(refused, tmp_path):
    place = str(tmp_path / "nothing.parquet")
    assert refused(place) == f"{place}: no such file or folder"


def test_a_folder_without_data(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "must hold at least one Parquet file, found none" in refused(str(tmp_path / "empty"))


def test_no_rows(given, refused):
    sentence = refused(given(vectors().slice(0, 0)))
    assert "must hold at least one row, found none in 1 files" in sentence


# Columns


def test_no_such_column(given, refused):
    sentence = refused(given(vectors()), "--label", "lable")
    assert sentence == "train.parquet: no column 'lable'; did you mean 'label'?"


def test_labels_that_are_floats(given, refused):
    table = vectors()
    table = table.set_column(1, "label", pa.array(np.linspace(0, 1, len(table))))
    sentence = refused(given(table))
    assert "label column 'label' must hold integers, strings or booleans, got double" in sentence


def test_two_readings(given, refused):
    table = vectors().append_column("text", pa.array(["a"] * 100))
    sentence = refused(given(table))
    assert "--text text" in sentence
    assert "--embedding embedding" in sentence


def test_files_that_disagree(given, refused, tmp_path):
    given(vectors(), "a.parquet")
    given(vectors().drop_columns("label"), "b.parquet")
    assert "b.parquet: no column 'label', which a.parquet has" in refused(str(tmp_path / "given"))


# Values


def test_vectors_of_different_length(given, refused):
    table = pa.table({"embedding": pa.array([[1.0, 2.0], [1.0, 2.0, 3.0]], pa.list_(pa.float32())), "label": [0, 1]})
    sentence = refused(given(table), "--plan", given(VECTORS, "plan.toml"))
    assert sentence == "train.parquet, row group 0: vectors in 'embedding' must have one length, got 2 to 3"


def test_vectors_that_are_not_numbers(given, refused):
    value = vectors()["embedding"].combine_chunks().flatten().to_numpy().copy()
    value[[4, 5, 40]] = np.nan, np.inf, -np.inf
    table = vectors().set_column(0, "embedding", pa.FixedSizeListArray.from_arrays(pa.array(value), 4))
    sentence = refused(given(table), "--plan", given(VECTORS, "plan.toml"))
    assert sentence == "train.parquet, row group 0: 2 of 100 vectors in 'embedding' are not finite (first: row 1)"


def test_vectors_that_are_missing(given, refused):
    table = pa.table({"embedding": pa.array([[1.0], None], pa.list_(pa.float32())), "label": [0, 1]})
    sentence = refused(given(table), "--plan", given(VECTORS, "plan.toml"))
    assert sentence == "train.parquet, row group 0: 1 of 2 vectors in 'embedding' are missing"


BROKEN = {3: b"no picture at all", 70: png(70)[:40], 71: None}


def test_pictures_that_do_not_decode_are_reported(given, tmp_path, capsys):
    plan = given(PIXELS.format(broken_rows="report"), "plan.toml")
    out = tmp_path / "audit"
    assert main(["audit", given(pictures(300, BROKEN)), "--plan", plan, "--out", str(out)]) == 0
    assert "WARNED  3 of 300 rows cannot be read" in capsys.readouterr().out
    samples = pq.read_table(out / "samples.parquet").to_pylist()
    assert len(samples) == 300
    found = {row["row"]: row for row in samples if row["kinds"] == ["integrity"]}
    assert found.keys() == BROKEN.keys()
    assert all(row["flagged"] for row in found.values())
    assert "does not decode" in found[3]["reason"]
    assert "the cell is empty" in found[71]["reason"]
    scored = set(pq.read_table(out / "scores.parquet")["row"].to_pylist())
    assert scored == set(range(300)) - BROKEN.keys()


def test_pictures_that_do_not_decode_are_refused_where_the_plan_says_so(given, refused):
    sentence = refused(given(pictures(300, BROKEN)), "--plan", given(PIXELS.format(broken_rows="refuse"), "plan.toml"))
    assert sentence.startswith("train.parquet: every row must be readable, row 3 is not: does not decode")


def test_no_picture_decodes(given, refused):
    plan = given(PIXELS.format(broken_rows="report"), "plan.toml")
    sentence = refused(given(pictures(4, dict.fromkeys(range(4), b"x"))), "--plan", plan)
    assert "none of 4 rows can be read" in sentence


# Texts


def test_rows_without_a_text_are_reported(given, tmp_path):
    """A shard may hold none with a text."""
    texts = [f"word {at % 7} and {at % 5}" for at in range(200)]
    texts[3:6] = [None, "", " \n"]
    given(pa.table({"text": texts, "label": [at % 2 for at in range(200)]}), "a.parquet")
    given(pa.table({"text": pa.array([None] * 20, pa.string()), "label": [1] * 20}), "b.parquet")
    out, plan = tmp_path / "audit", given(TOKENS, "plan.toml")
    assert main(["audit", str(Path(plan).parent), "--plan", plan, "--out", str(out)]) in (0, 1)
    samples = pq.read_table(out / "samples.parquet").to_pylist()
    unread = {row["row"]: row["reason"] for row in samples if row["kinds"] == ["integrity"]}
    assert unread.keys() == {3, 4, 5, *range(200, 220)}
    assert "the cell is empty" in unread[3]
    assert "white space alone" in unread[5]
    scored = set(pq.read_table(out / "scores.parquet")["row"].to_pylist())
    assert scored == set(range(220)) - unread.keys()


def test_no_text_at_all(given, refused):
    table = pa.table({"text": pa.array([None, "", " "] * 20, pa.string()), "label": [0, 1] * 30})
    sentence = refused(given(table), "--plan", given(TOKENS, "plan.toml"))
    assert "none of 60 rows can be read; the first: no text: the cell is empty" in sentence


# Plans and options


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (VECTORS + "rnk = 2", "[detectors.spectral-signature] has no setting 'rnk'; did you mean 'rank'?"),
        (VECTORS + "[decied]", "the plan has no setting 'decied'; did you mean 'decide'?"),
        (VECTORS + "[decide]\nfdr = 7", "[decide] fdr must lie between 0 and 1, got 7"),
        ("[embedders.pixel]", "[embedders.pixel] has the kind 'pixel', which does not exist; did you mean 'pixels'?"),
        ("[embedders", "the plan is not TOML: "),
        ("a = " + 9999 * "[", "the plan is not TOML: "),
        ("a = " + 5000 * "9", "the plan is not TOML: "),
    ],
)
def test_plans(given, refused, plan, said):
    path = given(plan, "plan.toml")
    assert refused(given(vectors()), "--plan", path).startswith(f"{path}: {said}")


def test_no_plan(given, refused, tmp_path):
    path = str(tmp_path / "plan.toml")
    assert refused(given(vectors()), "--plan", path) == f"{path}: the plan cannot be read: No such file or directory"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_where_there_is_none(given, refused):
    assert "--device cuda needs a CUDA device" in refused(given(vectors()), "--device", "cuda")


# Where the results go


def test_a_folder_for_results_that_holds_something(given, refused, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    sentence = refused(given(vectors()), out=tmp_path / "mine")
    assert sentence == f"{tmp_path / 'mine'}: the folder for results must be new or empty, it exists and is not"


def test_a_folder_for_results_below_a_file(given, refused, tmp_path):
    (tmp_path / "file").touch()
    sentence = refused(given(vectors()), out=tmp_path / "file" / "audit")
    assert sentence.startswith(f"{tmp_path / 'file' / 'audit'}: the folder for results must be writable, got ")


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_for_results_that_is_read_only(given, refused, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o555)
    assert "must be writable, got Permission denied" in refused(given(vectors()), out=tmp_path / "locked" / "audit")


@pytest.mark.parametrize("inside", ["audit", "deep/down/audit"])
def test_a_folder_for_results_inside_the_dataset(given, refused, tmp_path, inside):
    given(vectors())
    out = tmp_path / "given" / inside
    sentence = refused(str(tmp_path / "given"), out=out)
    assert sentence.startswith(f"{out}: the folder for results must not lie inside the dataset {tmp_path / 'given'}")


def test_a_folder_for_results_beside_a_dataset_of_a_longer_name(given, refused, tmp_path):
    """`given-2` is not inside `given`: what is refused here is the plan."""
    given(vectors())
    path = given("[", "plan.toml")
    shutil.move(path, tmp_path / "plan.toml")
    out = tmp_path / "given-2"
    assert "is not TOML" in refused(str(tmp_path / "given"), "--plan", str(tmp_path / "plan.toml"), out=out)
