"""Which columns rows are about, where names do not say it: found by what they hold, or asked for."""

from __future__ import annotations

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from written import counts, kinds, measures, names, parquet, sentences, uuids

from foretaste.dataset.parquet import identities, open_dataset
from foretaste.dataset.roles import NOTHING_SAID, Request
from foretaste.errors import DataError, PlanError
from foretaste.types.dataset import Modality, Roles, Unaudited

ROWS = 60
LABEL = [0, 1] * (ROWS // 2)
CHATS = [[{"role": "user", "content": text}] for text in sentences(ROWS)]
PATHS = [f"{row}.png" for row in range(ROWS)]
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=row) for row in range(ROWS)]


def roles(tmp_path, request=NOTHING_SAID, /, **columns):
    return open_dataset(parquet(tmp_path / "a.parquet", **columns), request=request).roles


def refusal(tmp_path, request=NOTHING_SAID, /, **columns):
    with pytest.raises((PlanError, DataError)) as caught:
        roles(tmp_path, request, **columns)
    return str(caught.value).removeprefix("a.parquet: ")


# Found


@pytest.mark.parametrize("name", ["review", "body", "tweet", "q1", "text_clean"])
def test_texts_are_found_whatever_their_name(tmp_path, name):
    assert roles(tmp_path, **{name: sentences(ROWS)}, label=LABEL) == Roles(Modality.TEXT, (name,), "label")


def test_one_number_beside_texts_makes_no_table(tmp_path):
    found = roles(tmp_path, review=sentences(ROWS), votes=counts(ROWS), label=LABEL)
    assert found == Roles(Modality.TEXT, ("review",), "label")


def test_ids_and_dates_beside_texts_make_no_table(tmp_path):
    beside = {"review_id": uuids(ROWS), "day": DAYS, "row": list(range(ROWS)), "votes": counts(ROWS)}
    beside |= {"posted": [f"{day:%d/%m/%Y %H:%M}" for day in DAYS]}
    assert roles(tmp_path, **beside, review=sentences(ROWS), label=LABEL).payload == ("review",)


def test_picture_paths_are_found_beside_any_numbers(tmp_path):
    sizes = {"width": counts(ROWS), "height": counts(ROWS, seed=1), "area": measures(ROWS)}
    for name in ("file_name", "filepath", "image_file"):
        assert roles(tmp_path, **{name: PATHS}, **sizes, label=LABEL) == Roles(Modality.IMAGE, (name,), "label")


def test_conversations_are_found_by_their_type(tmp_path):
    assert roles(tmp_path, dialog=CHATS) == Roles(Modality.MESSAGES, ("dialog",))


def test_pictures_go_before_the_paths_that_name_them(tmp_path):
    scans = pa.array([b"\x89PNG"] * ROWS)
    found = roles(tmp_path, file_name=PATHS, scan=scans, label=LABEL)
    assert (found.payload, found.unaudited) == (("scan",), (Unaudited("file_name", "paths of pictures", payload=True),))


def test_short_texts_are_what_rows_are_about_only_without_a_table(tmp_path):
    assert roles(tmp_path, query=names(ROWS), votes=counts(ROWS), label=LABEL).modality is Modality.TEXT
    table = roles(tmp_path, name=names(ROWS), votes=counts(ROWS), size=measures(ROWS), label=LABEL)
    assert table == Roles(Modality.FEATURES, ("name", "votes", "size"), "label")


def test_a_small_share_of_first_rows_decides_nothing(tmp_path):
    """Equal texts in the first row groups, as a flood sorted to the front would have, do not make a category."""
    flood = ["the same text as in many other rows of this file"] * 600
    columns = {"review": flood + sentences(1000), "votes": counts(1600), "label": [0, 1] * 800}
    place = parquet(tmp_path / "a.parquet", groups=100, **columns)
    assert open_dataset(place).roles.payload == ("review",)


def test_a_file_of_one_row_groups_is_judged_by_as_many_rows(tmp_path):
    place = parquet(tmp_path / "a.parquet", groups=1, review=sentences(ROWS), label=LABEL)
    assert open_dataset(place).roles.payload == ("review",)


# Asked for


def test_two_texts(tmp_path):
    told = refusal(tmp_path, title=sentences(ROWS, words=8), body=sentences(ROWS, seed=1), label=LABEL)
    assert "2 are possible: --text title or --text body, or --prompt title --response body" in told


def test_texts_beside_a_table(tmp_path):
    told = refusal(tmp_path, note=sentences(ROWS), amount=measures(ROWS), kind=kinds(ROWS), label=LABEL)
    assert told.endswith("2 are possible: --text note or --features amount,kind")
    told = refusal(tmp_path, note=sentences(ROWS), amount=measures(ROWS), kind=kinds(ROWS))
    assert told.endswith("--text note or --features amount,kind, and the label with --label, one of 'kind'")


