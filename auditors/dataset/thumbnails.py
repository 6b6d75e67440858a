"""Small pictures for people to look at, safely decoded from bytes that nobody vouches for."""

from __future__ import annotations

import io
import math
import warnings

# No EPS, PDF or other format whose decoder runs a program.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000")
PIXEL_LIMIT = 100_000_000


def picture(data: bytes, size: int = 96) -> bytes | None:
    """A PNG whose longer side is `size`, or None where the bytes do not decode.

    A tiny picture is enlarged by whole pixels: a trigger of nine pixels must stay nine pixels.
    """
    from PIL import Image

    Image.init()
    known = [name for name in FORMATS if name in Image.OPEN]  # AVIF and JPEG2000 depend on how Pillow was built
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a damaged file is this function's ordinary case
            with Image.open(io.BytesIO(data), formats=known) as opened:
                if math.prod(opened.size) > PIXEL_LIMIT:
                    return None
                opened.draft("RGB", (2 * size, 2 * size))
                clear = "transparency" in opened.info or opened.mode in ("RGBA", "LA")
                image = opened.convert("RGBA" if clear else "RGB")
        longer = max(image.size)
        if longer <= size // 2:
            times = size // longer
            image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        elif longer > size:
            image.thumbnail((size, size), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.save(out, "PNG", optimize=True)
    except Exception:  # Pillow raises many kinds; whatever it is, there is no picture
        return None
    return out.getvalue()
