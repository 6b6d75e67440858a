"""What a column holds is told by its values: every situation once, then what could mislead."""

from __future__ import annotations

import datetime
import hashlib
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from written import counts, kinds, measures, names, sentences, uuids

from foretaste.dataset.columns.profile import Content, judged

ROWS = 60
CHINESE = "走廊的地毯非常软很舒服服务员态度好"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def content(values, type_=None, name="x", *, chunks=1, metadata=None):
    array = values if isinstance(values, pa.Array) else pa.array(values, type_)
    step = -(-len(array) // chunks)
    schema = pa.schema([(name, array.type)], metadata=metadata)
    return judged([schema], {name: [array.slice(at, step) for at in range(0, len(array), step)]})[name]


def picture(format_="PNG"):
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, format_)
    return out.getvalue()


def numbered(pattern):
    return [pattern.format(row) for row in range(ROWS)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (sentences(ROWS), Content.TEXTS),
        ([CHINESE[row % 7 :] + str(row) for row in range(ROWS)], Content.TEXTS),
        ([f"def f{row}(x):\n    return x + {row} if x else None" for row in range(ROWS)], Content.TEXTS),
        (names(ROWS), Content.PHRASES),
        ([*names(ROWS - 1), " ".join(sentences(50))], Content.PHRASES),
        ([text if row % 2 else f"oh{row}." for row, text in enumerate(sentences(ROWS))], Content.TEXTS),
        (kinds(ROWS), Content.CATEGORIES),
        (kinds(ROWS, *sentences(4)), Content.SET_TEXTS),
        (sentences(ROWS // 3) + [None] * ROWS, Content.FEW_TEXTS),
        (uuids(ROWS), Content.IDENTIFIERS),
        ([hashlib.sha256(bytes([row])).hexdigest() for row in range(ROWS)], Content.IDENTIFIERS),
        (numbered("C{:05}"), Content.IDENTIFIERS),
        (numbered("https://example.org/a/very/long/address/that/names/the/row/number/{}"), Content.IDENTIFIERS),
        (numbered("{}.57"), Content.STRINGS),
        (numbered("2/23/2015 18:{}"), Content.STRINGS),
        (numbered("{}.png"), Content.PATHS),
        (numbered("https://example.org/{}.jpg?size=3"), Content.PATHS),
        ([" ".join(map(str, counts(200, seed=row))) for row in range(ROWS)], Content.ENCODED),
        ([picture().hex() for _ in range(ROWS)], Content.ENCODED),
        ([None, "", " "] * ROWS, Content.CATEGORIES),
        (measures(ROWS), Content.FRACTIONS),
        (counts(ROWS), Content.NUMBERS),
        ([1.0, 0.0, None, float("nan")] * ROWS, Content.NUMBERS),
        (list(range(0, 3 * ROWS, 3)), Content.COUNTERS),
        ([True, False] * ROWS, Content.CATEGORIES),
        ([datetime.date(2020, 1, 1)] * ROWS, Content.DATES),
        ([[0.5, 1.0]] * ROWS, Content.VECTORS),
        ([["a", "b"]] * ROWS, Content.NESTED),
        ([[{"role": "user", "content": "hello"}]] * ROWS, Content.CHATS),
        ([[{"name": "f", "arguments": "{}"}]] * ROWS, Content.NESTED),
        ([picture()] * ROWS, Content.PICTURES),
        ([picture("WEBP")] * ROWS, Content.PICTURES),
        ([picture("TIFF")] * ROWS, Content.PICTURES),
        ([b"RIFF\x00\x00\x00\x00WAVEfmt "] * ROWS, Content.ENCODED),
        ([None] * ROWS, Content.NOTHING),
    ],
)
def test_contents(values, expected):
    assert content(values) is expected


def test_files_are_pictures_by_their_bytes_or_else_by_their_path():
    assert content([{"bytes": picture(), "path": None}], PICTURE) is Content.PICTURES
    assert content([{"bytes": None, "path": "a.jpg"}], PICTURE) is Content.PICTURES
    assert content([{"bytes": b"RIFF0000WAVE", "path": "a.png"}], PICTURE) is Content.ENCODED
    assert content([{"bytes": None, "path": "a.wav"}], PICTURE) is Content.ENCODED
    assert content([{"bytes": 3, "path": "a.png"}]) is Content.PICTURES


@pytest.mark.parametrize("type_", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_storage_does_not_matter(type_):
    from foretaste.dataset.columns.arrow_types import plain

    assert content(plain(pa.array(sentences(ROWS)).cast(type_))) is Content.TEXTS


def test_uuids_and_hashes_by_their_type():
    stored = pa.array([bytes([row]) * 16 for row in range(ROWS)], pa.binary(16))
    assert content(stored) is Content.IDENTIFIERS
    assert content(pa.ExtensionArray.from_storage(pa.uuid(), stored)) is Content.IDENTIFIERS
    assert content(pa.array([bytes(784)] * 3, pa.binary(784))) is Content.ENCODED


@pytest.mark.parametrize("name", ["__index_level_0__", "__index_level_1__", "Unnamed: 0", "Unnamed: 0.1"])
def test_the_index_of_pandas_by_its_name(name):
    assert content(counts(ROWS), name=name) is Content.INDEX
    assert content(kinds(ROWS), name=name) is Content.INDEX
    assert content(sentences(ROWS), name=name) is Content.TEXTS  # an index may be what rows are about


def test_the_index_of_pandas_by_its_metadata():
    metadata = {"pandas": json.dumps({"index_columns": ["visitor"]})}
    assert content(counts(ROWS), name="visitor", metadata=metadata) is Content.INDEX
    ranged = {"pandas": json.dumps({"index_columns": [{"kind": "range", "start": 0}]})}
    assert content(counts(ROWS), name="visitor", metadata=ranged) is Content.NUMBERS
    assert content(counts(ROWS), name="visitor", metadata={"pandas": "[" * 100_000}) is Content.NUMBERS


def test_numbers_that_are_called_an_id_and_never_repeat():
    unique = np.random.default_rng(0).permutation(ROWS).tolist()
    assert {content(unique, name=name) for name in ("Bean ID", "page_id", "userId", "ID")} == {Content.IDENTIFIERS}
    assert {content(unique, name=name) for name in ("grid", "valid", "area")} == {Content.NUMBERS}
    assert content(counts(ROWS), name="page_id") is Content.NUMBERS


def test_counters_may_start_again_in_each_file_and_never_stand_still():
    assert content([*range(ROWS), *range(ROWS)], chunks=2) is Content.COUNTERS
    assert content([*range(ROWS), ROWS - 1]) is Content.NUMBERS
    assert content(list(range(ROWS)), chunks=ROWS) is Content.NUMBERS  # one row of each file says nothing


def test_few_rows_prove_nothing():
    assert content(["a", "b", "c"]) is Content.STRINGS
    assert content([1, 2, 3]) is Content.NUMBERS


def test_strings_that_are_no_text_at_all_are_still_told():
    wrong = pa.array([b"\xff\xfe caf\xe9 " + text.encode() for text in sentences(ROWS)]).view(pa.binary())
    assert content(wrong.cast(pa.binary()).view(pa.string())) is Content.TEXTS


def test_a_payload_in_one_file_only_is_a_payload():
    one, two = pa.schema([("x", pa.int64())]), pa.schema([("x", pa.string())])
    sample = {"x": [pa.array(counts(ROWS)), pa.array(sentences(ROWS))]}
    assert judged([one, two], sample) == judged([two, one], sample) == {"x": Content.TEXTS}
    assert judged([pa.schema([("x", pa.null())]), one], {"x": [pa.array(counts(ROWS))]}) == {"x": Content.NUMBERS}
