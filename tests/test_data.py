"""The sample datasets are what their cards say, and data/make.py makes them."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from places import DATA

FILES = ("digits.parquet", "digits_badnets.parquet", "breast_cancer.parquet", "truth/digits_badnets.parquet")


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    folder = tmp_path_factory.mktemp("data")
    make.make(folder)
    return folder


def pixels(path: Path) -> np.ndarray:
    """[N, 32, 32, 3] uint8."""
    encoded = pq.read_table(path)["image"].to_pylist()
    return np.stack([np.asarray(Image.open(io.BytesIO(one["bytes"]))) for one in encoded])


def column(path: Path, name: str) -> np.ndarray:
    return pq.read_table(path)[name].to_numpy()


@pytest.mark.parametrize("name", FILES)
def test_the_card_names_the_bytes(name: str) -> None:
    card = (DATA / "README.md").read_text(encoding="utf-8")
    row = re.search(rf"\| `{name}` \| (\d+) \| (\d+) \|.*`([0-9a-f]{{64}})`", card)
    assert row is not None
    file = pq.ParquetFile(DATA / name)
    digest = hashlib.sha256((DATA / name).read_bytes()).hexdigest()
    assert (int(row[1]), int(row[2]), row[3]) == (file.metadata.num_rows, file.num_row_groups, digest)


@pytest.mark.parametrize("name", FILES)
def test_make_rebuilds_the_rows(name: str, rebuilt: Path) -> None:
    shipped, again = pq.read_table(DATA / name), pq.read_table(rebuilt / name)
    assert shipped.schema.equals(again.schema, check_metadata=True)
    if "image" in shipped.column_names:  # another Pillow may write other bytes for the same picture
        assert np.array_equal(pixels(DATA / name), pixels(rebuilt / name))
        shipped, again = shipped.drop_columns("image"), again.drop_columns("image")
    assert shipped.equals(again)


def test_the_poisoned_rows_are_those_of_the_truth() -> None:
    clean, planted, truth = (
        DATA / "digits.parquet",
        DATA / "digits_badnets.parquet",
        DATA / "truth/digits_badnets.parquet",
    )
    poisoned = column(truth, "is_poisoned")
    assert poisoned.sum() == 36
    for path in (planted, truth):
        assert np.array_equal(column(clean, "id"), column(path, "id"))
    assert np.array_equal((pixels(clean) != pixels(planted)).any((1, 2, 3)), poisoned)
    assert np.array_equal(column(clean, "label") != column(planted, "label"), poisoned)
    assert np.array_equal(column(clean, "label"), column(truth, "original_label"))
    assert set(column(planted, "label")[poisoned]) == {3}


def test_position_tells_nothing_of_the_poison() -> None:
    positions = column(DATA / "truth/digits_badnets.parquet", "is_poisoned").nonzero()[0]
    assert abs(positions.mean() - 898) < 2.5 * 1797 / np.sqrt(12 * len(positions))  # uniform over the rows
    assert np.bincount(positions // 600, minlength=3).min() >= 5  # in every row group


@pytest.mark.parametrize("name", FILES[:3])
def test_labels_are_described_as_hugging_face_does(name: str) -> None:
    schema = pq.read_schema(DATA / name)
    features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == schema.names
    assert features["label"]["_type"] == "ClassLabel"
    assert set(column(DATA / name, "label")) == set(range(len(features["label"]["names"])))
