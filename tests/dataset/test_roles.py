"""What resolve() reads from a schema alone, what it refuses, and in which words."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from foretaste.dataset.roles import NOTHING_SAID, Request, class_names, plain_type, resolve
from foretaste.errors import DataError, PlanError
from foretaste.types.dataset import Modality, Roles

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
CHAT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SHAREGPT = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
OLD_CHAT = pa.struct([("role", pa.list_(pa.string())), ("content", pa.list_(pa.string()))])
VECTOR = pa.list_(pa.float32(), 8)
S, N, R, B = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def schema(declared=None, **types):
    metadata = None if declared is None else {"huggingface": json.dumps({"info": {"features": declared}})}
    return pa.schema(list(types.items()), metadata=metadata)


def named(*names):
    return {"names": list(names), "_type": "ClassLabel"}


# Clean readings first: what is taken without a word being said.


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"image": PICTURE, "label": N}, Roles(Modality.IMAGE, ("image",), "label")),
        ({"img": pa.binary(), "y": N, "uid": S}, Roles(Modality.IMAGE, ("img",), "y", "uid")),
        ({"picture": S, "target": S}, Roles(Modality.IMAGE, ("picture",), "target")),
        ({"Text": pa.large_string(), "Label": pa.dictionary(pa.int8(), S)}, Roles(Modality.TEXT, ("Text",), "Label")),
        ({"sentence": S, "idx": N}, Roles(Modality.TEXT, ("sentence",))),
        ({"document": S, "url": S, "id": N}, Roles(Modality.TEXT, ("document",), None, "id", "url")),
        ({"text": S, "image_id": N, "id": N}, Roles(Modality.TEXT, ("text",), None, "id")),
        ({"text": S, "id": PICTURE, "source": CHAT}, Roles(Modality.TEXT, ("text",))),
        ({"messages": CHAT}, Roles(Modality.MESSAGES, ("messages",))),
        ({"conversations": SHAREGPT, "id": S}, Roles(Modality.MESSAGES, ("conversations",), None, "id")),
        ({"conversation": OLD_CHAT}, Roles(Modality.MESSAGES, ("conversation",))),
        ({"prompt": S, "completion": S}, Roles(Modality.PAIR, ("prompt", "completion"))),
        ({"instruction": S, "output": S}, Roles(Modality.PAIR, ("instruction", "output"))),
        ({"output": S, "input": S, "instruction": S}, Roles(Modality.PAIR, ("instruction", "input", "output"))),
        ({"instruction": S, "context": S, "response": S}, Roles(Modality.PAIR, ("instruction", "context", "response"))),
        ({"clip_embedding": VECTOR, "label": B}, Roles(Modality.EMBEDDING, ("clip_embedding",), "label")),
        ({"x": pa.list_(pa.float64()), "y": N}, Roles(Modality.EMBEDDING, ("x",), "y")),
        ({"features": pa.large_list(pa.float16())}, Roles(Modality.EMBEDDING, ("features",))),
    ],
)
def test_unmistakable_columns_need_no_word(columns, expected):
    assert resolve(schema(**columns), NOTHING_SAID, where="a") == expected


def test_declared_pictures_and_class_labels_count_whatever_their_names():
    declared = {"scan": {"_type": "Image"}, "finding": named("well", "ill"), "gone": {"_type": "Image"}}
    found = resolve(schema(declared, scan=PICTURE, finding=N, age=N), NOTHING_SAID, where="a")
    assert found == Roles(Modality.IMAGE, ("scan",), "finding")


def test_a_usual_name_goes_before_a_declaration():
    found = resolve(schema({"worst": named("a", "b")}, text=S, worst=N, label=N), NOTHING_SAID, where="a")
    assert found.label == "label"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(image="img"), Roles(Modality.IMAGE, ("img",), "label", "id")),
        (Request(text="caption", label="kind"), Roles(Modality.TEXT, ("caption",), "kind", "id")),
        (Request(text="caption", label="", id="", source="kind"), Roles(Modality.TEXT, ("caption",), source="kind")),
        (Request(messages="caption"), Roles(Modality.MESSAGES, ("caption",), "label", "id")),
        (Request(embedding="bins"), Roles(Modality.EMBEDDING, ("bins",), "label", "id")),
        (Request(features=("kind", "size")), Roles(Modality.FEATURES, ("kind", "size"), "label", "id")),
        (Request(prompt="caption", response="kind"), Roles(Modality.PAIR, ("caption", "kind"), "label", "id")),
        (
            Request(prompt="text,caption", response="kind"),
            Roles(Modality.PAIR, ("text", "caption", "kind"), "label", "id"),
        ),
    ],
)
def test_what_is_said_overrides_what_is_guessed(request_, expected):
    columns = schema(id=N, img=PICTURE, text=S, caption=S, kind=S, label=N, size=R, bins=pa.list_(N))
    assert resolve(columns, request_, where="a") == expected


def test_a_table_is_its_remaining_numbers_strings_and_booleans_once_the_label_is_named():
    columns = schema(id=N, age=N, income=S, price=pa.decimal128(9, 2), day=pa.date32(), ok=B, source=S, empty=pa.null())
    found = resolve(columns, Request(label="income"), where="a")
    assert found == Roles(Modality.FEATURES, ("age", "price", "ok"), "income", "id", "source")
    assert resolve(columns, Request(label=""), where="a").payload == ("age", "income", "price", "ok")
    guessed = resolve(schema(id=N, age=R, target=S), NOTHING_SAID, where="a")
    assert guessed == Roles(Modality.FEATURES, ("age",), "target", "id")


# Then what is refused.


@pytest.mark.parametrize(
    ("columns", "request_", "error", "words"),
    [
        ({"image": PICTURE, "text": S}, NOTHING_SAID, PlanError, "--image image or --text text"),
        (
            {"instruction": S, "output": S, "text": S},
            NOTHING_SAID,
            PlanError,
            "--prompt instruction --response output or --text",
        ),
        ({"prompt": S, "completion": S, "response": S}, NOTHING_SAID, PlanError, "2 are possible"),
        ({"text": S, "text_embedding": VECTOR}, NOTHING_SAID, PlanError, "--text text or --embedding text_embedding"),
        (
            {"text": S, "label": N, "target": N},
            NOTHING_SAID,
            PlanError,
            '--label label or --label target, or --label "" for none',
        ),
        ({"text": S, "url": S, "author": S}, NOTHING_SAID, PlanError, "2 columns may be the source"),
        (
            {"image": PICTURE, "text": S},
            Request(image="image", text="text"),
            PlanError,
            "got --image image and --text text",
        ),
        ({"prompt": S, "completion": S}, Request(prompt="prompt"), PlanError, "given together"),
        ({"text": S, "label": N}, Request(label="lable"), PlanError, "a: no column 'lable'; did you mean 'label'?"),
        ({"text": S}, Request(id="zzz"), PlanError, "no column 'zzz'; there are 'text'"),
        ({"a": S, "b": S}, Request(prompt="a,c", response="b"), PlanError, "no column 'c'"),
        ({"text": S}, Request(text=""), PlanError, "no column ''"),
        ({"text": S, "label": N}, Request(text="text", source="text"), PlanError, "'text' was given two"),
        (
            {"age": N, "income": S, "score": R},
            NOTHING_SAID,
            PlanError,
            "needs --label (or --features), which may be one of 'age', 'income'",
        ),
        ({"id": N, "label": N}, Request(label="label"), PlanError, "no column is left to be a feature"),
        (
            {"probs": pa.list_(R), "label": N},
            Request(label="label"),
            PlanError,
            "--embedding, --features among 'probs', 'label'",
        ),
        (
            {"text": S, "label": R},
            NOTHING_SAID,
            DataError,
            "label column 'label' must hold integers, strings or booleans, got double",
        ),
        ({"text": S, "labels": pa.list_(N)}, NOTHING_SAID, DataError, '--label "" for none'),
        ({"text": S, "kind": pa.date32()}, Request(label="kind"), DataError, "got date32"),
        ({"text": N}, Request(text="text"), DataError, "payload column 'text' must hold strings, got int64"),
        ({"x": S}, Request(embedding="x"), DataError, "must hold lists of numbers"),
        ({"x": N}, Request(image="x"), DataError, "encoded pictures or paths"),
        ({"x": pa.list_(S)}, Request(messages="x"), DataError, "role and content"),
        ({"x": N, "y": VECTOR}, Request(features=("x", "y")), DataError, "'y' must hold numbers, strings or booleans"),
        ({"text": S, "raw": pa.binary()}, Request(id="raw"), DataError, "id column 'raw' must hold single values"),
    ],
)
def test_refusals_name_the_column_and_the_way_out(columns, request_, error, words):
    with pytest.raises(error) as caught:
        resolve(schema(**columns), request_, where="a")
    assert words in str(caught.value)


def test_two_declared_labels_are_two_readings():
    declared = {"fine_label": named("a", "b"), "coarse_label": named("c")}
    with pytest.raises(PlanError, match="--label fine_label or --label coarse_label"):
        resolve(schema(declared, img=PICTURE, fine_label=N, coarse_label=N), NOTHING_SAID, where="a")


def test_a_float_called_label_is_no_obstacle_when_another_column_was_named():
    assert resolve(schema(text=S, label=R, kind=S), Request(label="kind"), where="a").label == "kind"
    assert resolve(schema(text=S, label=R), Request(label=""), where="a").label is None


def test_columns_must_have_names_of_their_own():
    with pytest.raises(DataError, match="'text' occurs more than once"):
        resolve(pa.schema([("text", S), ("text", S)]), NOTHING_SAID, where="a")


# Metadata is written by strangers.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no json",
        "[]",
        "null",
        "[" * 100_000,
        '{"info": null}',
        '{"info": {"features": [1]}}',
        '{"info": {"features": {"y": 3}}}',
    ],
)
def test_foreign_metadata_says_nothing(text):
    columns = pa.schema([("text", S), ("y", N)], metadata={"huggingface": text})
    assert class_names(columns).get("y") is None
    assert resolve(columns, NOTHING_SAID, where="a") == Roles(Modality.TEXT, ("text",), "y")


def test_class_names_are_for_integers_only():
    older = {"num_classes": 2, "names": ["no", "yes"], "names_file": None, "id": None, "_type": "ClassLabel"}
    assert class_names(schema({"y": older}, y=pa.int8()))["y"] == ("no", "yes")
    assert class_names(schema({"y": older}, y=S)).get("y") is None
    assert class_names(schema({"y": older}, x=N)).get("y") is None
    assert class_names(schema({"y": older | {"names": None}}, y=N)).get("y") is None
    nested = {"y": {"feature": older, "length": -1, "_type": "Sequence"}}
    assert class_names(schema(nested, y=pa.list_(N))).get("y") is None


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        (pa.dictionary(pa.int32(), pa.large_string()), S),
        (pa.string_view(), S),
        (pa.uuid(), pa.binary(16)),
        (pa.decimal256(40, 2), R),
        (pa.fixed_shape_tensor(pa.float32(), [8]), VECTOR),
        (PICTURE, PICTURE),
    ],
)
def test_plain_types(stored, plain):
    assert plain_type(stored) == plain


def test_a_table_has_as_many_columns_as_can_be_compared_and_no_name_twice():
    names = [f"c{number}" for number in range(30_000)]
    wide = pa.schema([(name, N) for name in names] + [("label", N)])
    with pytest.raises(PlanError, match=r"at most 10,000 feature columns, got 30,000: choose .* --features"):
        resolve(wide, NOTHING_SAID, where="f")
    assert resolve(wide, Request(features=tuple(names[:9000])), where="f").label == "label"
    twice = pa.schema([(name, N) for name in (*names, *names)])
    with pytest.raises(DataError, match="and 29988 more occurs more than once"):
        resolve(twice, NOTHING_SAID, where="f")
