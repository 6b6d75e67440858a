"""Small pictures in a terminal: each character is an upper half block that shows two pixels, one above the other."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.style import Style
from rich.table import Table
from rich.text import Text

SIDE = 16  # pixels, so that a picture is 16 columns wide and 8 lines high
MOST = 12  # pictures
BETWEEN = 2  # columns between pictures


def gallery(pictures: Sequence[tuple[str, bytes]], width: int) -> Table | None:
    """As many of the pictures (caption, PNG) as fit into two lines of `width` columns."""
    fit = max(1, (width + BETWEEN) // (SIDE + BETWEEN))
    shown = pictures[: min(MOST, 2 * fit)]
    if not shown or width < SIDE:
        return None
    table = Table.grid(padding=(0, BETWEEN, 1, 0))
    for start in range(0, len(shown), fit):
        line = shown[start : start + fit]
        table.add_row(*(Text.assemble(halfblocks(png), "\n", (name[:SIDE], "dim")) for name, png in line))
    return table


def halfblocks(png: bytes) -> Text:
    """A PNG that foretaste wrote, as SIDE / 2 lines of text."""
    from PIL import Image

    with Image.open(io.BytesIO(png), formats=("PNG",)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    square = Image.new("RGB", (SIDE, SIDE))
    square.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    lines = []
    for down in range(0, SIDE, 2):
        line = Text()
        for across in range(SIDE):
            upper, lower = (_hex(square.getpixel((across, down + below))) for below in (0, 1))
            line.append("▀", Style(color=upper, bgcolor=lower))
        lines.append(line)
    return Text("\n").join(lines)


def _hex(pixel: object) -> str:
    assert isinstance(pixel, tuple)
    return "#" + "".join(f"{value:02x}" for value in pixel)
