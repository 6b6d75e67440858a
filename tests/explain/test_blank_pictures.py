"""A note where most pictures are blank as they were decoded."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from foretaste.dataset.parquet import open_dataset
from foretaste.explain.blank_pictures import note


def png(blank, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise * (not blank)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("blank", "said"), [(0, None), (19, None), (21, "21 of 40"), (40, "40 of 40")])
def test_most_of_them_must_be_blank(tmp_path, blank, said):
    rows = [png(at < blank, at) for at in range(40)]
    pq.write_table(pa.table({"image": [*rows, b"broken", None]}), tmp_path / "a.parquet")
    found = note(open_dataset([str(tmp_path)]))
    assert f"{said} pictures that were looked at" in found if said else found is None


@pytest.mark.parametrize(("blank", "said"), [(0, None), (40, "21 of 21")])
def test_a_few_row_groups_are_enough(tmp_path, blank, said):
    rows = [png(at < blank, at) for at in range(42)]
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet", row_group_size=7)
    found = note(open_dataset([str(tmp_path)], shard_rows=7))
    assert f"{said} pictures that were looked at" in found if said else found is None


def test_other_rows_are_none(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), tmp_path / "a.parquet")
    assert note(open_dataset([str(tmp_path)])) is None
