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
HOT = 0.01  # share of a picture's pixels that its range need not hold: a few bright ones must not hide the others
DARK = 16  # of 255: a picture of 16 bits a channel below this lost its content with the lower 8
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

    Raises ValueError where its format is not among `formats()` or it would decode to more than PIXEL_LIMIT pixels, and
    whatever Pillow does.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=formats())
    except UnidentifiedImageError:
        if (name := _format(data)) and name not in formats():
            raise ValueError(f"{name} is not among the formats that are read: {', '.join(formats())}") from None
        raise
    with image:
        if math.prod(image.size) > PIXEL_LIMIT:
            raise ValueError(f"{image.size[0]}×{image.size[1]} pixels, more than {PIXEL_LIMIT}")
        yield image


def _format(data: bytes) -> str | None:
    """The format that the first bytes of a file announce, whether or not it is read."""
    from PIL import Image

    start = data[:16]
    if len(start) < 16:
        return None
    if start[4:8] == b"ftyp":  # of the ISO base media file format, whose brand says what it is
        brand = start[8:12].decode("ascii", "replace").strip().upper()
        return "AVIF" if brand.startswith("AVI") else brand
    return next((name for name, (_, accepts) in Image.OPEN.items() if accepts and accepts(start) is True), None)


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
    with opened(data) as image:
        image.draft("RGB", (2 * side, 2 * side))
        return np.asarray(_rgb(image, (side, side)))


def pixels(data: bytes) -> Tensor:
    """The picture in an encoded file at its own size, [3, H, W] uint8 RGB."""
    with opened(data) as image:
        return torch.from_numpy(np.array(_rgb(image, image.size))).permute(2, 0, 1)


def _rgb(image: Any, size: tuple[int, int]) -> Any:
    """A picture of any mode as RGB of this size. Raises ValueError where its content does not survive that."""
    if _wide(image):
        return _scaled(_resized(image.convert("I").convert("F") if image.mode != "F" else image, size))
    deep = any(";16" in str(part[3]) for part in image.tile)
    plain = _half_composed(image.convert("RGBA")) if image.has_transparency_data else image.convert("RGB")
    if deep and max(high for _, high in plain.getextrema()) < DARK:
        raise ValueError("its 16 bits a channel are nearly black in the upper 8, which are all that is read")
    return _resized(plain, size)


def _wide(image: Any) -> bool:
    """Whether a picture has one channel of more than 8 bits, which Pillow's conversion would clip to white or black."""
    return image.mode in ("I", "F") or str(image.mode).startswith("I;16")


def _resized(image: Any, size: tuple[int, int]) -> Any:
    from PIL import Image

    smooth = Image.Resampling.BOX if min(image.size) > max(size) else Image.Resampling.BILINEAR
    return image if image.size == size else image.resize(size, smooth)


def _scaled(image: Any) -> Any:
    """A picture of mode F in the range of 8 bits, from the least power of two that holds the picture's values.

    [0, 1], 8, 12 and 16 bits all occur, and no file says which. A picture with negative values is centred.
    """
    from PIL import Image

    value = np.nan_to_num(np.asarray(image), nan=0.0, posinf=0.0, neginf=0.0)
    held = np.sort(np.abs(value[value != 0]))
    if not len(held):
        return Image.new("RGB", image.size)
    reach = float(held[math.ceil((1 - HOT) * len(held)) - 1])
    whole = bool((held == np.round(held)).all()) and reach > 1
    top = 2.0 ** math.ceil(math.log2(reach + 1 if whole else reach))
    if whole:
        top = max(top, 256.0)
    signed = (value < 0).sum() > HOT * len(held)
    share = (value / top + 1) / 2 if signed else value / top
    return Image.fromarray(np.clip(share * 256, 0, 255).astype(np.uint8)).convert("RGB")


def _half_composed(image: Any) -> Any:
    """A picture of mode RGBA half way between its colours without alpha and its composition on black or white.

    Trainers do the one or the other, and either can hide what the other shows.
    """
    from PIL import Image

    colours = image.convert("RGB")
    if image.getchannel("A").getextrema() == (255, 255):
        return colours
    mean = sum(colours.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))) / 3
    ground = Image.new("RGBA", image.size, (255, 255, 255, 255) if mean < 128 else (0, 0, 0, 255))
    return Image.blend(colours, Image.alpha_composite(ground, image).convert("RGB"), 0.5)


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
                if _wide(image):
                    shrunk = min(1, longest / max(image.size))
                    small = _rgb(image, tuple(max(1, round(side * shrunk)) for side in image.size))
                else:
                    small = image.convert("RGBA" if image.has_transparency_data else "RGB")
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
