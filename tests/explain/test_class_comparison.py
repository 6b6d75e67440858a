"""The numbers that a suspicious group is shown beside."""

from __future__ import annotations

import polars as pl
import pytest
from worlds import clean, vectors

from foretaste.explain.class_comparison import contrasts


@pytest.fixture
def dataset(tmp_path):
    return vectors(tmp_path / "rows.parquet", clean(classes=3).batch)


UNITS = {"spectral": ("times_farther_out", "times as far out"), "strange": ("", "")}


def looked(*, detector="spectral", embedder="pixels", accused=1, times=(1.0, 4.0, 1.2)):
    return pl.DataFrame(
        {
            "detector": detector,
            "embedder": embedder,
            "kind": "backdoor",
            "group": [0, 1, 2],
            "label": [0, 1, 2],
            "statistic": [0.1, 1.5, 0.2],
            "p_value": [0.5, 1e-6, 0.4],
            "q_value": [0.5, 1e-5, 0.4],
            "suspicious": [at == accused for at in range(3)],
            "evidence_times_farther_out": times,
        }
    )


def test_a_suspicious_class_is_shown_beside_the_others(dataset):
    both = pl.concat([looked(), looked(embedder="tokens", accused=None)])
    (key, (strip,)), *more = contrasts(dataset, both, UNITS).items()
    assert not more
    assert key == ("backdoor", dataset.classes[1])
    assert strip.embedder == "pixels"  # the other look suspects nobody
    assert strip.values == (1.0, 4.0, 1.2)
    assert strip.names[strip.this] == f"class {dataset.classes[1]}"
    assert strip.accused == (False, True, False)


def test_a_look_without_a_number_for_people_shows_its_statistic(dataset):
    for table, name in ((looked(detector="strange"), "strange"), (looked(times=(1.0, None, 2.0)), "spectral")):
        ((_, (strip,)),) = contrasts(dataset, table, UNITS).items()
        assert strip.values == (0.1, 1.5, 0.2)
        assert strip.unit == f"statistic of {name}"


def test_one_group_is_no_distribution(dataset):
    assert contrasts(dataset, looked().filter(pl.col("group") == 1), UNITS) == {("backdoor", dataset.classes[1]): ()}


def test_nothing_suspicious_nothing_shown(dataset):
    assert contrasts(dataset, looked(accused=None), UNITS) == {}
