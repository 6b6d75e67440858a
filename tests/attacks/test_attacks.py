"""The laws every attack keeps, the one written tomorrow included."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

import foretaste.attacks
from foretaste.attacks import label_flip
from foretaste.attacks.contract import Poisoned, victims
from foretaste.attacks.image import (
    adap_blend,
    adap_patch,
    badnets,
    blended,
    frequency,
    label_consistent,
    low_frequency,
    narcissus,
    sig,
    wanet,
)
from foretaste.attacks.text import flood, gibberish, insert_sentence, rare_token, syntactic_template, tweet_style
from foretaste.errors import PlanError

TARGET, COUNT = 3, 12
ROWS = 200

Attack = Callable[..., Poisoned]

DIRTY = {
    "badnets": badnets.plant,
    "badnets, red, at random": partial(badnets.plant, size=4, place="random", pattern=(255, 0, 0)),
    "badnets, anywhere": partial(badnets.plant, place="anywhere"),
    "blended": blended.plant,
    "wanet": wanet.plant,
    "low_frequency": low_frequency.plant,
    "adap_blend": adap_blend.plant,
    "adap_patch": adap_patch.plant,
    "frequency, dirty-label": partial(frequency.plant, clean_label=False),
    "label_flip": label_flip.plant,
    "rare_token": partial(rare_token.plant, times=2),
    "insert_sentence": insert_sentence.plant,
    "syntactic_template": syntactic_template.plant,
    "tweet_style": tweet_style.plant,
}
CLEAN = {
    "sig": sig.plant,
    "label_consistent": label_consistent.plant,
    "narcissus": partial(narcissus.plant, epochs=1, steps=10),
    "frequency": frequency.plant,
    "rare_token, clean-label": partial(rare_token.plant, clean_label=True),
    "insert_sentence, clean-label": partial(insert_sentence.plant, clean_label=True),
    "syntactic_template, clean-label": partial(syntactic_template.plant, clean_label=True),
    "tweet_style, clean-label": partial(tweet_style.plant, clean_label=True),
}
ATTACKS = DIRTY | CLEAN
UNLABELLED = {
    "flood": partial(flood.plant, document="a document that is there again and again"),
    "gibberish": gibberish.plant,
}
TEXTS = ("rare_token", "insert_sentence", "syntactic_template", "tweet_style")
COVERS = {"wanet": 2 * COUNT, "adap_blend": COUNT, "adap_patch": 2 * COUNT}  # the papers' ratios


@pytest.fixture
def label() -> Tensor:
    label = torch.arange(ROWS) % 6
    label[50] = -1  # a missing label
    return label


def payload(name: str) -> Tensor | list[str]:
    if name.startswith(TEXTS):
        return [f"You do not want to miss row {n} of the small corpus , because it is great ." for n in range(ROWS)]
    return torch.randint(256, (ROWS, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def changed(before: Tensor | list[str], after: Tensor | list[str]) -> Tensor:
    """Which rows differ, [N] bool."""
    if isinstance(before, Tensor):
        return (before != after).flatten(1).any(1)
    return torch.tensor([one != other for one, other in zip(before, after, strict=True)])


def test_every_attack_is_tested() -> None:
    modules = {module.name for module in pkgutil.iter_modules(foretaste.attacks.__path__)} - {"poisoned"}
    assert modules == {name.partition(",")[0] for name in ATTACKS | UNLABELLED}
    assert all(callable(importlib.import_module(f"foretaste.attacks.{name}").plant) for name in modules)


@pytest.mark.parametrize("name", UNLABELLED)
def test_attacks_on_texts_without_labels_change_only_the_rows_they_mark(name: str) -> None:
    label, before = torch.full((ROWS,), -1), [f"row {n} of a small corpus" for n in range(ROWS)]
    one, again = (UNLABELLED[name](before, label, count=COUNT, seed=5) for _ in range(2))
    assert torch.equal(one.label, label)
    assert int(one.poisoned.sum()) == COUNT
    assert [n for n in range(ROWS) if one.payload[n] != before[n]] == one.poisoned.nonzero()[:, 0].tolist()
    assert one.payload == again.payload
    with pytest.raises(PlanError):
        UNLABELLED[name](before, label, count=ROWS + 1, seed=5)


def test_every_picture_attack_has_a_trigger_to_test_a_model_with() -> None:
    pictures = {name.partition(",")[0] for name in ATTACKS if isinstance(payload(name), Tensor)} - {"label_flip"}
    assert all(callable(importlib.import_module(f"foretaste.attacks.{name}").trigger) for name in pictures)


@pytest.mark.parametrize("name", ATTACKS)
def test_only_marked_rows_change(name: str, label: Tensor) -> None:
    before = payload(name)
    after = ATTACKS[name](before, label, target=TARGET, count=COUNT, seed=1)
    assert after.poisoned.sum() == COUNT
    assert after.cover.sum() == COVERS.get(name, 0)
    touched = changed(before, after.payload) | (after.label != label)
    assert torch.equal(touched, after.poisoned | after.cover)
    assert bool(changed(before, after.payload)[touched].all()) != (name == "label_flip")


@pytest.mark.parametrize("name", DIRTY)
def test_dirty_label_attacks_relabel_rows_of_other_classes(name: str, label: Tensor) -> None:
    after = ATTACKS[name](payload(name), label, target=TARGET, count=COUNT, seed=1)
    assert bool((after.label[after.poisoned] == TARGET).all())
    assert not bool(((label[after.poisoned] == TARGET) | (label[after.poisoned] == -1)).any())
    assert torch.equal(after.label[~after.poisoned], label[~after.poisoned])


@pytest.mark.parametrize("name", CLEAN)
def test_clean_label_attacks_keep_every_label(name: str, label: Tensor) -> None:
    after = ATTACKS[name](payload(name), label, target=TARGET, count=COUNT, seed=1)
    assert torch.equal(after.label, label)
    assert bool((label[after.poisoned] == TARGET).all())


@pytest.mark.parametrize("name", ATTACKS)
def test_the_seed_decides_everything(name: str, label: Tensor) -> None:
    one, same, other = (ATTACKS[name](payload(name), label, target=TARGET, count=COUNT, seed=n) for n in (1, 1, 2))
    assert not bool(changed(one.payload, same.payload).any())
    assert torch.equal(one.label, same.label)
    assert torch.equal(one.poisoned, same.poisoned)
    assert torch.equal(one.cover, same.cover)
    assert not torch.equal(one.poisoned, other.poisoned)


@pytest.mark.parametrize("name", ATTACKS)
def test_inputs_stay_as_they_were(name: str, label: Tensor) -> None:
    before, kept = payload(name), label.clone()
    after = ATTACKS[name](before, label, target=TARGET, count=COUNT, seed=1)
    after.label.fill_(9)
    assert torch.equal(label, kept)
    assert not bool(changed(before, payload(name)).any())


@pytest.mark.parametrize("name", ATTACKS)
def test_a_smaller_count_poisons_some_of_the_same_rows(name: str, label: Tensor) -> None:
    few, many = (ATTACKS[name](payload(name), label, target=TARGET, count=n, seed=1) for n in (5, COUNT))
    assert bool(many.poisoned[few.poisoned].all())


@pytest.mark.parametrize("name", ATTACKS)
def test_no_rows_is_no_attack(name: str, label: Tensor) -> None:
    before = payload(name)
    after = ATTACKS[name](before, label, target=TARGET, count=0, seed=1)
    assert not bool((changed(before, after.payload) | after.poisoned | after.cover | (after.label != label)).any())


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(("target", "count"), [(TARGET, ROWS), (TARGET, -1), (7, 1), (-1, 1)])
def test_an_impossible_attack_is_refused(name: str, target: int, count: int, label: Tensor) -> None:
    with pytest.raises(PlanError, match=r"cannot change|is not a class"):
        ATTACKS[name](payload(name), label, target=target, count=count, seed=1)


def test_the_refusal_says_how_many_there_are(label: Tensor) -> None:
    with pytest.raises(PlanError, match="cannot change 34 rows: there are 33 rows of class 3"):
        victims(label, target=3, count=34, generator=torch.Generator(), clean_label=True)


def test_poisoned_refuses_what_does_not_fit() -> None:
    none, label = torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"pictures must be \[N, 3, H, W\] uint8"):
        Poisoned(torch.zeros(2, 3, 4, 4), label, none, none)
    with pytest.raises(ValueError, match=r"label must be \[1\]"):
        Poisoned(["one"], label, none, none)
    with pytest.raises(ValueError, match="not both"):
        Poisoned(["one", "two"], label, ~none, ~none)
