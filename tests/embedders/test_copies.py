"""Copies: a column a cluster, of any text modality; texts without words belong to none."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch

from foretaste.dataset.payload import Payload
from foretaste.embedders.copies import Copies, sources
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")


def payload(texts, source=None):
    columns = {"c": pa.array(texts)} | ({} if source is None else {"s": pa.array(source)})
    roles = Roles(Modality.TEXT, ("c",), source=None if source is None else "s")
    return Payload(torch.arange(len(texts)), torch.zeros(len(texts), dtype=torch.int64), columns, roles, "f")


def dataset(one):
    return Dataset("", (), (), one.roles, ("all",), (len(one),), Digest("a", "b"))


def strange(rows=400):
    draw = np.random.default_rng(0)
    texts = [" ".join(f"w{number}" for number in draw.integers(0, 3000, 20)) for _ in range(rows)]
    texts[:40] = ["the same eight words stand in forty rows"] * 40
    texts[40:60] = [""] * 10 + [None] * 10
    texts[60:62] = ["\ud800 lone", "\u202eright to left\u200b" * 50]
    return texts


def test_copies_are_a_column_and_texts_without_words_are_none():
    one = payload([text if text is None else text.encode("utf-8", "replace").decode() for text in strange()])
    encoder = Copies().fit([one], dataset(one), CPU)
    out = encoder.embed(one).embedding
    assert out.shape == (400, 1)
    assert (out[:40] > 0).all()
    assert (out[40:] == 0).all()
    assert encoder.clusters[0].rows == 40


def test_sources_are_counted():
    one = payload(strange()[:40], source=["a"] * 30 + ["b"] * 9 + [None])
    assert len(np.unique(sources(one))) == 3
    assert Copies().fit([one], dataset(one), CPU).clusters[0].sources == 2
    assert (sources(payload(["x"])) == 0).all()
