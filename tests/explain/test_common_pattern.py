"""What the rows of a group have in common is found, named and marked."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from explaining import audited, explained
from PIL import Image
from places import DATA

from foretaste.dataset.parquet import open_dataset, picked
from foretaste.dataset.roles import NOTHING_SAID
from foretaste.explain import common_pattern
from foretaste.explain.common_pattern import common, explain_pictures, explain_texts, phrases
from foretaste.explain.samples import Sample, marked
from foretaste.types.findings import Finding, Kind

WORDS = [f"word{at}" for at in range(300)]


@pytest.fixture(scope="module")
def planted():
    """The shipped set with a patch, its samples as an audit would leave them, and the group."""
    dataset = open_dataset([str(DATA / "digits_badnets.parquet")])
    truth = pq.read_table(DATA / "truth" / "digits_badnets.parquet")["is_poisoned"].to_pylist()
    label = pq.read_table(DATA / "digits_badnets.parquet")["label"].to_pylist()
    rows = pl.DataFrame(
        {
            "row": range(len(truth)),
            "label": [str(one) for one in label],
            "flagged": truth,
            "kinds": [["backdoor"] if one else [] for one in truth],
            "risk": [float(one) for one in truth],
        }
    )
    return dataset, rows, Finding(Kind.BACKDOOR, "3", 36, 0.0, ("any",), "36 rows share a pattern", {"tests": []})


def test_an_audit_shows_what_a_group_shares(planted):
    dataset, rows, group = planted
    scattered = Finding(Kind.LABEL, None, 2, 1.0, (), "2 labels")
    found = common(dataset, rows.lazy(), [group, scattered])
    assert list(found) == [("backdoor", "3")]
    one = found["backdoor", "3"]
    assert one.words == "in the lower right corner"
    for png in (one.pattern, one.where):
        with Image.open(io.BytesIO(png)) as opened:
            assert (opened.format, opened.size) == ("PNG", (128, 128))
    first, second = explained(explain_pictures, audited(dataset, rows), [group, scattered])
    assert first.reason == "36 rows share a pattern; what they share lies in the lower right corner"
    assert first.evidence == {
        "tests": [],
        "where": one.words,
        "in_common": pytest.approx(one.strength, abs=0.06),
        "box": pytest.approx((28 / 32, 28 / 32, 31 / 32, 31 / 32), abs=1e-3),
    }
    assert first.shown == {"pattern": one}
    assert second == scattered


def test_only_the_wanted_rows_are_decoded_and_each_once(planted, monkeypatch):
    dataset, rows, group = planted
    read: list[int] = []

    def counted(dataset, wanted):
        for payload in picked(dataset, wanted):
            read.extend(payload.row.tolist())
            yield payload

    monkeypatch.setattr(common_pattern, "picked", counted)
    common(dataset, rows.lazy(), [group, group])
    assert len(read) == len(set(read)) < 1024


def test_nothing_is_shown_where_nothing_is_shared(planted):
    dataset, rows, _ = planted
    fours = rows.with_columns(
        flagged=(pl.col("label") == "4") & (pl.col("row") % 4 == 0),
        kinds=pl.when((pl.col("label") == "4") & (pl.col("row") % 4 == 0)).then(["backdoor"]).otherwise([]),
    )
    group = Finding(Kind.BACKDOOR, "4", 40, 0.0, (), "why")
    assert common(dataset, fours.lazy(), [group]) == {}
    assert common(dataset, rows.lazy(), [Finding(Kind.BACKDOOR, "5", 0, 0.0, (), "none flagged")]) == {}
    assert common(dataset, rows.lazy(), []) == {}
    assert explained(explain_pictures, audited(dataset, fours), [group]) == (group,)


def test_pictures_that_do_not_decode_take_no_part(planted, tmp_path):
    _, rows, group = planted
    table = pq.read_table(DATA / "digits_badnets.parquet")
    cells = table["image"].to_pylist()
    broken = [row for row, flagged in enumerate(rows["flagged"]) if flagged][:5]
    for row in broken:
        cells[row] = {"bytes": b"not a picture", "path": None}
    at = table.schema.get_field_index("image")
    kind = table.schema.field("image").type
    pq.write_table(table.set_column(at, "image", pa.array(cells, kind)), tmp_path / "d.parquet", row_group_size=300)
    found = common(open_dataset([str(tmp_path / "d.parquet")], shard_rows=600), rows.lazy(), [group])
    assert found["backdoor", "3"].words == "in the lower right corner"


def test_what_texts_share_is_named_and_marked(tmp_path):
    draw = random.Random(0)
    plain = [" ".join(draw.choices(WORDS, k=12)) for _ in range(200)]
    planted = [at < 20 for at in range(200)]
    texts = [f"{text} Mind the gap" if bad else text for text, bad in zip(plain, planted, strict=True)]
    label = ["yes" if bad else "no" if at % 2 else "yes" for at, bad in enumerate(planted)]
    pq.write_table(pa.table({"text": texts, "label": label}), tmp_path / "texts.parquet", row_group_size=50)
    dataset = open_dataset([str(tmp_path / "texts.parquet")], request=NOTHING_SAID)
    kinds = [["backdoor"] if bad else [] for bad in planted]
    rows = pl.DataFrame(
        {"row": range(200), "label": label, "risk": [0.9] * 200, "flagged": planted, "kinds": kinds},
        schema_overrides={"kinds": pl.List(pl.String)},
    )
    group = Finding(Kind.BACKDOOR, "yes", 20, 0.0, (), "why")
    found = phrases(dataset, rows.lazy(), [group])
    assert found == {("backdoor", "yes"): ["mind the gap"]}
    audit = audited(dataset, rows)
    (shown,) = explained(explain_texts, audit, [group])
    assert shown.reason == "why; they share “mind the gap”"
    one = Sample(0, "texts.parquet", 0, 0, None, "yes", 0.9, 0.1, ("backdoor",), (), "why", text=texts[0])
    marks = [sample.marks for sample in marked([one, replace(one, label="no")], [shown], audit.doubts)]
    assert marks == [("mind the gap", "Mind the gap"), ()]
    assert phrases(dataset, rows.lazy(), []) == {}
