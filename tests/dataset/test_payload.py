"""What a row says: pictures, texts, chats and vectors, from data that was written by strangers."""

from __future__ import annotations

import io
import json
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from foretaste.dataset import pictures
from foretaste.dataset.binding import named_files
from foretaste.dataset.payload import Payload, turns
from foretaste.errors import DataError
from foretaste.types.dataset import Modality, Roles

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8)


def one(modality, *columns, folder=""):
    names = tuple(f"c{number}" for number in range(len(columns)))
    rows = len(columns[0])
    label = torch.zeros(rows, dtype=torch.int64)
    return Payload(
        torch.arange(100, 100 + rows),
        label,
        dict(zip(names, columns, strict=True)),
        Roles(modality, names),
        "f, row group 0",
        folder,
    )


def encoded(array, form="PNG", **options):
    out = io.BytesIO()
    (array if isinstance(array, Image.Image) else Image.fromarray(array)).save(out, form, **options)
    return out.getvalue()


def decoded(*cells, size=8, type_=None, folder=""):
    return one(Modality.IMAGE, pa.array(cells, type_ or pa.binary()), folder=folder).images(size)


# Pictures


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG2000"])
def test_lossless_pictures_come_back_pixel_by_pixel(form):
    colours = np.stack([GREY * 4, GREY.T * 4, 255 - GREY], -1)
    if form == "GIF":  # a palette of 256 colours; grey ones fit
        colours = np.repeat(GREY[..., None], 3, -1)
    options = {"lossless": True} if form == "WEBP" else {"irreversible": False} if form == "JPEG2000" else {}
    image, broken = decoded(encoded(colours, form, **options))
    assert not broken
    assert image.shape == (1, 3, 8, 8)
    assert image.dtype == torch.uint8
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), colours)


def test_every_way_to_store_a_picture_gives_the_same(tmp_path):
    data = encoded(GREY)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "12:30.png").write_bytes(data)
    with fsspec.open("memory://pictures/deep/12:30.png", "wb") as file:
        file.write(data)
    path, here = "deep/12:30.png", str(tmp_path)
    found = [
        decoded(data),
        decoded(data, type_=pa.large_binary()),
        decoded(data, type_=pa.binary_view()),
        decoded({"bytes": data, "path": "no/such"}, type_=PICTURE),
        decoded({"bytes": None, "path": path}, type_=PICTURE, folder=here),
        decoded({"path": path}, type_=pa.struct([("path", pa.string())]), folder=here),
        decoded({"bytes": data}, type_=pa.struct([("bytes", pa.binary())])),
        decoded(path, type_=pa.string(), folder=here),
        decoded(path, type_=pa.string(), folder=f"file://{here}"),
        decoded(path, type_=pa.string(), folder="memory://pictures"),
    ]
    assert not any(broken for _, broken in found)
    assert all(torch.equal(image, found[0][0]) for image, _ in found)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/etc/passwd", "must be relative"),
        ("../secret.png", "must be relative"),
        ("a/../../secret.png", "must be relative"),
        ("..\\secret.png", "must be relative"),
        ("file:///etc/passwd", "is a URL"),
        ("http://127.0.0.1/x.png", "is a URL"),
        ("simplecache::memory", "is a URL"),
        ("gone.png", "No such file"),
        ("nul\0.png", "null"),
        (".", "not a regular file"),
        ("", "must be relative"),
        ("pipe", "not a regular file"),
        ("to pipe.png", "not a regular file"),
        ("zero.png", "not a regular file"),
        ("n" * 5000, "too long"),
        ("loop.png", "symbolic links"),
        ("a.png/", "Not a directory"),
    ],
)
def test_a_path_leads_to_a_file_below_the_folder_or_says_why_not(tmp_path, path, why):
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "secret.png").write_bytes(encoded(GREY))
    (data / "a.png").write_bytes(encoded(GREY))
    os.mkfifo(data / "pipe")
    for link, target in (("to pipe.png", "pipe"), ("zero.png", "/dev/zero"), ("loop.png", "loop.png")):
        (data / link).symlink_to(target)
    image, broken = decoded(path, type_=pa.string(), folder=str(data))
    assert list(broken) == [0]
    assert f"{path[:40]!r}"[:-1] in broken[0]
    assert "cannot be opened below the dataset's folder: " in broken[0]
    assert why in broken[0]
    assert len(broken[0]) < 400
    assert not image.any()