def test_many_columns_are_abbreviated(tmp_path):
    many = {f"f{place}": measures(ROWS, seed=place) for place in range(40)}
    told = refusal(tmp_path, note=sentences(ROWS), **many, label=LABEL)
    assert told.endswith("--features f0,f1,f2,f3,f4,f5,f6,f7,f8,f9,f10,f11,… (40 columns)")


def test_pictures_with_captions(tmp_path):
    told = refusal(tmp_path, file_name=PATHS, caption=sentences(ROWS))
    assert "--image file_name or --text caption" in told


def test_texts_with_what_may_be_their_label(tmp_path):
    told = refusal(tmp_path, review=sentences(ROWS), sentiment=kinds(ROWS))
    assert told == (
        "'review' holds texts, and the label must be named with --label, one of 'sentiment' or \"\" for none"
    )
    assert roles(tmp_path, Request(label="sentiment"), review=sentences(ROWS), sentiment=kinds(ROWS)).label
    assert roles(tmp_path, Request(label=""), review=sentences(ROWS), sentiment=kinds(ROWS)).label is None
    assert roles(tmp_path, review=sentences(ROWS), review_id=uuids(ROWS)).payload == ("review",)


@pytest.mark.parametrize(
    ("columns", "way"),
    [
        ({"prompt": sentences(ROWS)}, "--prompt prompt --response chosen, or --prompt prompt --response rejected"),
        ({"q": sentences(ROWS), "annotator": kinds(ROWS)}, "--prompt q --response chosen"),
        ({}, "choose --text chosen, or --text rejected"),
    ],
)
def test_preference_pairs(tmp_path, columns, way):
    sides = {"chosen": sentences(ROWS, seed=1), "rejected": sentences(ROWS, seed=2)}
    told = refusal(tmp_path, **columns, **sides)
    assert told.startswith("'chosen' and 'rejected' are preference pairs")
    assert way in told
    assert "table" not in told


def test_preference_pairs_of_conversations(tmp_path):
    told = refusal(tmp_path, prompt=sentences(ROWS), chosen=CHATS, rejected=CHATS)
    assert "choose --messages chosen, or --messages rejected" in told


def test_two_texts_called_source_and_target_are_neither(tmp_path):
    told = refusal(tmp_path, source=sentences(ROWS), target=sentences(ROWS, seed=1))
    assert '--label "" for none' in told
    told = refusal(tmp_path, Request(label=""), source=sentences(ROWS), target=sentences(ROWS, seed=1))
    assert "--prompt source --response target" in told


def test_names_of_files_are_ids_only_beside_pictures(tmp_path):
    assert roles(tmp_path, image_id=PATHS, label=LABEL) == Roles(Modality.IMAGE, ("image_id",), "label")
    assert roles(tmp_path, image_id=PATHS, img=pa.array([b"\x89PNG"] * ROWS), label=LABEL).id == "image_id"
    long = [f"{'corpus/' * 12}{row}" for row in range(ROWS)]
    assert roles(tmp_path, id=long, text=sentences(ROWS), label=LABEL).id == "id"


def test_sounds_are_no_pictures(tmp_path):
    told = refusal(tmp_path, clip=[b"RIFF\x00\x00\x00\x00WAVE"] * ROWS, label=LABEL)
    assert "no column is unmistakably what a row is about" in told


# Tables


def test_what_names_or_numbers_rows_is_no_feature(tmp_path):
    found = roles(
        tmp_path,
        **{"__index_level_0__": list(range(ROWS)), "Unnamed: 0": counts(ROWS), "Row ID": list(range(ROWS))[::-1]},
        customer=[f"C{row:04}" for row in range(ROWS)],
        place=list(range(5, 5 + 2 * ROWS, 2)),
        day=DAYS,
        height=measures(ROWS),
        kind=kinds(ROWS),
        nothing=pa.nulls(ROWS),
        label=LABEL,
    )
    assert found.payload == ("height", "kind")
    assert {one.column: one.why for one in found.unaudited} == {
        "__index_level_0__": "the index of a data frame",
        "Unnamed: 0": "the index of a data frame",
        "Row ID": "identifiers",
        "customer": "identifiers",
        "place": "numbers that rise from row to row",
        "day": "dates or times",
    }


