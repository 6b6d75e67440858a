"""From the looks at a row to what is said of it, and no row lost."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from looks import dataset, look, ran, scores

from foretaste.decide import row_posteriors
from foretaste.decide.settings import Decide
from foretaste.decide.significance import significance
from foretaste.types.findings import Kind


def identity(rows, label="cat"):
    return pa.table(
        {
            "row": pa.array(range(rows), pa.int64()),
            "file": ["a.parquet"] * rows,
            "row_group": pa.array([0] * rows, pa.int64()),
            "row_in_group": pa.array(range(rows), pa.int64()),
            "label": pa.array([label] * rows, pa.string()),
        }
    )


def judged(looks, groups, *, rows=4, broken=None, decide=None):
    found = row_posteriors.judge(
        identity(rows), scores(*looks), significance(groups, Decide()), broken or {}, decide or Decide()
    )
    row_posteriors.samples(found, dataset())  # fits the schema of samples.parquet
    assert found["row"].to_list() == list(range(rows))
    assert found["risk"].is_between(0, 1).all()
    assert (found.filter("flagged")["risk"].min() or 1) >= 0.5 >= (found.filter(~pl.col("flagged"))["risk"].max() or 0)
    return found


def test_where_nothing_was_tested_nobody_is_flagged():
    found = judged([], [])
    assert found["flagged"].to_list() == [False] * 4
    assert found["p_value"].to_list() == [1.0] * 4


def test_families_that_suspect_a_group_are_independent_witnesses():
    groups = [ran(1e-6, 0.9), ran(1e-6, 0.9, detector="clusters", family="clustering")]
    found = judged([look(0.3, 0.4, 0.49, 0.9), look(0.2, 0.4, 0.0, 0.0, detector="clusters")], groups)
    np.testing.assert_allclose(found["attack"], [1 - 0.7 * 0.8, 1 - 0.6 * 0.6, 0.49, 0.9], rtol=1e-6)
    assert found["flagged"].to_list() == [False, True, False, True]
    assert found["kinds"].to_list() == [[], ["backdoor"], [], ["backdoor"]]
    np.testing.assert_allclose(found["risk"][3], 0.95, rtol=1e-6)


def test_the_runs_of_a_family_are_averaged_by_their_evidence():
    groups = [ran(1e-4, 0.9), ran(1e-6, 0.9, embedder="probe"), ran(0.5, 0.9, embedder="blind")]
    looks = [
        look(0.9, 0.9, 0.0, 0.0),
        look(0.0, 0.6, 0.7, 0.0, embedder="probe"),
        look(1.0, 0.0, 1.0, 1.0, embedder="blind"),
    ]
    expected = [0.4 * 0.9, 0.4 * 0.9 + 0.6 * 0.6, 0.6 * 0.7, 0.0]
    np.testing.assert_allclose(judged(looks, groups)["attack"], expected, rtol=1e-6)


def test_a_posterior_in_a_group_nobody_suspects_accuses_nobody():
    groups = [ran(0.5, 1e-6), ran(0.5, 0.5, embedder="probe")]
    found = judged([look(1.0, 1.0, 0.9, 0.9, group=[0, 0, 1, -1]), look(1.0, 1.0, 1.0, 1.0, embedder="probe")], groups)
    assert found["flagged"].to_list() == [False, False, True, False]
    assert found["risk"][0] > 0  # but it ranks


def test_wrong_labels_need_no_group_and_count_for_less():
    label = ran(0.5, 0.5, detector="label-issue", embedder="probe", kind=Kind.LABEL, family="label", belongs_to=1.0)
    found = judged(
        [look(0.99, 0.9, 0.5, 0.0, detector="label-issue", embedder="probe"), look(0.0, 0.0, 0.0, 0.99)],
        [label, ran(1e-9)],
        decide=Decide(label_posterior=0.95),
    )
    assert found["kinds"].to_list() == [["label"], [], [], ["backdoor"]]
    assert found["detectors"].to_list() == [["label-issue"], [], [], ["spectral"]]
    assert found["risk"].arg_max() == 3
    assert "disagrees" in found["reason"][0]


def test_a_row_can_be_wrong_in_several_ways():
    label = ran(0.5, detector="label-issue", embedder="probe", kind=Kind.LABEL, family="label", belongs_to=1.0)
    found = judged([look(0.99, detector="label-issue", embedder="probe"), look(0.99)], [label, ran(1e-9)], rows=1)
    assert found["kinds"].to_list() == [["backdoor", "label"]]
    assert found["detectors"].to_list() == [["spectral", "label-issue"]]
    assert found["reason"][0].count(";") == 1


def test_rows_that_cannot_be_read_are_flagged_and_stay_in_the_table():
    found = judged([look(0.0, 0.0)], [ran(0.5)], broken={3: "does not decode"})
    assert found["flagged"].to_list() == [False, False, False, True]
    assert found["kinds"][3].to_list() == ["integrity"]
    assert found["reason"][3] == "does not decode"


def test_the_p_value_of_a_row_pays_for_every_look():
    looks = [look(0.0, 0.0, p_value=[0.01, 0.8]), look(0.0, 0.0, embedder="probe", p_value=[0.5, 0.9])]
    found = judged(looks, [ran(0.5), ran(0.5, embedder="probe")], rows=2)
    np.testing.assert_allclose(found["p_value"], [0.02, 1.0])


@pytest.mark.parametrize("group", [[0], [-1], [5]])
def test_no_row_is_lost_whatever_its_group(group):
    assert len(judged([look(0.9, group=group)], [ran(0.5)], rows=3)) == 3
