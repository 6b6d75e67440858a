"""The cells of a row of a table, the most unusual first."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from foretaste.explain.unusual_cells import oddities

DRAW = np.random.default_rng(0)
LABEL = np.arange(400) % 2


def table(**changes):
    """Class 0 has small numbers, class 1 large ones; row 0 is of class 0."""
    size = DRAW.normal(size=400) + 10 * LABEL
    colour = np.array(["red", "blue"])[(DRAW.random(400) < 0.5).astype(int)].tolist()
    columns = {"size": size, "weight": DRAW.normal(size=400), "colour": colour}
    for name, value in changes.items():
        columns[name][0] = value
    return {name: pa.array(list(column)) for name, column in columns.items()}


def first(**changes):
    return oddities(table(**changes), LABEL, [0])[0][0]


def test_a_number_is_held_against_its_class():
    odd = first(size=10.0)  # ordinary in the dataset, not in its class
    assert odd.name == "size"
    assert odd.value == "10"
    assert odd.distance > 6
    low, high = map(float, odd.usual.removeprefix("half in ").split(" to "))
    assert -1 < low < -0.4
    assert 0.4 < high < 1


def test_a_rare_name_is_odd_and_a_common_one_is_not():
    assert (first(colour="ultraviolet").name, first(colour="ultraviolet").value) == ("colour", "ultraviolet")
    (ordinary,) = (cell for cell in oddities(table(colour="red"), LABEL, [0])[0] if cell.name == "colour")
    assert ordinary.distance < 1.5
    assert " in " in ordinary.usual


@pytest.mark.parametrize("value", [float("nan"), None, float("inf"), -1e308])
def test_strange_numbers_have_a_place(value):
    cells = oddities(table(weight=value), LABEL, [0, 1])
    assert all(np.isfinite(cell.distance) and cell.distance >= 0 for row in cells for cell in row)
    assert [len(row) for row in cells] == [3, 3]


def test_columns_without_numbers_or_spread_are_no_crash():
    columns = {"void": pa.nulls(20, pa.float64()), "same": pa.array([1.0] * 20), "yes": pa.array([True] * 20)}
    label = np.zeros(20, dtype=np.int64)
    (cells,) = oddities(columns, label, [3])
    assert {cell.name: cell.distance for cell in cells} == {"void": 0.0, "same": 0.0, "yes": 0.0}


def test_a_small_class_is_held_against_everybody():
    label = np.where(np.arange(400) == 0, 7, LABEL)
    (cells,) = oddities(table(size=5.0), label, [0])
    assert next(cell for cell in cells if cell.name == "size").distance < 2
