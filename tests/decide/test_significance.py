"""Which groups of which looks are suspicious: one error rate over all that was looked at."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from looks import look, ran, scores
from scipy.stats import false_discovery_control

from foretaste.decide.settings import Decide
from foretaste.decide.significance import members, significance
from foretaste.types.findings import Kind


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=6), min_size=1, max_size=4))
def test_classes_are_corrected_for_each_other_and_a_class_for_its_looks(p_values):
    looks = [ran(*part, embedder=f"view {at}") for at, part in enumerate(p_values)]
    found = significance(looks, Decide(fdr=0.05))
    classes = [[part[k] for part in p_values if k < len(part)] for k in range(max(map(len, p_values)))]
    # Simes (1986) is the least Benjamini-Hochberg adjusted p-value.
    simes = [false_discovery_control(each, method="bh").min() for each in classes]
    adjusted = false_discovery_control(simes, method="bh")
    expected = np.array([adjusted[k] for part in p_values for k in range(len(part))])
    np.testing.assert_allclose(found["q_value"], expected, rtol=1e-12, atol=1e-300)
    alone = np.concatenate(p_values) <= 0.05
    assert found["suspicious"].to_list() == ((expected <= 0.05) & alone).tolist()
    assert found["embedder"].to_list() == [f"view {at}" for at, part in enumerate(p_values) for _ in part]
    assert found["group"].to_list() == [group for part in p_values for group in range(len(part))]


def test_more_looks_ask_for_more():
    one = ran(0.005, 0.9)
    assert significance([one], Decide(fdr=0.01))["suspicious"].to_list() == [True, False]
    many = [one, *(ran(0.5, 0.9, embedder=f"view {at}") for at in range(5))]
    assert not significance(many, Decide(fdr=0.01))["suspicious"].any()


def test_runs_with_different_evidence_stand_in_one_table():
    label = ran(0.5, detector="label-issue", kind=Kind.LABEL, family="label", belongs_to=1.0, rows_out=3.0)
    found = significance([ran(0.2, 0.3), label], Decide())
    assert found["kind"].to_list() == ["backdoor", "backdoor", "label"]
    assert found["evidence_rows_out"].to_list() == [None, None, 3.0]


def test_nothing_tested_is_an_empty_table():
    found = significance([], Decide())
    assert found.is_empty()
    assert set(significance([ran(0.5)], Decide()).columns) >= set(found.columns)


def test_members_are_the_rows_each_suspecting_run_would_flag(tmp_path):
    path = str(tmp_path / "scores.parquet")
    table = scores(look(0.9, 0.1, 0.6, 0.9, group=[0, 0, 1, -1]), look(0.1, 0.7, 0.9, 0.0, embedder="probe"))
    pq.write_table(table, path)
    groups = significance([ran(1e-6, 1.0), ran(1e-6, 1.0, embedder="probe")], Decide())
    found = members(groups, path, Decide())
    assert dict(found.select("embedder", "rows").rows()) == {"grey": [0], "probe": [1, 2]}
    assert members(significance([ran(0.5, 1.0)], Decide()), path, Decide()).is_empty()
