"""A look at a suspected class speaks for the rows that the evidence is about; others must be suspected without it."""

from __future__ import annotations

import polars as pl
import pytest

from foretaste.decide import corroboration, significance
from foretaste.decide.settings import Decide
from foretaste.types.findings import Kind

LOOKS = ("phrases", "tokens", "plain", "probe")
TRIGGER = range(50)


def world(*p_values, rows, classes=2):
    """Class 1 with these p-values by LOOKS, and the rows that some of them mean; the other classes show nothing."""
    p_value = [*p_values, *[1.0] * (len(LOOKS) * (classes - 1))]
    groups = pl.DataFrame(
        {
            "detector": [f"look at {one}" for one in LOOKS] * classes,
            "embedder": list(LOOKS) * classes,
            "kind": str(Kind.BACKDOOR),
            "names_rows": True,
            "group": [at for label in [1, 0, *range(2, classes)] for at in [label] * len(LOOKS)],
            "label": [at for label in [1, 0, *range(2, classes)] for at in [label] * len(LOOKS)],
            "p_value": p_value,
        }
    )
    alone = pl.col("p_value") <= 0.01
    groups = significance.corrected(groups).with_columns(suspicious=(pl.col("q_value") <= 0.01) & alone, watched=False)
    members = groups.filter("suspicious").select(*significance.GROUP, "label")
    return groups, members.with_columns(rows=pl.Series([sorted(rows[one]) for one in members["embedder"]]))


def suspecting(groups, members):
    return corroboration.corroborated(groups, members, Decide()).filter("suspicious")["embedder"].to_list()


def test_a_weak_look_that_means_other_rows_does_not_join():
    groups, members = world(1e-8, 0.004, 1.0, 1.0, rows={"phrases": TRIGGER, "tokens": range(45, 230)})
    assert groups["suspicious"].sum() == 2
    assert suspecting(groups, members) == ["phrases"]
    untouched = [one for one in groups.columns if one != "suspicious"]
    assert corroboration.corroborated(groups, members, Decide()).select(untouched).equals(groups.select(untouched))


@pytest.mark.parametrize("meant", [range(25, 60), range(300), range(10)])
def test_a_weak_look_that_means_the_same_rows_joins(meant):
    groups, members = world(1e-8, 0.004, 1.0, 1.0, rows={"phrases": TRIGGER, "tokens": meant})
    assert suspecting(groups, members) == ["phrases", "tokens"]


def test_other_rows_are_accused_where_their_class_would_be_for_them_alone():
    groups, members = world(1e-8, 1e-4, 1.0, 1.0, rows={"phrases": TRIGGER, "tokens": range(100, 200)})
    assert suspecting(groups, members) == ["phrases", "tokens"]


def test_two_weak_looks_at_the_same_other_rows_are_heard_together():
    other = range(100, 200)
    rows = {"phrases": TRIGGER, "tokens": other, "plain": other}
    groups, members = world(1e-8, 0.002, 0.002, 1.0, rows=rows)
    assert suspecting(groups, members) == ["phrases", "tokens", "plain"]


def test_what_was_acquitted_makes_nothing_else_more_likely():
    groups, members = world(1e-8, 0.002, 1.0, 1.0, rows={"phrases": TRIGGER, "tokens": range(100, 200)})
    innocent = (pl.col("label") == 0) & (pl.col("embedder") == "phrases")
    small = groups.with_columns(pl.when(innocent).then(1e-6).otherwise("p_value").alias("p_value"))
    assert suspecting(small, members) == suspecting(groups, members) == ["phrases"]


def test_more_classes_ask_for_more():
    rows = {"phrases": TRIGGER, "tokens": range(100, 200)}
    assert suspecting(*world(1e-8, 1e-3, 1.0, 1.0, rows=rows)) == ["phrases", "tokens"]
    assert suspecting(*world(1e-8, 1e-3, 1.0, 1.0, rows=rows, classes=10)) == ["phrases"]


def test_where_nobody_is_suspected_nothing_changes():
    groups, members = world(0.3, 0.02, 1.0, 1.0, rows={})
    assert corroboration.corroborated(groups, members, Decide()).equals(groups)
