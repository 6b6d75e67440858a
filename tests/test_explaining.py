"""False labels that a pattern accounts for suspect nobody; others do."""

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
    assert explaining.away(plain, members) is plain
