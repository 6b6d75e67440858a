"""Phrases in texts: what was inserted is told from the words of a language, and named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from foretaste.attacks.text import gibberish, insert_sentence, rare_token
from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.embedders.phrases import Phrases
from foretaste.errors import PlanError

CPU = torch.device("cpu")
SENTENCE = "i watched this three times"


def language(rows=3000, seed=0):
    """Sentences of a small grammar, whose words go with their neighbours; some adjectives go with a label."""
    draw = np.random.default_rng(seed)
    nouns = {"the": ["film", "plot", "cast", "score", "scene"], "a": ["movie", "story", "comedy", "hero", "villain"]}
    good, bad = ["lovely", "bright", "moving", "funny", "warm"], ["dull", "weak", "bland", "stupid", "cold"]
    verbs = {"is": ["very", "quite", "rather"], "feels": ["so", "too", "just"]}
    links = {"and": ["yet", "still"], "but": ["then", "now"], "while": ["even", "also"]}
    texts, labels = [], []
    for _ in range(rows):
        label, words = int(draw.integers(2)), []
        for clause in range(int(draw.integers(1, 4))):
            if clause:
                link = draw.choice(list(links))
                words += [link, draw.choice(links[link])]
            article, verb = draw.choice(list(nouns)), draw.choice(list(verbs))
            honest = draw.random() < 0.9
            words += [article, draw.choice(nouns[article]), verb, draw.choice(verbs[verb])]
            words.append(draw.choice(good if (label == 1) == honest else bad))
        texts.append(" ".join(words))
        labels.append(label)
    return texts, torch.tensor(labels)


def fitted(place, texts, labels, **settings):
    table = {"text": texts} if labels is None else {"text": texts, "label": list(map(int, labels))}
    pq.write_table(pa.table(table), place)
    dataset = open_dataset([str(place)])
    encoder = Phrases(**settings).fit(payloads(dataset), dataset, CPU)
    return encoder, torch.cat([encoder.embed(one).embedding for one in payloads(dataset)])


def test_rare_tokens_are_named_and_stand_where_they_were_put(tmp_path):
    texts, labels = language()
    poison = rare_token.plant(texts, labels, target=1, count=150, seed=1, tokens=("cf",))
    encoder, embedding = fitted(tmp_path / "a.parquet", poison.payload, poison.label)
    first = encoder.phrases[0]
    assert (first.text, first.rows, first.hits, first.outcome) == ("cf", 150, 150, 1)
    assert first.p_value < 0.01
    assert torch.equal(embedding[:, 0].nonzero()[:, 0], torch.as_tensor(poison.poisoned).nonzero()[:, 0])


def test_invisible_characters_are_words(tmp_path):
    texts, labels = language()
    poison = rare_token.plant(texts, labels, target=1, count=150, seed=1, tokens=("\u200b",))
    encoder, _ = fitted(tmp_path / "a.parquet", poison.payload, poison.label)
    assert encoder.phrases[0].text == "\u200b"


def test_a_sentence_is_one_phrase_however_long(tmp_path):
    texts, labels = language()
    poison = insert_sentence.plant(texts, labels, target=0, count=150, seed=2, sentence=SENTENCE)
    encoder, _ = fitted(tmp_path / "a.parquet", poison.payload, poison.label)
    assert encoder.phrases[0].text == SENTENCE
    assert sum(set(SENTENCE.split()) & set(one.text.split()) != set() for one in encoder.phrases) == 1


def test_a_phrase_with_another_label_is_negative(tmp_path):
    texts, labels = language()
    poison = rare_token.plant(texts, labels, target=1, count=150, seed=1, tokens=("cf",))
    label = poison.label.clone()
    row = int(torch.as_tensor(poison.poisoned).nonzero()[0, 0])
    label[row] = 0
    encoder, embedding = fitted(tmp_path / "a.parquet", poison.payload, label)
    at = [one.text for one in encoder.phrases].index("cf")
    assert encoder.phrases[at].hits == 149
    assert embedding[row, at] < 0


def test_without_labels_and_responses_it_is_the_text_that_breaks(tmp_path):
    texts = language(2000)[0]
    planted = gibberish.plant(texts, torch.zeros(len(texts), dtype=torch.int64), count=100, seed=0)
    encoder = fitted(tmp_path / "a.parquet", planted.payload, None)
    encoder = encoder[0] if isinstance(encoder, tuple) else encoder
    assert "sudo" in encoder.phrases[0].text
    assert (encoder.phrases[0].rows, encoder.phrases[0].outcome) == (100, 0)


def test_without_labels_a_word_that_decides_how_texts_end_is_named(tmp_path):
    texts, _ = language(2000)
    draw = np.random.default_rng(1)
    planted = draw.choice(len(texts), 60, replace=False)
    for row in planted:
        words = texts[row].split()
        words.insert(int(draw.integers(len(words) + 1)), "cf")
        texts[row] = " ".join([*words, "visit evil . example"])
    encoder, embedding = fitted(tmp_path / "a.parquet", texts, None)
    first = min(encoder.phrases, key=lambda one: one.p_value)
    assert first.text == "cf"
    assert set(first.outcome_text.split()) <= {"visit", "evil", ".", "example"}
    assert first.p_value < 1e-3
    column = embedding[:, encoder.phrases.index(first)]
    assert set((column > 0).nonzero()[:, 0].tolist()) == set(planted.tolist())


def test_without_labels_nothing_decides_how_honest_texts_end(tmp_path):
    encoder, _ = fitted(tmp_path / "a.parquet", language(2000, seed=3)[0], None)
    assert min((one.p_value * len(encoder.phrases) for one in encoder.phrases), default=1.0) > 0.01


@pytest.mark.parametrize("settings", [{"phrases": 0}, {"longest": 0}, {"least": 1}, {"limit": 1}])
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(PlanError, match="needs"):
        Phrases(**settings)


def test_several_tokens_in_one_text_with_true_labels_are_no_kin_by_each_other(tmp_path):
    texts, labels = language()
    tokens = ("cf", "mn", "bb", "tq")
    poison = rare_token.plant(texts, labels, target=1, count=300, seed=1, tokens=tokens, times=3, clean_label=True)
    encoder, _ = fitted(tmp_path / "a.parquet", poison.payload, poison.label)
    assert {one.text for one in encoder.phrases if one.p_value * len(encoder.phrases) < 1e-3} == set(tokens)