def test_a_path_that_only_its_own_file_s_folder_has_is_refused_with_the_way_out(tmp_path):
    (tmp_path / "train" / "imgs").mkdir(parents=True)
    (tmp_path / "train" / "imgs" / "a.png").write_bytes(encoded(GREY))
    rows = one(Modality.IMAGE, pa.array(["imgs/a.png", "imgs/b.png", "../a.png"]), folder=str(tmp_path))
    _, broken = replace(rows, where="train/x.parquet, row group 0").images(8)
    assert "but below train: name that folder as the dataset" in broken[0]
    assert "below train" not in broken[1] + broken[2]


@pytest.mark.parametrize("cell", [{"bytes": None, "path": 7}, {"bytes": "words", "path": None}])
def test_cells_that_hold_neither_bytes_nor_a_path_are_unreadable(cell):
    type_ = pa.struct([(name, pa.array([value]).type) for name, value in cell.items()])
    assert decoded(cell, type_=type_)[1] == {0: "no picture: the cell is empty"}
    assert decoded(None, type_=pa.string())[1] == {0: "no picture: the cell is empty"}


def test_broken_rows_are_named_and_leave_the_others_alone():
    good = encoded(GREY)
    image, broken = decoded(
        good, None, b"", b"no picture", good[:45], encoded(np.zeros((40, 40, 3), np.uint8), "JPEG")[:-200], good
    )
    assert sorted(broken) == [1, 2, 3, 4, 5]
    assert all("does not decode" in broken[position] for position in (2, 3, 4, 5))
    assert torch.equal(image[0], image[6])
    assert not image[1:6].any()
    assert decoded(None, {"bytes": good, "path": None}, type_=PICTURE)[1].keys() == {0}


def test_a_bomb_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(pictures, "PIXEL_LIMIT", 63)
    assert "8×8 pixels, more than 63" in decoded(encoded(GREY))[1][0]


def test_a_long_file_is_not_read_to_its_end(tmp_path, monkeypatch):
    (tmp_path / "x.png").write_bytes(encoded(GREY))
    monkeypatch.setattr(named_files, "BYTE_LIMIT", 50)
    assert decoded("x.png", type_=pa.string(), folder=str(tmp_path))[1].keys() == {0}


@pytest.mark.parametrize("form", ["EPS", "PCX", "SGI", "DDS"])  # the reader of EPS starts a program
def test_formats_that_are_not_read_are_named(form):
    image, broken = decoded(encoded(np.stack([GREY] * 3, -1), form))
    assert f"{form} is not among the formats that are read: JPEG, PNG, " in broken[0]
    assert not image.any()


def test_a_format_is_read_where_pillow_does_and_named_where_not(monkeypatch):
    colours = np.repeat(np.repeat(np.stack([GREY * 4] * 3, -1), 8, 0), 8, 1)
    avif = encoded(colours, "AVIF", quality=100)
    image, broken = decoded(avif, size=64)
    assert not broken
    assert np.abs(image[0].permute(1, 2, 0).numpy().astype(int) - colours).max() < 16
    monkeypatch.setattr(pictures, "formats", lambda: ("PNG",))
    assert "AVIF is not among the formats that are read: PNG" in decoded(avif)[1][0]
    assert "HEIC is not among" in decoded(b"\0\0\0\x18ftypheic" + bytes(40))[1][0]


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n", b"\0\0\0\x1cftypavif" + bytes(30), b"\n", b"GIF89a"])
def test_damage_is_not_taken_for_a_format(data):
    assert "among the formats" not in decoded(data)[1][0]


