"""Decoding of untrusted picture files, and encoding of thumbnails."""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

PIXEL_LIMIT = 100_000_000  # against decompression bombs
# The data is untrusted: no format whose reader starts another program, as PostScript's does.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "ICO")


@cache
def formats() -> tuple[str, ...]:
    """Those of FORMATS that the installed Pillow reads: AVIF and JPEG2000 depend on its build."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def opened(data: bytes) -> Iterator[Any]:
    """The picture in an encoded file, not yet decoded.

    Raises ValueError where it would decode to more than PIXEL_LIMIT pixels, and whatever Pillow does.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=formats()) as image:
        if math.prod(image.size) > PIXEL_LIMIT:
            raise ValueError(f"{image.size[0]}×{image.size[1]} pixels, more than {PIXEL_LIMIT}")
        yield image


def size(data: bytes) -> tuple[int, int] | None:
    """Width and height of the picture in an encoded file; None where it cannot be opened."""
    try:
        with opened(data) as image:
            return int(image.width), int(image.height)
    except Exception:  # Pillow raises many kinds
        return None


def squares(files: Sequence[bytes | None], side: int) -> tuple[Tensor, dict[int, str]]:
    """Pictures as [B, 3, side, side] uint8 RGB, and the error at each position that does not decode (left black)."""
    out = np.zeros((len(files), side, side, 3), dtype=np.uint8)
    broken: dict[int, str] = {}
    for position, data in enumerate(files):
        if data is None:
            broken[position] = "no picture: the cell is empty"
            continue
        try:
            out[position] = square(data, side)
        except Exception as error:  # Pillow raises many kinds; the row is reported in any case
            # Pillow's messages contain the buffer's address, which differs between runs.
            said = re.sub(r" <_io\.BytesIO object at 0x[0-9a-f]+>", "", f"{type(error).__name__}: {error}")
            broken[position] = f"does not decode: {said}"[:200]
    return torch.from_numpy(out).permute(0, 3, 1, 2).contiguous(), broken


def square(data: bytes, side: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The picture in an encoded file as [side, side, 3] RGB."""
    from PIL import Image

    with opened(data) as image:
        image.draft("RGB", (2 * side, 2 * side))
        if image.mode.startswith("I;16"):  # Pillow's conversion would clip nearly everything to white
            plain = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        else:
            plain = image.convert("RGBA" if "transparency" in image.info else "RGB")
        plain = plain.convert("RGB")
        if plain.size != (side, side):
            smooth = Image.Resampling.BOX if min(plain.size) > side else Image.Resampling.BILINEAR
            plain = plain.resize((side, side), smooth)
        return np.asarray(plain)


def pixels(data: bytes) -> Tensor:
    """The picture in an encoded file at its own size, [3, H, W] uint8 RGB."""
    with opened(data) as image:
        return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)


def png(picture: Tensor) -> bytes:
    """[3, H, W] uint8 RGB as a PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG")
    return file.getvalue()


def thumbnail(data: bytes, longest: int = 96) -> bytes | None:
    """A PNG whose longer side is about `longest`, for display; None where the bytes do not decode.

    A small picture is enlarged by an integer factor, so that a trigger of nine pixels stays sharp.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged files are expected here
            with opened(data) as image:
                image.draft("RGB", (2 * longest, 2 * longest))
                clear = "transparency" in image.info or image.mode in ("RGBA", "LA")
                small = image.convert("RGBA" if clear else "RGB")
        longer = max(small.size)
        if longer <= longest // 2:
            times = longest // longer
            small = small.resize((small.width * times, small.height * times), Image.Resampling.NEAREST)
        elif longer > longest:
            small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        small.save(out, "PNG", optimize=True)
    except Exception:  # Pillow raises many kinds
        return None
    return out.getvalue()
