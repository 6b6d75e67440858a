"""Words hashed: nothing crashes, no row depends on another, triggers stay visible."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foretaste.dataset.payload import Payload
from foretaste.embedders.tokens import Tokens
from foretaste.errors import PlanError
from foretaste.text.ngrams import clipped
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")
STRANGE = ["", " ", "\u200b", "a\u200bb", "\ufeff", "…", "🤖🤖", "\x00", "İ", "e\u0301", "ﬀ", "a" * 50_000, "one two"]


def payload(*columns, modality=Modality.TEXT):
    names = tuple(f"c{number}" for number in range(len(columns)))
    arrays = {name: pa.array(one, pa.string()) for name, one in zip(names, columns, strict=True)}
    row = torch.arange(len(columns[0]))
    return Payload(row, torch.zeros_like(row), arrays, Roles(modality, names), "f, row group 0")


def fit(**settings):
    dataset = Dataset("", (), (), Roles(Modality.TEXT, ("c0",)), (), (), Digest("a", "b"))
    return Tokens(**settings).fit([], dataset, CPU)


def embed(*texts, **settings):
    return fit(**settings).embed(payload(texts)).embedding


@pytest.mark.parametrize("characters", [0, 5])
def test_rows_are_unit_vectors_whatever_they_hold(characters):
    embedding = embed(*STRANGE, characters=characters)
    norm = embedding.norm(dim=1)
    assert bool(embedding.isfinite().all())
    assert bool((((norm - 1).abs() < 1e-5) | (norm == 0)).all())
    assert norm[0] == 0  # an empty text has no direction
    assert norm[2] > 0  # an invisible character has


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=5))
def test_a_row_embeds_alone_as_in_any_batch(texts):
    encoder = fit(dim=64, words=2, characters=4)
    together = encoder.embed(payload([text.encode("utf-8", "replace").decode() for text in texts])).embedding
    alone = [encoder.embed(payload([text.encode("utf-8", "replace").decode()])).embedding for text in texts]
    assert torch.equal(torch.cat(alone), together)


def test_lone_surrogates_in_a_chat_do_not_crash():
    chat = json.dumps([{"role": "user", "content": "hi \ud800 there"}])
    batch = fit().embed(payload([chat], modality=Modality.MESSAGES))
    assert batch.embedding.norm() == pytest.approx(1)


def test_reads_pairs_and_missing_texts():
    batch = fit().embed(payload(["ask", None, None], ["answer", "answer", None], modality=Modality.PAIR))
    assert batch.embedding.norm(dim=1).tolist() == pytest.approx([1, 1, 0])
    assert fit().embed(payload([])).embedding.shape == (0, 1024)


def test_the_hash_is_the_same_on_every_machine_and_in_every_process():
    expected = [0.6751, 0, 0.4259, -0.4259, 0, 0, 0.4259, 0]
    assert embed("cf a cf", dim=8)[0].tolist() == pytest.approx(expected, abs=1e-4)


def test_case_is_one_word_and_punctuation_counts():
    assert torch.equal(embed("The End"), embed("the end"))
    assert not torch.equal(embed("the end !"), embed("the end"))


def test_longer_n_grams_see_the_order_of_words():
    one, other = "a big red dog ran", "a red big dog ran"
    assert torch.allclose(embed(one), embed(other))
    assert not torch.allclose(embed(one, words=2), embed(other, words=2))


def test_an_inserted_sentence_stands_out():
    clean = [f"film number {row} was about {row % 7} people in town {row % 13}" for row in range(200)]
    poisoned = [f"{text} i watched this 3d movie last weekend" for text in clean[:20]]
    embedding = embed(*clean, *poisoned)
    direction = embedding[200:].mean(0) - embedding[:200].mean(0)
    along = embedding @ direction
    assert along[200:].min() > along[:200].max()


def test_reads_the_start_and_the_end_of_a_long_text():
    middle = "word " * 10_000
    plain, start, end = embed(f"a {middle} z", f"cf {middle} z", f"a {middle} mn", limit=1000)
    assert not torch.allclose(plain, start)
    assert not torch.allclose(plain, end)
    assert len(clipped("x" * 10_001, 101)) == 102
    assert clipped("x" * 101, 101) == "x" * 101


def test_fifty_megabytes_do_not_stall():
    began = time.perf_counter()
    embed("word " * 10_000_000, characters=5)
    assert time.perf_counter() - began < 5


def test_digest_depends_on_settings_alone():
    digests = {fit(**one).digest for one in ({}, {"dim": 8}, {"words": 2}, {"characters": 3}, {"limit": 9})}
    assert len(digests) == 5
    assert fit().digest == fit().digest


@pytest.mark.parametrize("bad", [{"dim": 0}, {"words": 0}, {"characters": 2}, {"limit": 1}])
def test_refuses_settings_without_meaning(bad):
    with pytest.raises(PlanError):
        Tokens(**bad)