def test_sixteen_bits_keep_their_range():
    deep = GREY.astype(np.uint16) * 1024
    image, broken = decoded(encoded(deep), encoded(deep, "TIFF"))
    assert not broken
    assert np.array_equal(image[0, 0].numpy(), GREY * 4)
    assert torch.equal(image[0], image[1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "I"])
def test_every_mode_becomes_rgb(mode):
    source = Image.fromarray(np.stack([GREY] * 3, -1)).convert(mode)
    form = "TIFF" if mode in ("CMYK", "YCbCr", "I") else "PNG"
    if mode == "HSV":
        source, form = source.convert("RGB"), "PNG"
    image, broken = decoded(encoded(source, form))
    assert not broken
    assert image.shape == (1, 3, 8, 8)


def test_a_palette_with_transparent_colours_decodes_in_silence():
    source = Image.fromarray(GREY).convert("P")
    image, broken = decoded(encoded(source, transparency=bytes([0, 128, 255])))
    assert not broken
    half = GREY.copy()
    half[0, :2] = (127, 64)  # half way to white, by how transparent they are
    assert np.abs(image[0, 0].numpy().astype(int) - half).max() <= 1


def wide(values, form="TIFF"):
    return encoded(Image.fromarray(np.asarray(values)), form)


LINE = np.arange(64).reshape(8, 8) / 64


@pytest.mark.parametrize(
    "data",
    [
        wide(LINE.astype(np.float32)),
        wide((LINE * 250).astype(np.float32)),
        wide((LINE * 65000).astype(np.float32)),
        wide((LINE * 65535).astype(np.int32)),
        wide((LINE * 255).astype(np.int32)),
        wide((LINE * 4095).astype(np.uint16), "PNG"),
        wide((LINE * 255).astype(np.uint16), "PNG"),
        wide((LINE * 1023).astype(np.uint16), "PPM"),
        wide((LINE * 65535).astype(np.uint16), "PPM"),
        wide((LINE * 65535).astype(np.uint16), "JPEG2000"),
        wide((LINE * 2 - 1).astype(np.float32)),
    ],
)
def test_no_range_of_one_channel_is_lost(data):
    image, broken = decoded(data)
    assert not broken
    wanted = LINE * 255
    assert np.abs(image[0, 0].numpy() - wanted).max() <= 8
    assert np.array_equal(pictures.pixels(data).numpy(), image[0].numpy())
    shown = np.asarray(Image.open(io.BytesIO(pictures.thumbnail(data, 8))).convert("L"))
    assert np.abs(shown - wanted).max() <= 8


def test_a_few_hot_pixels_do_not_hide_the_others_and_strokes_on_nothing_are_seen():
    hot = (np.kron(LINE, np.ones((4, 4))) * 4095).astype(np.uint16)
    hot[0, :3] = 65535
    strokes = np.zeros((32, 32), np.float32)
    strokes[3, 4] = strokes[20, 20] = 0.8
    image, broken = decoded(wide(hot, "PNG"), wide(strokes), wide(np.full((8, 8), np.nan, np.float32)), size=32)
    assert not broken
    assert image[0, 0, 4:].float().std() > 50
    assert (image[1, 0] > 200).sum() == 2
    assert not image[2].any()


@pytest.mark.parametrize("colour", [0, 90, 200, 255])
def test_what_lies_in_alpha_is_seen_and_so_is_what_lies_beneath_it(colour):
    alpha = Image.fromarray((LINE * 255).astype(np.uint8))
    drawing = Image.new("RGB", (8, 8), (colour,) * 3)
    drawing.putalpha(alpha)
    beneath = np.zeros((8, 8, 4), np.uint8)
    beneath[..., :3] = GREY[..., None] * 4
    grey = Image.new("L", (8, 8), colour)
    grey.putalpha(alpha)
    image, broken = decoded(encoded(drawing), encoded(beneath), encoded(grey))
    assert not broken
    assert all(int(one.max()) - int(one.min()) >= 50 for one in image)


