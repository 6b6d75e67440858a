"""Files that store a column in different ways are read as one type, or refused where a value would change."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.errors import DataError

TEXTS, FEATURES = Request(text="text"), Request(features=("x",), label="label")


def stored(folder, *tables):
    for name, table in zip("abc", tables, strict=False):
        pq.write_table(table, folder / f"{name}.parquet")
    return str(folder)


def labelled(label, type_=None):
    label = pa.array(label, type_)
    return pa.table({"text": [f"text {n}" for n in range(len(label))], "label": label, "x": [0.5] * len(label)})


def feature(values, type_):
    return pa.table({"x": pa.array(values, type_), "label": pa.array([n % 2 for n in range(len(values))])})


WIDTHS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()]


@pytest.mark.parametrize("first", WIDTHS)
@pytest.mark.parametrize("second", WIDTHS)
def test_labels_of_any_width_are_the_same_classes(tmp_path, first, second):
    dataset = open_dataset([stored(tmp_path, labelled([0, 1, 1], first), labelled([1, None, 0], second))])
    assert (dataset.classes, dataset.class_rows) == (("0", "1"), (2, 3))
    assert [part.label.tolist() for part in payloads(dataset)] == [[0, 1, 1], [1, -1, 0]]


NULL = [None, None]


@pytest.mark.parametrize("null", [0, 1, 2])
@pytest.mark.parametrize("values", [[0, 1], ["cat", "dog"], [True, False]])
def test_a_label_that_one_file_has_no_value_of_is_missing_there(tmp_path, null, values):
    tables = [labelled(NULL, pa.null()) if at == null else labelled(values) for at in range(3)]
    dataset = open_dataset([stored(tmp_path, *tables)])
    assert [-1 in part.label.tolist() for part in payloads(dataset)] == [at == null for at in range(3)]
    assert sum(dataset.class_rows) == 4


def test_no_value_in_any_file_is_no_label(tmp_path):
    place = stored(tmp_path, labelled(NULL, pa.null()), labelled(NULL, pa.null()))
    with pytest.raises(DataError, match=r"label.*must hold"):
        open_dataset([place])


@pytest.mark.parametrize(
    ("mine", "theirs", "common"),
    [
        (([1, 2], pa.int16()), ([3, None], pa.int64()), pa.int64()),
        (([1, 2], pa.int64()), ([0.5, None], pa.float64()), pa.float64()),
        (([0.5, 2], pa.float32()), ([1, -(2**53)], pa.int64()), pa.float64()),
        (([1, 2], pa.int16()), ([0.5, None], pa.float16()), pa.float64()),
        (([0.5, 1], pa.float16()), ([0.1, None], pa.float64()), pa.float64()),
        ((NULL, pa.null()), ([7, 8], pa.int32()), pa.int32()),
        ((NULL, pa.null()), (["a", "b"], pa.string()), pa.string()),
        ((["a", "b"], pa.large_string()), (["c", None], pa.dictionary(pa.int8(), pa.string())), pa.string()),
        ((["a", "b"], pa.string_view()), (NULL, pa.null()), pa.string()),
    ],
)
def test_features_are_read_as_the_type_that_holds_both(tmp_path, mine, theirs, common):
    dataset = open_dataset([stored(tmp_path, feature(*mine), feature(*theirs))], request=FEATURES)
    found = [part.columns["x"] for part in payloads(dataset)]
    assert [one.type for one in found] == [common] * 2
    assert [one.to_pylist() for one in found] == [mine[0], theirs[0]]


@pytest.mark.parametrize(
    ("mine", "theirs", "words"),
    [
        (([1, 2], pa.int64()), ([0.5, 1], pa.float64()), ""),
        (([1, 2**53 + 1], pa.int64()), ([0.5, 1], pa.float64()), "int64 here and must become double"),
        (([1, -2], pa.int64()), ([1, 2**63], pa.uint64()), "uint64 here and must become int64"),
        (([1, 2], pa.int64()), (["1", "2"], pa.string()), "got string and in a.parquet int64: write it as one type"),
        (([True, False], pa.bool_()), ([1, 2], pa.int64()), "got int64 and in a.parquet bool"),
        ((["a", "b"], pa.string()), ([b"a", b"b"], pa.binary()), "got binary and in a.parquet string"),
    ],
)
def test_where_a_value_would_change_it_is_refused_with_a_way_out(tmp_path, mine, theirs, words):
    place = stored(tmp_path, feature(*mine), feature(*theirs))
    if not words:
        assert sum(len(part) for part in payloads(open_dataset([place], request=FEATURES))) == 4
        return
    with pytest.raises(DataError, match=f"column 'x'.*{words}.*leave a file out"):
        list(payloads(open_dataset([place], request=FEATURES)))


PICTURE, BYTES = (
    pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    pa.struct([("bytes", pa.large_binary())]),
)
TURN, TOOL = (
    pa.list_(pa.struct([("role", pa.string()), ("content", pa.string()), *more]))
    for more in ([], [("tool_calls", pa.string())])
)


@pytest.mark.parametrize(
    ("said", "first", "second"),
    [
        (Request(image="c"), ([{"bytes": b"x", "path": "p"}], PICTURE), ([{"bytes": b"y"}], BYTES)),
        (Request(image="c"), ([None], pa.null()), ([{"bytes": b"y"}], BYTES)),
        (
            Request(messages="c"),
            ([[{"role": "user", "content": "a"}]], TURN),
            ([[{"role": "user", "content": "b", "tool_calls": "t"}]], TOOL),
        ),
        (Request(embedding="c"), ([[1.0, 2.0]], pa.list_(pa.float32())), ([[1.0, 2.5]], pa.list_(pa.float64(), 2))),
        (Request(embedding="c"), ([[1, 2]], pa.list_(pa.int8(), 2)), ([[1.0, 2.5]], pa.large_list(pa.float32()))),
    ],
)
def test_what_is_nested_is_promoted_as_well(tmp_path, said, first, second):
    tables = [pa.table({"c": pa.array(*column)}) for column in (first, second)]
    dataset = open_dataset([stored(tmp_path, *tables)], request=said)
    found = [part.columns["c"] for part in payloads(dataset)]
    assert found[0].type == found[1].type
    for column, (value, _) in zip(found, (first, second), strict=True):
        [read] = column.to_pylist()
        assert read == value[0] or all(one.items() <= two.items() for one, two in _pairs(value[0], read))


def _pairs(wanted, read):
    return zip(wanted, read, strict=True) if isinstance(wanted, list) else [(wanted, read)]


def test_a_name_that_two_columns_of_another_file_have_is_refused(tmp_path):
    twice = pa.table([pa.array(["a"]), pa.array([0]), pa.array([1])], names=["text", "label", "label"])
    with pytest.raises(DataError, match=r"b\.parquet: 2 columns 'label', which a\.parquet has"):
        open_dataset([stored(tmp_path, labelled([0, 1]), twice)], request=TEXTS)
