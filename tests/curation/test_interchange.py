import io
import json
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import foretaste
from foretaste.curation.interchange import MOST, SIDE, hand_over
from foretaste.errors import DataError

HOSTILE = "<script>alert(1)</script>\u202e../../x"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    table = pq.read_table("data/digits_badnets.parquet")
    at = table.schema.get_field_index("label")
    label = [f"{one}{HOSTILE}" for one in table["label"].to_pylist()]
    pq.write_table(table.set_column(at, "label", pa.array(label)), folder / "digits.parquet")
    foretaste.audit(str(folder / "digits.parquet"), out=str(folder / "audit"))
    return folder


@pytest.fixture(scope="module")
def handed(pictures):
    done = hand_over(str(pictures / "audit"), str(pictures / "out"))
    return pictures / "out", done


def test_every_flagged_row_is_handed_over_most_suspicious_first(pictures, handed):
    out, done = handed
    flagged = pq.read_table(pictures / "audit/flagged.parquet")
    tasks = json.loads((out / "label-studio.json").read_text())
    assert [one["data"]["row"] for one in tasks] == flagged["row"].to_pylist()[:MOST]
    assert done["label-studio.json"] == done["fiftyone"] == len(tasks) > 0


def test_label_studio_has_an_interface_for_the_fields_of_its_tasks(handed):
    out, _ = handed
    tasks = json.loads((out / "label-studio.json").read_text())
    used = {value[1:] for one in ElementTree.parse(out / "label-studio.xml").iter() for value in one.attrib.values()
            if value.startswith("$")}  # fmt: skip
    assert used == {"about", "image"}
    assert all(used <= one["data"].keys() and one.keys() == {"data"} for one in tasks)


def test_fiftyone_finds_a_picture_for_every_label(handed):
    out, _ = handed
    labels = json.loads((out / "fiftyone/labels.json").read_text())["labels"]
    files = {path.stem: path for path in (out / "fiftyone/data").iterdir()}
    assert labels.keys() == files.keys()
    assert all(max(Image.open(io.BytesIO(path.read_bytes())).size) >= SIDE // 2 for path in files.values())
    assert all(one["label"].startswith("3<script>") for one in labels.values())
    assert "\u202e" not in json.dumps(labels, ensure_ascii=False)
    taken = {"id", "tags", "label", "confidence", "logits", "instance", "attributes"}  # by fiftyone.Classification
    assert not any(taken & one["attributes"].keys() for one in labels.values())


def test_the_atlas_has_position_payload_and_verdict_of_every_row_on_the_map(handed):
    out, done = handed
    table = pq.read_table(out / "atlas.parquet")
    assert len(table) == done["atlas.parquet"] == 1797
    rows = table.to_pylist()
    assert all(0 <= one["x"] <= 1 and 0 <= one["y"] <= 1 for one in rows)
    flagged = [one for one in rows if one["flagged"]]
    assert all("backdoor" in one["kinds"].split(", ") for one in flagged)
    assert min(one["x"] for one in flagged) > sum(one["x"] for one in rows) / len(rows)
    assert Image.open(io.BytesIO(rows[0]["image"]["bytes"])).format == "PNG"
    assert len(set(table.column_names)) == len(table.column_names)


def test_texts_are_handed_over_as_text(tmp_path):
    text = [f"{HOSTILE} {n}" for n in range(200)]
    pq.write_table(pa.table({"text": text, "label": ["a", "b"] * 100}), tmp_path / "data.parquet")
    foretaste.audit(str(tmp_path / "data.parquet"), out=str(tmp_path / "audit"))
    done = hand_over(str(tmp_path / "audit"), str(tmp_path / "out"))
    assert "fiftyone" not in done
    assert 'value="$text"' in (tmp_path / "out/label-studio.xml").read_text()
    first = pq.read_table(tmp_path / "out/atlas.parquet")["text"][0].as_py()
    assert first.startswith("<script>alert(1)</script>\\u202e")


def test_a_dataset_that_changed_is_not_handed_over(pictures, tmp_path):
    table = pq.read_table(pictures / "digits.parquet")
    whole = (pictures / "digits.parquet").read_bytes()
    try:
        pq.write_table(table.slice(1), pictures / "digits.parquet")
        with pytest.raises(DataError, match=r"digits\.parquet: is not what was audited"):
            hand_over(str(pictures / "audit"), str(tmp_path / "out"))
        assert not (tmp_path / "out").exists()
    finally:
        (pictures / "digits.parquet").write_bytes(whole)
