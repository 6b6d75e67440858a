"""A folder's value beside a column of the same name: they must agree, because readers take the one or the other."""

from __future__ import annotations

import datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.errors import DataError


def stored(root, folder, values, type_=None, name="label"):
    (root / folder).mkdir(parents=True, exist_ok=True)
    rows = {"text": [f"text {n}" for n in range(len(values))], name: pa.array(values, type_)}
    pq.write_table(pa.table(rows), root / folder / "p.parquet")


@pytest.mark.parametrize(
    ("folder", "value", "type_"),
    [
        ("0", 0, pa.int64()),
        ("01", 1, pa.int8()),
        ("0", "0", pa.string()),
        ("a%20b", "a b", pa.dictionary(pa.int8(), pa.string())),
        ("true", True, pa.bool_()),
    ],
)
def test_where_they_agree_by_value_the_column_is_read(tmp_path, folder, value, type_):
    stored(tmp_path, f"label={folder}", [value] * 3, type_)
    assert open_dataset([str(tmp_path)]).class_rows == (3,)


@pytest.mark.parametrize(
    ("folder", "values", "type_", "held"),
    [
        ("0", [0, 1, 0], pa.int64(), "'1'"),
        ("0", [0, None], pa.int64(), "null"),
        ("cat", [0, 1], pa.int64(), "'0'"),
        ("cat", ["cat", "dog"], pa.string(), "'dog'"),
        ("0", ["00"], pa.string(), "'00'"),
        ("__HIVE_DEFAULT_PARTITION__", [None, 1], pa.int64(), "'1'"),
    ],
)
def test_where_they_differ_the_file_the_column_and_both_values_are_named(tmp_path, folder, values, type_, held):
    seven = 7 if pa.types.is_integer(type_) else "7"
    stored(tmp_path, "label=7", [seven] * 2, type_)
    stored(tmp_path, f"label={folder}", values, type_)
    said = "null" if folder.startswith("__") else repr(folder)
    with pytest.raises(DataError, match=rf"label={folder}/p.*column 'label' must hold {said} .*and holds {held}: "):
        open_dataset([str(tmp_path)])


def test_null_in_both_agrees(tmp_path):
    stored(tmp_path, "label=__HIVE_DEFAULT_PARTITION__", [None, None], pa.int64())
    stored(tmp_path, "label=1", [1, 1], pa.int64())
    assert open_dataset([str(tmp_path)]).class_rows == (2,)


def test_other_roles_than_the_label_are_compared_when_they_are_read(tmp_path):
    stored(tmp_path, "day=2020-01-02", [datetime.date(2020, 1, 2)] * 3, name="day")
    said = Request(text="text", source="day", label="")
    assert sum(map(len, payloads(open_dataset([str(tmp_path)], request=said)))) == 3
    stored(tmp_path, "day=2020-01-02", [datetime.date(2020, 1, 3)] * 3, name="day")
    with pytest.raises(DataError, match="must hold '2020-01-02' as its folder says, and holds '2020-01-03'"):
        list(payloads(open_dataset([str(tmp_path)], request=said)))


def test_columns_that_are_not_audited_are_not_compared(tmp_path):
    stored(tmp_path, "day=1", [2, 3], name="day")
    assert open_dataset([str(tmp_path)], request=Request(text="text", label="")).rows == 2
