"""From scores to a verdict: one error rate over all that was looked at, and nothing clean that was not looked at."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from auditors import findings, judgement, suspects, tables
from auditors.batch import Groups
from auditors.findings import verdict
from auditors.plan import Decide
from auditors.suspects import significance
from auditors.values import Dataset, Digest, File, Group, Kind, Modality, Roles, Run, Status, Verdict

SPECTRAL = {"times_farther_out": 3.0}


def ran(*p_values, detector="spectral", embedder="grey", kind=Kind.BACKDOOR, family="spectral", **evidence):
    p_value = torch.tensor(p_values, dtype=torch.float64)
    facts = {name: torch.full_like(p_value, value) for name, value in (evidence or SPECTRAL).items()}
    return suspects.Tested(
        detector, embedder, kind, family, Groups(torch.arange(len(p_values)), -p_value, p_value, facts)
    )


def dataset(rows=6, classes=("cat", "dog")):
    file = File("a.parquet", "/a.parquet", rows, 99, Digest("sha256", "ab"))
    roles = Roles(Modality.IMAGE, ("image",), "label")
    return Dataset("/", (file,), (), roles, classes, (rows // 2,) * len(classes), Digest("a", "b"))


# Groups


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


def test_nothing_tested_is_an_empty_table_that_can_be_judged():
    found = significance([], Decide())
    assert found.is_empty()
    assert set(significance([ran(0.5)], Decide()).columns) >= set(found.columns)
    judged = judgement.judge(identity(3), scores(), found, {}, Decide())
    assert judged["flagged"].to_list() == [False] * 3
    assert judged["p_value"].to_list() == [1.0] * 3
    assert findings.findings(found, {}, dataset()) == ()


# Rows


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


def scores(*looks):
    """Rows of the scores table from (detector, embedder, posteriors, p_values, groups)."""
    parts = []
    for detector, embedder, posterior, p_value, group in looks:
        rows = len(posterior)
        columns = [
            range(rows),
            [detector] * rows,
            [embedder] * rows,
            posterior,
            p_value,
            posterior,
            group,
            [None] * rows,
        ]
        types = [field.type for field in tables.SCORES]
        arrays = [
            pa.array(column, pa.string()).dictionary_encode().cast(kind)
            if pa.types.is_dictionary(kind)
            else pa.array(column, kind)
            for column, kind in zip(columns, types, strict=True)
        ]
        parts.append(pa.table(arrays, schema=tables.SCORES))
    return pa.concat_tables(parts) if parts else tables.SCORES.empty_table()


def judged(looks, groups, *, rows=4, broken=None, decide=None):
    found = judgement.judge(
        identity(rows), scores(*looks), significance(groups, Decide()), broken or {}, decide or Decide()
    )
    judgement.samples(found, dataset())  # fits the schema of samples.parquet
    assert found["row"].to_list() == list(range(rows))
    assert found["risk"].is_between(0, 1).all()
    assert (found.filter("flagged")["risk"].min() or 1) >= 0.5 >= (found.filter(~pl.col("flagged"))["risk"].max() or 0)
    return found


def look(*posterior, detector="spectral", embedder="grey", p_value=None, group=None):
    return (detector, embedder, posterior, p_value or [0.5] * len(posterior), group or [0] * len(posterior))


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


def test_members_are_the_rows_each_suspecting_run_would_flag(tmp_path):
    import pyarrow.parquet as pq

    path = str(tmp_path / "scores.parquet")
    table = scores(look(0.9, 0.1, 0.6, 0.9, group=[0, 0, 1, -1]), look(0.1, 0.7, 0.9, 0.0, embedder="probe"))
    pq.write_table(table, path)
    groups = significance([ran(1e-6, 1.0), ran(1e-6, 1.0, embedder="probe")], Decide())
    found = suspects.members(groups, path, Decide())
    assert dict(found.select("embedder", "rows").rows()) == {"grey": [0], "probe": [1, 2]}
    assert suspects.members(significance([ran(0.5, 1.0)], Decide()), path, Decide()).is_empty()


# The report


def test_groups_are_reported_by_kind_and_class_the_strongest_first():
    groups = significance([ran(1e-9, 0.9), ran(1e-4, 1e-5, embedder="probe")], Decide())
    found = findings.findings(
        groups, {("backdoor", "cat"): 12, ("backdoor", "dog"): 3, ("label", "cat"): 2}, dataset(60)
    )
    assert [(group.kind, group.label, group.rows) for group in found] == [
        (Kind.BACKDOOR, "cat", 12), (Kind.BACKDOOR, "dog", 3), (Kind.LABEL, None, 2),
    ]  # fmt: skip
    assert found[0].p_value < found[1].p_value
    assert "12 of 30 rows of class cat" in found[0].reason
    assert {one["embedder"] for one in found[0].evidence["tests"]} == {"grey", "probe"}


@pytest.mark.parametrize(
    ("family", "evidence"),
    [
        ("spectral", SPECTRAL),
        ("clustering", {"share": 0.1, "silhouette": 0.5, "foreign": 0.9}),
        ("label", {"belongs_to": 1.0, "rows_out": 30.0}),
        ("of tomorrow", {"x": 1.0}),
    ],
)
def test_every_family_says_why_in_one_sentence(family, evidence):
    kind = Kind.LABEL if family == "label" else Kind.BACKDOOR
    groups = significance([ran(1e-9, 0.9, family=family, kind=kind, **evidence)], Decide())
    (group,) = findings.findings(groups, {}, dataset())
    assert "cat" in group.reason
    assert "nan" not in group.reason.lower()


DONE = Run("spectral", "grey", Status.COMPLETED, "", 1.0)
CRASHED = Run("clusters", "probe", Status.FAILED, "ValueError: odd", 1.0)
IDLE = Run("labels", "probe", Status.NOT_APPLICABLE, "no labels", 0.0)
BACKDOOR = Group(Kind.BACKDOOR, "cat", 30, 1e-6, ("spectral",), "30 rows share a pattern")
ORGANISED = Group(Kind.LABEL, "cat", 30, 1e-6, ("label-issue",), "30 rows belong to dog")
SCATTERED = Group(Kind.LABEL, None, 3, 1.0, ("label-issue",), "3 single rows")


def decided(groups=(), runs=(DONE,), counts=None, odd=()):
    return verdict(groups, runs, odd=odd, counts=counts or {}, rows=1000, decide=Decide())


def test_only_completed_runs_speak_for_the_data():
    assert decided()[0] is Verdict.PASSED
    assert decided(runs=(DONE, IDLE))[0] is Verdict.PASSED
    assert decided(runs=(DONE, CRASHED))[0] is Verdict.FAILED
    assert "ValueError: odd" in decided(runs=(DONE, CRASHED))[1]
    assert decided(runs=(IDLE,))[0] is Verdict.FAILED
    assert decided(runs=())[0] is Verdict.FAILED
    assert "nothing can be said" in decided(runs=(IDLE,))[1]
    assert "the only completed look" in decided(runs=(DONE, IDLE))[1]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"groups": (BACKDOOR,)}, Verdict.FAILED),
        ({"groups": (ORGANISED,)}, Verdict.WARNED),
        ({"groups": (SCATTERED,), "counts": {"label": 3}}, Verdict.PASSED),
        ({"groups": (SCATTERED,), "counts": {"label": 21}}, Verdict.WARNED),
        ({"counts": {"integrity": 1}}, Verdict.WARNED),
        ({"odd": ("class cat is worth a look",)}, Verdict.WARNED),
        ({"groups": (ORGANISED, BACKDOOR), "counts": {"integrity": 1}}, Verdict.FAILED),
    ],
    ids=str,
)
def test_the_verdict_follows_what_was_found(said, expected):
    found, reason = decided(**said)
    assert found is expected
    assert reason


def test_a_group_of_duplicates_fails_as_any_attack_does():
    assert decided([Group(Kind.DUPLICATE, None, 99, 1e-6, ("copies",), "99 copies")])[0] is Verdict.FAILED