def test_remarks_in_few_rows_are_no_features(tmp_path):
    few = sentences(ROWS // 3) + [None] * (ROWS - ROWS // 3)
    found = roles(tmp_path, remark=few, height=measures(ROWS), kind=kinds(ROWS), label=LABEL)
    assert found.payload == ("height", "kind")
    assert found.unaudited == (Unaudited("remark", "texts in less than half of the rows", payload=True),)


def test_whatever_is_asked_for_is_read(tmp_path):
    columns = {"day": DAYS, "customer": uuids(ROWS), "height": measures(ROWS), "label": LABEL}
    found = roles(tmp_path, Request(features=("day", "customer")), **columns)
    assert found == Roles(
        Modality.FEATURES,
        ("day", "customer"),
        "label",
        unaudited=(Unaudited("height", "numbers with fractions", payload=False),),
    )


def test_uuids_are_the_id_by_their_type(tmp_path):
    stored = pa.ExtensionArray.from_storage(
        pa.uuid(), pa.array([bytes([row]) * 16 for row in range(ROWS)], pa.binary(16))
    )
    place = parquet(tmp_path / "a.parquet", height=measures(ROWS), size=counts(ROWS), key=stored, label=LABEL)
    dataset = open_dataset(place)
    assert (dataset.roles.payload, dataset.roles.id) == (("height", "size"), "key")
    assert identities(dataset, dataset.shards[0])["id"][1].as_py() == "01010101-0101-0101-0101-010101010101"


def test_hashes_can_be_the_id(tmp_path):
    digests = pa.array([bytes([row]) * 32 for row in range(ROWS)], pa.binary(32))
    place = parquet(tmp_path / "a.parquet", height=measures(ROWS), size=counts(ROWS), sha=digests, label=LABEL)
    assert open_dataset(place).roles.unaudited == (Unaudited("sha", "identifiers", payload=False),)
    dataset = open_dataset(place, request=Request(id="sha"))
    assert identities(dataset, dataset.shards[0])["id"][1].as_py() == "01" * 32


# Labels


def test_a_measurement_called_y_is_no_label_beside_one(tmp_path):
    found = roles(tmp_path, x=measures(ROWS), y=measures(ROWS, seed=1), label=LABEL)
    assert (found.label, found.payload) == ("label", ("x", "y"))
    told = refusal(tmp_path, text=sentences(ROWS), target=measures(ROWS))
    assert "must hold whole numbers, strings or booleans, got double with fractions" in told
    assert told.endswith('--label "" for none')


# What nobody reads


def test_payloads_that_nobody_reads_are_named(tmp_path):
    found = roles(
        tmp_path,
        messages=CHATS,
        chosen=CHATS,
        rejected=CHATS,
        tools=[[{"name": "f"}]] * ROWS,
        bins=[[1, 2]] * ROWS,
        scan=pa.array([b"\x89PNG"] * ROWS),
        summary=sentences(ROWS),
        system=kinds(ROWS, *sentences(3)),
        stars=counts(ROWS),
        day=DAYS,
    )
    assert found.payload == ("messages",)
    assert {one.column: one.why for one in found.unaudited} == {
        "chosen": "conversations",
        "rejected": "conversations",
        "tools": "nested values",
        "bins": "vectors",
        "scan": "pictures",
        "summary": "texts",
        "system": "texts that repeat",
    }


def test_payloads_of_one_file_only_are_named(tmp_path):
    parquet(tmp_path / "a.parquet", text=sentences(ROWS), label=LABEL)
    parquet(tmp_path / "b.parquet", text=sentences(ROWS), label=LABEL, summary=sentences(ROWS))
    parquet(tmp_path / "c.parquet", text=sentences(ROWS), label=LABEL, summary=counts(ROWS))
    assert open_dataset([str(tmp_path)]).roles.unaudited == (Unaudited("summary", "texts", payload=True),)


def test_texts_beside_texts_of_a_usual_name_are_named(tmp_path):
    found = roles(tmp_path, text=sentences(ROWS), review=sentences(ROWS, seed=1), label=LABEL)
    assert found == Roles(Modality.TEXT, ("text",), "label", unaudited=(Unaudited("review", "texts", payload=True),))


def test_a_column_called_text_without_texts_is_not_what_rows_are_about_beside_texts(tmp_path):
    found = roles(tmp_path, document=kinds(ROWS), review=sentences(ROWS), label=LABEL)
    assert found.payload == ("review",)
    pair = {"prompt": sentences(ROWS), "response": sentences(ROWS, seed=1)}
    assert roles(tmp_path, **pair, document=kinds(ROWS)).modality is Modality.PAIR
    assert "--text document" in refusal(tmp_path, **pair, document=sentences(ROWS, seed=2))
    assert roles(tmp_path, text=kinds(ROWS), stars=counts(ROWS), label=LABEL).payload == ("text",)


def test_a_declared_picture_needs_no_contents(tmp_path):
    features = {"scan": {"_type": "Image"}}
    table = pa.table({"scan": pa.array([b"no known format"] * ROWS), "label": LABEL})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert open_dataset([str(tmp_path / "a.parquet")]).roles.modality is Modality.IMAGE
