"""What somebody who means harm puts into a dataset."""

import io

from PIL import Image

EVIL = "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m\u202e\u200b\ud800{{ 7*7 }}"


def png(size: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (size, size), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()
