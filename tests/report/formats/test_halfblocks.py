"""Pictures in a terminal."""

from __future__ import annotations

import io

from hostile import EVIL
from PIL import Image
from rich.console import Console

from foretaste.dataset.pictures import thumbnail
from foretaste.report.document import document
from foretaste.report.formats.halfblocks import MOST, SIDE, gallery, halfblocks
from foretaste.report.formats.terminal import terminal


def png(draw, size=(16, 16)):
    image = Image.new("RGB", size)
    for at, colour in draw.items():
        image.putpixel(at, colour)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_each_character_is_two_pixels():
    text = halfblocks(png({(3, 4): (255, 0, 0), (3, 5): (0, 0, 255)}))
    lines = text.plain.split("\n")
    assert [len(line) for line in lines] == [SIDE] * (SIDE // 2)
    style = text.get_style_at_offset(Console(), 2 * (SIDE + 1) + 3)
    assert (style.color.name, style.bgcolor.name) == ("#ff0000", "#0000ff")


def test_a_wide_picture_keeps_its_shape():
    text = halfblocks(thumbnail(png({}, size=(400, 100))))
    assert len(text.plain.split("\n")) == SIDE // 2


def test_no_more_than_fit():
    one = png({})
    assert gallery([], 100) is None
    assert gallery([("1", one)], SIDE - 1) is None
    assert len(gallery([(str(n), one) for n in range(50)], 70).rows) == 2
    assert gallery([(str(n), one) for n in range(50)], 4000).columns[0]
    assert len(gallery([(str(n), one) for n in range(50)], 4000).columns) == MOST


def test_pictures_are_shown_where_there_are_colours_enough(report):
    rows = [{"row": 7, "label": EVIL, "risk": 0.9, "kinds": ["backdoor"], "file": "f", "row_group": 0,
             "row_in_group": 7, "reason": "why"}]  # fmt: skip
    pictures = {7: thumbnail(png({}))}

    def shown(**colours):
        return terminal(document(report), report.folder, rows=rows, pictures=pictures, **colours)

    assert "▀" in shown(colours="truecolor")
    assert "▀" in shown(colours="256")
    assert "▀" not in shown(colours="standard")
    assert "▀" not in shown()
    assert "\x1b[31m\x1b" not in shown(colours="truecolor").replace("\x1b[0m", "")
    assert "\u202e" not in shown(colours="truecolor")
