"""What a pattern in one class accounts for suspects nobody else; all other findings do."""

from __future__ import annotations

import polars as pl
import pytest

from auditors import explaining


def world(*, patterned, foreign, pattern=True, label=3):
    """A class with rows that share a pattern and rows that look like other classes, and a second such class without."""
    groups = pl.DataFrame(
        {
            "detector": ["spectral-signature", "flipped-labels", "flipped-pairs", "flipped-labels"],
            "embedder": ["grey32", "patches", "patches", "patches"],
            "family": ["spectral", "relabelling", "relabelling", "relabelling"],
            "group": [3, 3, 31, 5],
            "label": [3, label, label, 5],
            "suspicious": [pattern, True, False, True],
            "watched": [False, False, True, False],
            "evidence_foreign_rows": [None, foreign, foreign, foreign],
        }
    )
    rows = [list(range(patterned)), list(range(7)), list(range(9))]
    members = pl.DataFrame(
        {
            "detector": ["spectral-signature", "flipped-labels", "flipped-labels"],
            "embedder": ["grey32", "patches", "patches"],
            "group": [3, 3, 5],
            "label": [3, label, 5],
            "rows": rows,
        }
    )
    return groups, members


@pytest.mark.parametrize("patterned", [50, 100, 400])
def test_a_pattern_on_half_the_foreign_rows_or_more_accounts_for_them(patterned):
    groups, members = world(patterned=patterned, foreign=100.0)
    found = explaining.away(groups, members)
    assert found["suspicious"].to_list() == [True, False, False, True]
    assert found["watched"].to_list() == [False, False, False, False]
    assert found.drop("suspicious", "watched").equals(groups.drop("suspicious", "watched"))


def test_a_pattern_on_few_rows_does_not_account_for_many_foreign_ones():
    groups, members = world(patterned=20, foreign=100.0)
    assert explaining.away(groups, members).equals(groups)


def test_a_pattern_that_suspects_nobody_accounts_for_nothing():
    groups, members = world(patterned=100, foreign=100.0, pattern=False)
    assert explaining.away(groups, members).equals(groups)


def test_a_pattern_in_another_class_accounts_for_nothing():
    groups, members = world(patterned=100, foreign=100.0, label=4)
    assert explaining.away(groups, members).equals(groups)


def test_without_looks_at_labels_nothing_changes():
    groups, members = world(patterned=100, foreign=100.0)
    plain = groups.filter(pl.col("family") == "spectral").drop("evidence_foreign_rows")
    assert explaining.away(plain, members).equals(plain)


def all_classes(everywhere, *one_class):
    """A pattern on rows of all classes, and patterns on rows of single ones."""
    number = len(one_class) + 1
    groups = pl.DataFrame(
        {
            "detector": ["doubted-signature"] * number,
            "embedder": ["rgb8"] * number,
            "family": ["contrast"] * number,
            "group": range(number),
            "label": [-1, *range(len(one_class))],
            "suspicious": [True] * number,
            "watched": [False] * number,
        }
    )
    rows = [list(everywhere), *map(list, one_class)]
    return groups, groups.select("detector", "embedder", "group", "label").with_columns(pl.Series("rows", rows))


def test_a_pattern_in_one_class_is_none_of_all_classes():
    groups, members = all_classes(range(100), range(60))
    assert explaining.away(groups, members)["suspicious"].to_list() == [False, True]


def test_rows_that_a_class_of_the_same_look_has_taken_are_among_those_of_all_classes():
    groups, members = all_classes(range(100, 120), range(60))
    assert explaining.away(groups, members)["suspicious"].to_list() == [False, True]


@pytest.mark.parametrize("classes", [(range(40),), (range(40), range(40, 85)), ()])
def test_a_pattern_of_all_classes_stays_where_no_single_one_accounts_for_it(classes):
    groups, members = all_classes(range(100), *classes)
    assert explaining.away(groups, members).equals(groups)
