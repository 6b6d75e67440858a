"""How strong a pattern must be: what the page says and what the test does are the same."""

from __future__ import annotations

import math

import polars as pl
import pytest
import torch
from worlds import backdoored, clean, learned, vectors

from foretaste.decide.settings import Decide
from foretaste.decide.significance import RunTests, significance
from foretaste.detectors.spectral_signature import SpectralSignature
from foretaste.explain.detection_limits import needed, power
from foretaste.types.findings import Kind

DECIDE = Decide()
PLAN = {"spectral-signature": SpectralSignature()}


def run_tests(check, groups):
    return RunTests(check, "column", Kind.BACKDOOR, "spectral", True, True, groups)


def looked(world, shape=0.0):
    scorer = learned(SpectralSignature(shape=shape), world.batch)
    return [run_tests("spectral-signature", scorer.groups)]


@pytest.mark.parametrize("shape", [0.0, 0.15])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_needed_is_where_the_decision_turns(seed, shape):
    """Move a class's statistic to just beyond what is needed, by the law its p-value has, and it is suspected."""
    (one,) = looked(clean(seed), shape)
    table = needed(significance([one], DECIDE), DECIDE)
    groups = one.groups
    for row in table.iter_rows(named=True):
        at, bar = row["group"], math.log(row["needed"])
        for step, expected in ((0.01, True), (-0.01, False)):
            far = (bar + step - row["evidence_null_place"]) / row["evidence_null_scale"]
            p_value = groups.p_value.clone().fill_(1.0)
            p_value[at] = (1 + shape * far) ** (-1 / shape) if shape else math.exp(-far)
            moved = type(groups)(groups.label, groups.statistic, p_value, groups.evidence)
            again = significance([run_tests("s", moved)], DECIDE)
            assert again.filter(pl.col("group") == at)["suspicious"].item() is expected


@pytest.mark.parametrize("seed", range(3))
def test_the_law_is_the_one_the_p_values_follow(seed):
    for world in (clean(seed), backdoored(seed)):
        (one,) = looked(world)
        place, scale = (one.groups.evidence[name] for name in ("null_place", "null_scale"))
        far = one.groups.p_value < 0.05  # where the law is exponential
        expected = (-(one.groups.statistic - place) / scale).exp()
        assert torch.allclose(one.groups.p_value[far], expected[far], rtol=0.05)


def test_a_suspected_class_reaches_what_is_needed_and_a_clean_one_does_not(tmp_path):
    world = backdoored(1, poison=30, shift=10.0)
    dataset = vectors(tmp_path / "rows.parquet", world.batch)
    table = significance(looked(world), DECIDE)
    said = power(table, dataset, DECIDE, PLAN)
    suspected = {dataset.classes[one] for one in table.filter("suspicious")["label"]}
    assert suspected
    assert {one["class"] for one in said["classes"] if one["reached"] > one["needed"]} == suspected
    assert said["fewest"] == 8
    assert said["untested"] == []


def test_more_looks_ask_for_more():
    (one,) = looked(clean(0))
    alone = needed(significance([one], DECIDE), DECIDE)["needed"]
    twice = [one, run_tests("another", one.groups)]
    assert (needed(significance(twice, DECIDE), DECIDE)["needed"][: len(alone)] > alone).all()


def test_classes_too_small_are_named(tmp_path):
    world = clean(0)
    few = (world.batch.label != 2) | (world.batch.row < 100)
    batch = world.batch[few]
    dataset = vectors(tmp_path / "rows.parquet", batch)
    scorer = learned(SpectralSignature(), batch)
    tested = [run_tests("spectral-signature", scorer.groups)]
    (small,) = power(significance(tested, DECIDE), dataset, DECIDE, PLAN)["untested"]
    assert small["class"] == dataset.classes[2]
    assert small["rows"] < 32


def test_a_look_without_a_law_says_nothing(tmp_path):
    dataset = vectors(tmp_path / "rows.parquet", clean(0).batch)
    assert power(significance([], DECIDE), dataset, DECIDE, PLAN) == {}
