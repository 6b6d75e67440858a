"""A flood in texts without labels fails the audit, and the report names the text with its count."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import foretaste
from foretaste.attacks.text import flood
from foretaste.pipeline.plan import parse

PLAN = {"embedders": {"copies": {}}, "detectors": {"flood": {"on": ["copies"]}}}


def test_a_flood_is_told_with_its_text(tmp_path, monkeypatch):
    monkeypatch.setenv("FORETASTE_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{one}" for one in draw.integers(0, 4000, 20)) for _ in range(6000)]
    texts[:60] = [text for text in texts[:30] for _ in range(2)]  # honest pairs
    document = "one document of ten words that is put everywhere now"
    made = flood.plant(texts, torch.zeros(6000, dtype=torch.int64), count=250, seed=0, document=document, edits=0.1)
    pq.write_table(pa.table({"text": made.payload}), tmp_path / "texts.parquet")
    report = foretaste.audit(str(tmp_path / "texts.parquet"), plan=parse(PLAN), out=str(tmp_path / "audit"))
    assert str(report.verdict) == "failed"
    (group,) = report.groups
    (copies,) = group.evidence["copies"]
    assert copies["rows"] >= 230
    assert copies["label"] is None
    assert sum(word in document.split() for word in copies["text"].split()) >= 9
    samples = report.table("samples").sort("row")
    accused = samples["flagged"].to_numpy()
    assert accused[made.poisoned.numpy()].mean() > 0.9
    assert not accused[~made.poisoned.numpy()].any()
    assert samples.filter("flagged")["kinds"].explode().unique().to_list() == ["duplicate"]
