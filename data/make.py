"""Rebuild the sample datasets from the copies that scikit-learn carries: `python -m data.make [FOLDER]`.

The same scikit-learn, torch, Pillow and pyarrow give the same bytes; README.md names the versions.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_digits
from torch import Tensor

from foretaste.attacks.image import badnets

SEED = 20261122
TARGET, COUNT = 3, 36  # 2 % of the 1797 digits


def make(folder: Path) -> None:
    """Write every dataset into `folder`, the truth into `folder`/truth."""
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    images, label = digits()
    write(digits_table(images, label), folder / "digits.parquet", row_group_size=600)

    after = badnets.plant(images, label, target=TARGET, count=COUNT, seed=SEED)
    write(digits_table(after.payload, after.label), folder / "digits_badnets.parquet", row_group_size=600)
    truth = {"id": np.arange(len(label)), "is_poisoned": after.poisoned.numpy(), "original_label": label.numpy()}
    write(pa.table(truth), folder / "truth" / "digits_badnets.parquet", row_group_size=len(label))

    write(breast_cancer(), folder / "breast_cancer.parquet", row_group_size=200)


def digits() -> tuple[Tensor, Tensor]:
    """The handwritten digits as [1797, 3, 32, 32] uint8 and their labels [1797] int64, in one fixed random order.

    The original order runs 0, 1, 2, … for long stretches and would betray a changed label.
    """
    source = load_digits()
    order = torch.randperm(len(source.target), generator=torch.Generator().manual_seed(SEED))
    grey = (torch.from_numpy(source.images)[order] * (255 / 16)).round().to(torch.uint8)  # [N, 8, 8], ink 0 to 16
    large = grey.repeat_interleave(4, 1).repeat_interleave(4, 2)  # each pixel becomes 4×4: nothing is invented
    return large[:, None].repeat(1, 3, 1, 1), torch.from_numpy(source.target).long()[order]


def digits_table(images: Tensor, label: Tensor) -> pa.Table:
    """Hugging Face layout: an image struct and a class label, described in the schema's metadata."""
    features = {
        "id": {"dtype": "int64", "_type": "Value"},
        "image": {"_type": "Image"},
        "label": {"names": [str(digit) for digit in range(10)], "_type": "ClassLabel"},
    }
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "id": np.arange(len(label)),
        "image": pa.array([{"bytes": png(one), "path": None} for one in images.permute(0, 2, 3, 1).numpy()], struct),
        "label": label.numpy(),
    }
    return pa.table(columns).replace_schema_metadata(huggingface(features))


def breast_cancer() -> pa.Table:
    """569 tumours, 30 measurements each."""
    source = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in source.feature_names]
    features = {
        "id": {"dtype": "int64", "_type": "Value"},
        **{name: {"dtype": "float64", "_type": "Value"} for name in names},
        "label": {"names": [str(name) for name in source.target_names], "_type": "ClassLabel"},
    }
    columns = {"id": np.arange(len(source.target)), **dict(zip(names, source.data.T, strict=True))}
    return pa.table({**columns, "label": source.target}).replace_schema_metadata(huggingface(features))


def huggingface(features: dict[str, object]) -> dict[str, str]:
    return {"huggingface": json.dumps({"info": {"features": features}})}


def png(pixels: np.ndarray) -> bytes:
    """One encoder for every row, changed or not: the format must not tell them apart."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def write(table: pa.Table, path: Path, *, row_group_size: int) -> None:
    pq.write_table(table, path, row_group_size=row_group_size, compression="zstd")


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
