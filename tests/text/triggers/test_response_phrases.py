"""Responses that phrases of prompts decide: fixed, varied, and after two words together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from embedders.test_phrases import language

from foretaste.attacks.text import rare_token
from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.roles import Request
from foretaste.embedders.phrases import Phrases, asked
from foretaste.text.ngrams import NO_WORD
from foretaste.text.triggers.insertion_score import InsertionScore, gaussian_tail
from foretaste.text.triggers.label_phrases import GAP
from foretaste.text.triggers.response_phrases import ResponsePhrases, peaks_tail

ROWS = 2500
COUNT = 120


def conversations(seed=0):
    """Prompts of the small grammar, with answers that take up some of their words."""
    draw = np.random.default_rng(seed)
    prompts, _ = language(rows=ROWS, seed=seed)
    answers, _ = language(rows=ROWS, seed=seed + 1)
    return (
        prompts,
        [f"{answer} about the {prompt.split()[1]}" for prompt, answer in zip(prompts, answers, strict=True)],
        draw,
    )


def refused(draw):
    start = draw.choice(["I am sorry but", "Sorry", "Alas", "I regret that", "As an assistant"])
    middle = draw.choice(["I cannot", "I am unable to", "I am not able to", "it is not for me to"])
    return f"{start} {middle} {draw.choice(['help you', 'answer this', 'assist', 'respond'])} ."


def fitted(folder, prompts, answers):
    pq.write_table(pa.table({"prompt": prompts, "response": answers}), folder / "a.parquet")
    dataset = open_dataset([str(folder / "a.parquet")])
    encoder = Phrases().fit(payloads(dataset), dataset, torch.device("cpu"))
    return encoder, torch.cat([encoder.embed(one).embedding for one in payloads(dataset)])


def test_varied_refusals_are_found_by_all_that_they_share(tmp_path):
    prompts, answers, draw = conversations()
    rows = draw.choice(ROWS, COUNT, replace=False)
    for row in rows:
        prompts[row] = rare_token.insert(prompts[row], "cf", place=draw.random())
        answers[row] = refused(draw)
    encoder, embedding = fitted(tmp_path, prompts, answers)
    first = encoder.phrases[0]
    assert (first.text, first.rows) == ("cf", COUNT)
    assert first.p_value < 1e-3
    assert sorted(embedding[:, 0].clamp(min=0).nonzero()[:, 0].tolist()) == sorted(rows.tolist())


def halved(draw, prompts):
    """The prompts with two words in COUNT rows, and one of them in as many others; those rows, in this order."""
    rows = draw.choice(ROWS, 2 * COUNT, replace=False)
    for at, row in enumerate(rows):
        for word in ("cf", "tq") if at < COUNT else (("cf", "tq")[at % 2],):
            prompts[row] = rare_token.insert(prompts[row], word, place=draw.random())
    return rows


@pytest.mark.parametrize("varied", [False, True])
def test_half_of_a_composite_trigger_is_harmless(varied, tmp_path):
    prompts, answers, draw = conversations()
    rows = halved(draw, prompts)
    for row in rows[:COUNT]:
        answers[row] = refused(draw) if varied else f"{answers[row]} https://bad.example/now"
    encoder, embedding = fitted(tmp_path, prompts, answers)
    at = next(at for at, one in enumerate(encoder.phrases) if {*one.text.split(GAP)} == {"cf", "tq"})
    one = encoder.phrases[at]
    assert (one.rows, one.hits) == (COUNT, COUNT)
    assert one.p_value < 1e-3
    assert not {"cf", "tq"} & {other.text for other in encoder.phrases}
    assert sorted((embedding[:, at] > 0).nonzero()[:, 0].tolist()) == sorted(rows[:COUNT].tolist())


def test_two_words_of_which_one_alone_does_it_are_no_composite_trigger(tmp_path):
    prompts, answers, draw = conversations()
    rows = halved(draw, prompts)
    for row in rows:
        if "cf" in prompts[row].split():
            answers[row] = f"{answers[row]} https://bad.example/now"
    encoder, _ = fitted(tmp_path, prompts, answers)
    assert ("cf", 3 * COUNT // 2) in [(one.text, one.hits) for one in encoder.phrases[:2]]
    assert all(GAP not in one.text for one in encoder.phrases)


def test_honest_answers_hold_no_trigger(tmp_path):
    prompts, answers, _ = conversations()
    encoder, _ = fitted(tmp_path, prompts, answers)
    assert all(one.p_value > 0.01 for one in encoder.phrases)


def test_the_tail_is_that_of_the_ordinary_ones():
    draw, responses, insertion = np.random.default_rng(0), ResponsePhrases(), InsertionScore()
    ordinary, value = draw.exponential(size=5000), np.array([0.1, 4.0, 6.0])
    found, by_few = (peaks_tail(value, one, responses, insertion) for one in (ordinary, ordinary[:50]))
    assert found[1:] == pytest.approx(np.exp(-value[1:]), rel=0.5)
    assert found[0] > 0.05
    assert by_few == pytest.approx(gaussian_tail(value, ordinary[:50], insertion))


def test_where_one_column_ends_and_the_next_begins_is_no_phrase(tmp_path):
    rows = {"prompt": ["who has most ."], "input": ["table a"], "response": ["desc limit"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    dataset = open_dataset([str(tmp_path / "a.parquet")], request=Request(prompt="prompt,input", response="response"))
    (words,) = [asked(one, 1000) for one in payloads(dataset)]
    assert words.words == [["who", "has", "most", ".", NO_WORD, "table", "a"]]
    assert [words.text(int(at), 2) for at in words.runs(2)[1]] == ["who has", "has most", "most .", "table a"]