def test_opaque_pictures_are_what_they_are_without_alpha():
    colours = np.dstack([GREY * 4, GREY.T * 4, 255 - GREY, np.full((8, 8), 255)]).astype(np.uint8)
    image, _ = decoded(encoded(colours))
    assert np.array_equal(image[0].permute(1, 2, 0).numpy(), colours[..., :3])


def test_colours_of_16_bits_whose_lower_bits_hold_everything_are_unreadable():
    def colours(top):
        value = np.repeat((LINE * top).astype(">u2")[..., None], 3, -1)
        lines = b"".join(b"\0" + line.tobytes() for line in value)
        header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
        framed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
        return b"\x89PNG\r\n\x1a\n" + b"".join(framed)

    image, broken = decoded(colours(65535), colours(1023))
    assert list(broken) == [1]
    assert "16 bits a channel are nearly black" in broken[1]
    assert image[0].max() > 240


@pytest.mark.parametrize("size", [4, 8, 16])
def test_pictures_are_resized_without_moving_their_mean(size):
    smooth = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
    image, broken = decoded(encoded(smooth), encoded(smooth, "JPEG", quality=95), size=size)
    assert not broken
    assert image.shape == (2, 3, size, size)
    assert (image.double().mean((1, 2, 3)) - smooth.mean()).abs().max() < 1.5


def test_decoding_is_done_once():
    rows = one(Modality.IMAGE, pa.array([encoded(GREY)]))
    assert rows.images(8)[0] is rows.images(8)[0]
    assert rows.images(4)[0].shape == (1, 3, 4, 4)


# Texts and chats


def test_texts_pairs_and_missing_ones():
    assert one(Modality.TEXT, pa.array(["a", None, ""])).texts == ["a", "", ""]
    pair = one(Modality.PAIR, pa.array(["ask", "ask"]), pa.array(["", None]), pa.array(["answer", None]))
    assert pair.texts == ["ask\nanswer", "ask"]


CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]


SPACE = "no text: white space alone"
EMPTY = "no text: the cell is empty"


@pytest.mark.parametrize(
    ("modality", "columns", "unread"),
    [
        (Modality.TEXT, [["a", None, "", " \t\n\u00a0\u3000", "\u200b", "x "]], {1: EMPTY, 2: EMPTY, 3: SPACE}),
        (Modality.PAIR, [["a", None, None, " ", ""], [None, "b", None, "\n", ""]], {2: EMPTY, 3: SPACE, 4: EMPTY}),
        (Modality.MESSAGES, [["a", "[]", None, '[{"role": "user", "content": null}]']], {1: EMPTY, 2: EMPTY, 3: SPACE}),
        (Modality.MESSAGES, [['[{"from": "a", "value": " "}, {"from": "b", "value": "c"}]', "a:b", "a: b"]], {}),
    ],
)  # fmt: skip
def test_rows_without_a_text_are_unreadable(modality, columns, unread):
    rows = one(modality, *(pa.array(column, pa.string()) for column in columns))
    assert rows.unread == unread
    kept = [at for at in range(len(rows)) if at not in unread]
    left = rows.readable()
    assert left.row.tolist() == [100 + at for at in kept]
    assert left.texts == [rows.texts[at] for at in kept]
    assert len(left.label) == len(left) == len(kept)
    assert not left.unread


def test_a_long_chat_of_nothing_is_judged_in_no_time():
    for text in ("\n" * 200_000 + "x y", "a:\n" * 100_000 + "x y", " " * 500_000 + "x y", "a:" * 300_000 + "x y"):
        assert not one(Modality.MESSAGES, pa.array([text])).unread


def test_rows_that_are_no_texts_are_all_tried():
    rows = one(Modality.FEATURES, pa.array([None, ""]))
    assert rows.readable() is rows
    assert not rows.unread


