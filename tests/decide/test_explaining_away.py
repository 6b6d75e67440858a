"""What a pattern in one class accounts for suspects nobody else; all other findings do."""

from __future__ import annotations

import polars as pl
import pytest

from foretaste.decide import explaining_away
from foretaste.decide.settings import ExplainingAway

ROWS = (100,) * 10  # of each class
SETTINGS = ExplainingAway()


def world(*, patterned, foreign, pattern=True, label=3, p_pattern=1e-4):
    """A class with rows that share a pattern and rows that look like other classes, and a second such class without."""
    groups = pl.DataFrame(
        {
            "detector": ["spectral-signature", "flipped-labels", "flipped-pairs", "flipped-labels"],
            "embedder": ["grey32", "patches", "patches", "patches"],
            "names_rows": [True, False, False, False],
            "p_value": [p_pattern, 1e-5, 1e-5, 1e-5],
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
            "posterior": [[1.0] * len(one) for one in rows],
        }
    )
    return groups, members


@pytest.mark.parametrize("patterned", [50, 100, 400])
def test_a_pattern_on_half_the_foreign_rows_or_more_accounts_for_them(patterned):
    groups, members = world(patterned=patterned, foreign=100.0)
    found = explaining_away.explained_away(groups, members, ROWS, SETTINGS)
    assert found["suspicious"].to_list() == [True, False, False, True]
    assert found["watched"].to_list() == [False, False, False, False]
    assert found.drop("suspicious", "watched").equals(groups.drop("suspicious", "watched"))


def test_a_pattern_on_few_rows_does_not_account_for_many_foreign_ones():
    groups, members = world(patterned=20, foreign=100.0)
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS).equals(groups)


def test_a_more_significant_pattern_accounts_for_them_however_few_its_rows():
    groups, members = world(patterned=20, foreign=100.0, p_pattern=1e-6)
    found = explaining_away.explained_away(groups, members, ROWS, SETTINGS)
    assert found["suspicious"].to_list() == [True, False, False, True]


def test_a_pattern_that_suspects_nobody_accounts_for_nothing():
    groups, members = world(patterned=100, foreign=100.0, pattern=False)
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS).equals(groups)


def test_a_pattern_in_another_class_accounts_for_nothing():
    groups, members = world(patterned=100, foreign=100.0, label=4)
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS).equals(groups)


def test_without_looks_at_labels_nothing_changes():
    groups, members = world(patterned=100, foreign=100.0)
    plain = groups.filter("names_rows").drop("evidence_foreign_rows")
    assert explaining_away.explained_away(plain, members, ROWS, SETTINGS).equals(plain)


def all_classes(everywhere, *one_class):
    """A pattern on rows of all classes, and patterns on rows of single ones."""
    number = len(one_class) + 1
    groups = pl.DataFrame(
        {
            "detector": ["doubted-signature"] * number,
            "embedder": ["rgb8"] * number,
            "names_rows": [True] * number,
            "p_value": [1e-6] * number,
            "group": range(number),
            "label": [-1, *range(len(one_class))],
            "suspicious": [True] * number,
            "watched": [False] * number,
        }
    )
    rows = [list(everywhere), *map(list, one_class)]
    posterior = [[1.0] * len(one) for one in rows]
    return groups, groups.select("detector", "embedder", "group", "label").with_columns(
        pl.Series("rows", rows), pl.Series("posterior", posterior)
    )


def test_a_pattern_in_one_class_is_none_of_all_classes():
    groups, members = all_classes(range(60, 100), range(60))
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS)["suspicious"].to_list() == [False, True]


def test_rows_that_only_come_close_to_the_pattern_of_one_class_are_innocent():
    groups, members = all_classes(range(40, 100), range(40))
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS)["suspicious"].to_list() == [False, True]


@pytest.mark.parametrize("classes", [(range(12),), (range(10), range(10, 22)), ()])
def test_a_pattern_that_shows_in_all_classes_alike_stays(classes):
    taken = sum(map(len, classes))
    groups, members = all_classes(range(taken, 100), *classes)
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS).equals(groups)


def test_of_two_classes_one_may_show_the_pattern_somewhat_more_often():
    groups, members = all_classes(range(45, 100), range(45))
    assert explaining_away.explained_away(groups, members, (500, 500), SETTINGS).equals(groups)


def test_few_rows_are_in_one_class_by_chance():
    groups, members = all_classes(range(2, 8), range(2))
    assert explaining_away.explained_away(groups, members, ROWS, SETTINGS).equals(groups)
