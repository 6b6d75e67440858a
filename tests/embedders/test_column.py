"""Vectors of a column go through unchanged, or are refused."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from foretaste.dataset.payload import Payload
from foretaste.embedders.column import Column
from foretaste.errors import DataError, NotApplicable
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")


def payload(vectors, first=0, name="vector", dim=None):
    kind = pa.list_(pa.float64()) if dim is None else pa.list_(pa.float32(), dim)
    row = torch.arange(first, first + len(vectors))
    roles = Roles(Modality.EMBEDDING, (name,))
    return Payload(row, torch.zeros_like(row), {name: pa.array(vectors, kind)}, roles, "f, row group 0")


def fit(*payloads):
    roles = payloads[0].roles if payloads else Roles(Modality.EMBEDDING, ("vector",))
    return Column().fit(payloads, Dataset("", (), (), roles, (), (), Digest("a", "b")), CPU)


def test_embeds_the_vectors_as_they_are_in_any_batch():
    vectors = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    encoder = fit(payload(vectors[:5].tolist(), dim=4), payload(vectors[5:].tolist(), 5, dim=4))
    batch = encoder.embed(payload(vectors.tolist(), dim=4))
    assert encoder.dim == 4
    assert torch.equal(batch.embedding, torch.from_numpy(vectors))
    alone = [encoder.embed(payload([one.tolist()], position)) for position, one in enumerate(vectors)]
    assert torch.equal(torch.cat([one.embedding for one in alone]), batch.embedding)
    assert torch.equal(torch.cat([one.row for one in alone]), batch.row)


def test_refuses_another_length():
    with pytest.raises(DataError, match="length of the first row's, 2, got 3"):
        fit(payload([[1, 2]])).embed(payload([[1, 2, 3]]))


@pytest.mark.parametrize("bad", [[1.0, float("nan")], [float("inf"), 1.0], [1e300, 1.0], None])
def test_refuses_what_is_not_a_vector_of_finite_numbers(bad):
    with pytest.raises(DataError):
        fit(payload([[1.0, 2.0]])).embed(payload([[1.0, 2.0], bad]))


def test_skips_empty_row_groups_and_refuses_an_empty_dataset():
    encoder = fit(payload([]), payload([[1, 2, 3]]))
    assert encoder.dim == 3
    assert encoder.embed(payload([])).embedding.shape == (0, 3)
    with pytest.raises(NotApplicable):
        fit(payload([]))
    with pytest.raises(NotApplicable):
        fit()


def test_digest_tells_columns_and_lengths_apart():
    digests = {fit(payload([[1, 2]])).digest, fit(payload([[1, 2, 3]])).digest, fit(payload([[1, 2]], name="v")).digest}
    assert len(digests) == 3
    assert fit(payload([[1, 2]])).digest == fit(payload([[3, 4]], 7)).digest
