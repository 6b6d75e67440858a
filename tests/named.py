"""A dataset whose rows name pictures by path, on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(path: Path, seed: int, *, patch: bool = False) -> None:
    """An 8×8 picture of noise, with a white patch in its corner where `patch`."""
    value = np.random.default_rng(seed).integers(0, 200, (8, 8, 3)).astype(np.uint8)
    if patch:
        value[:3, :3] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(value).save(path)


def dataset(folder: Path, rows: int = 6, *, files: int = 1, type_: Any = None, **columns: Any) -> Path:
    """`rows` pictures below img/, and Parquet files whose column `image` names them; labels alternate."""
    for row in range(rows):
        picture(folder / "img" / f"{row}.png", row)
    cells: list[Any] = [f"img/{row}.png" for row in range(rows)]
    if type_ is not None:
        cells = [{"bytes": None, "path": cell} for cell in cells]
    table = pa.table({"image": pa.array(cells, type_), "label": ["cat", "dog"] * (rows // 2), **columns})
    for file in range(files):
        part = table.slice(file * rows // files, (file + 1) * rows // files - file * rows // files)
        pq.write_table(part, folder / f"{'abcdefgh'[file]}.parquet", row_group_size=2)
    return folder