@pytest.mark.parametrize(
    ("chat", "lines"),
    [
        (CHAT, ["user: hi", "assistant: hello"]),
        ([{"from": "human", "value": "hi"}], ["human: hi"]),
        ([{"role": None, "content": None, "from": "human", "value": "hi"}], ["human: hi"]),
        (json.dumps(CHAT), ["user: hi", "assistant: hello"]),
        ({"role": ["user", "assistant"], "content": ["hi", "hello"]}, ["user: hi", "assistant: hello"]),
        ({"from": ["human"], "value": ["hi", "more"]}, ["human: hi", ": more"]),
        ({"role": "user", "content": "hi"}, ["user: hi"]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image"}, "this"]}],
            ["user: see this"],
        ),
        ([{"role": "user", "content": None}], ["user: "]),
        ([None, {"role": "user", "content": "hi"}, "stray"], ["None", "user: hi", "stray"]),
        ("just a text", ["just a text"]),
        ("42", ["42"]),
        ('"quoted"', ['"quoted"']),
        ("[" * 100_000, ["[" * 100_000]),
        (None, []),
        ([], []),
    ],
)
def test_chats_are_read_in_every_shape(chat, lines):
    assert turns(chat) == lines


KEYS = st.sampled_from(["role", "content", "value", "x"])
JSON = st.recursive(
    st.integers() | st.text(max_size=9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(JSON.filter(lambda value: isinstance(value, (list, dict))))
def test_no_json_breaks_a_chat(value):
    assert all(isinstance(line, str) for line in turns(value))
    assert turns(json.dumps(value)) == turns(value)


def test_a_column_of_chats_is_one_text_a_row():
    type_ = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    assert one(Modality.MESSAGES, pa.array([CHAT, None, []], type_)).texts == ["user: hi\nassistant: hello", "", ""]
    old = pa.struct([("from", pa.list_(pa.string())), ("value", pa.list_(pa.string()))])
    rows = pa.array([{"from": ["a", "b"], "value": ["x", "y"]}], old)
    assert one(Modality.MESSAGES, rows).texts == ["a: x\nb: y"]


# Vectors

DATA = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]


LISTS = [pa.list_(pa.float32()), pa.list_(pa.float16()), pa.large_list(pa.int64())]


@pytest.mark.parametrize("type_", [*LISTS, pa.list_(pa.float64(), 3), pa.list_(pa.int8(), 3)])
def test_vectors_of_every_type(type_):
    rows = pa.array(DATA, pa.list_(pa.float64())).cast(type_)
    found = one(Modality.EMBEDDING, rows).vectors()
    assert found.dtype == torch.float32
    assert found.tolist() == DATA
    assert one(Modality.EMBEDDING, rows[1:]).vectors().tolist() == DATA[1:]
    found[0] = 0  # and it is a copy
    assert one(Modality.EMBEDDING, rows).vectors().tolist() == DATA


@pytest.mark.parametrize(
    ("rows", "type_", "words"),
    [
        ([[1.0], None], pa.list_(pa.float32()), "1 of 2 vectors in 'c0' are missing"),
        ([[1.0], None], pa.list_(pa.float32(), 1), "1 of 2 vectors in 'c0' are missing"),
        ([[1.0], [1.0, 2.0]], pa.list_(pa.float32()), "must have one length, got 1 to 2"),
        ([[1.0], [None]], pa.list_(pa.float32()), "1 are null"),
        ([[], []], pa.list_(pa.float32()), "length 0"),
        ([[1.0], [float("nan")], [float("inf")]], pa.list_(pa.float32()), r"2 of 3 .* not finite \(first: row 101\)"),
        ([[1.0], [1e300]], pa.list_(pa.float64()), r"1 of 2 .* not finite \(first: row 101\)"),
    ],
)
def test_vectors_that_are_none_are_refused_with_their_place(rows, type_, words):
    with pytest.raises(DataError, match=rf"^f, row group 0: .*{words}"):
        one(Modality.EMBEDDING, pa.array(rows, type_)).vectors()


def test_nothing_here_reads_the_answers():
    for module in ("payload", "parquet", "roles", "labels", "files", "pictures"):
        source = Path(pictures.__file__).with_name(f"{module}.py").read_text()
        assert "truth" not in source.replace("truth value", "")
