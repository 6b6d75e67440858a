"""Classes from what a label column holds, and what is said of classes that probably are none."""

from __future__ import annotations

import pyarrow as pa
import pytest
from written import parquet, sentences

from foretaste.dataset.labels import remarks
from foretaste.dataset.parquet import identities, open_dataset
from foretaste.errors import DataError

ROWS = 60


def labelled(tmp_path, label):
    return open_dataset(parquet(tmp_path / "a.parquet", text=sentences(len(label)), label=label))


# Whole numbers are classes however they are stored


@pytest.mark.parametrize(
    "label",
    [
        pa.array([1.0, 0.0, None] * 20),
        pa.array([1.0, 0.0, float("nan")] * 20),
        pa.array([1.0, 0.0, None] * 20, pa.float32()),
        pa.array([1.0, 0.0, None] * 20).cast(pa.float16()),
        pa.array([1, 0, None] * 20, pa.int8()).cast(pa.decimal128(12, 2)),
        pa.array([1, 0, None] * 20, pa.int8()),
    ],
)
def test_whole_numbers_are_classes(tmp_path, label):
    dataset = labelled(tmp_path, label)
    assert (dataset.classes, dataset.class_rows) == (("0", "1"), (20, 20))
    assert identities(dataset, dataset.shards[0])["label"].to_pylist()[:3] == ["1", "0", None]


def test_a_fraction_after_the_sample_is_refused(tmp_path):
    place = parquet(tmp_path / "a.parquet", text=sentences(500), label=[0.0, 1.0] * 249 + [0.0, 0.5])
    with pytest.raises(DataError) as caught:
        open_dataset(place)
    told = "a.parquet, row group 0: label 'label' must hold whole numbers or names, got 0.5"
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("huge", [float("inf"), 1e300])
def test_numbers_that_no_class_has_are_refused(tmp_path, huge):
    with pytest.raises(DataError, match="must hold whole numbers or names, got"):
        labelled(tmp_path, [0.0, huge] * 20)


# Classes that probably are none


def test_minus_one_beside_classes_that_count_from_zero_is_noted():
    [note] = remarks(("-1", "0", "1"), (100, 110, 90))
    assert note.startswith("Class -1 (100 rows) was audited like any other. If it says that these rows have no label")
    assert len(list(remarks(("-1", "1", "2"), (1, 1, 1)))) == 1


@pytest.mark.parametrize("classes", [("-1", "1"), ("-2", "-1", "0", "1"), ("-1", "cat", "dog"), ("0", "1"), ()])
def test_minus_one_may_be_a_class(classes):
    assert list(remarks(classes, [10] * len(classes))) == []


def test_missing_values_that_became_strings_are_noted():
    notes = list(remarks(("", "cat", "nan"), (3, 50, 4)))
    assert [note[:20] for note in notes] == ["Class '' (3 rows) wa", "Class nan (4 rows) w"]
    assert list(remarks(("none", "favor", "against"), (9, 9, 9))) == []  # what people call a stance


# Classes that are spelt in several ways


def test_spellings_of_one_class_are_noted():
    [note] = remarks(("Cat", "cat", "cat ", "dog"), (50, 40, 3, 60))
    assert note == (
        "Classes that differ only in spelling were audited as different classes: "
        "'Cat' (50 rows), 'cat' (40 rows), 'cat ' (3 rows)."
    )
    [note] = remarks(("new  york", "New York", "ｎｅｗ york"), (1, 2, 3))
    assert "'ｎｅｗ york' (3 rows)" in note


def test_many_spellings_are_abbreviated():
    names = [spelt for place in range(9) for spelt in (f"c{place}", f"C{place}")]
    [note] = remarks(names, [1] * 18)
    assert note.endswith("'c5' (1 row), 'C5' (1 row); and 3 more.")


def test_spellings_in_the_data_come_as_written(tmp_path):
    dataset = labelled(tmp_path, ["pos", "pos ", "neg"] * 20)
    assert dataset.classes == ("neg", "pos", "pos ")
