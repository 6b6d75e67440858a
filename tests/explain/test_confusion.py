"""Where doubted labels lead."""

from __future__ import annotations

import json

import polars as pl
from worlds import clean, vectors

from foretaste.explain.breakdowns import believed, pairs


def test_doubted_labels_lead_to_what_is_believed(tmp_path):
    dataset = vectors(tmp_path / "rows.parquet", clean(classes=3).batch)
    names = dataset.classes
    evidence = [json.dumps({"belongs_to": float(at), "own_probability": 0.1}) for at in (1, 1, 2, 0, -1)]
    scores = pl.DataFrame({"row": range(5), "posterior": [0.9] * 5, "evidence": evidence})
    other = scores.with_columns(pl.lit('{"deviations": 3.0}').alias("evidence"))  # of a look that believes nothing
    pl.concat([other, scores]).write_parquet(tmp_path / "scores.parquet")
    kinds = [["label"], ["label"], ["label"], ["backdoor"], ["label"]]
    flagged = pl.DataFrame({"row": range(5), "label": [names[0]] * 5, "kinds": kinds})
    doubts = believed(str(tmp_path / "scores.parquet"), flagged, dataset)
    assert doubts.rows() == [(0, names[0], names[1]), (1, names[0], names[1]), (2, names[0], names[2])]
    found = pairs(doubts)
    assert set(found) == {("label", None), ("label", names[0])}
    assert [(one["believed"], one["rows"]) for one in found["label", None]] == [(names[1], 2), (names[2], 1)]
    assert pairs(doubts.clear()) == {}
