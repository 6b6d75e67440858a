"""The battery of foretaste.testing on every registered attack and variant, the one written tomorrow included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from foretaste.attacks.contract import ATTACKS, Attack, Poisoned, victims
from foretaste.errors import PlanError
from foretaste.testing import ATTACK_CHECKS
from foretaste.testing.attacks import ROWS, TARGET, labels_of, planted, rows_of
from foretaste.types.dataset import Modality


def other(name: str, *, clean_label: bool | None = None, **settings: Any) -> Attack:
    """A registered attack with other settings."""
    one = ATTACKS[name]
    if clean_label is None:
        return replace(one, example={**one.example, **settings})
    return replace(one, clean_label=clean_label, example={**one.example, **settings, "clean_label": clean_label})


VARIANTS = {
    **ATTACKS.scan(),
    "badnets, red, at random": other("badnets", size=4, place="random", pattern=(255, 0, 0)),
    "badnets, anywhere": other("badnets", place="anywhere"),
    "frequency, dirty-label": other("frequency", clean_label=False),
    "rare-token, twice": other("rare-token", times=2),
    "rare-token, clean-label": other("rare-token", clean_label=True),
    "insert-sentence, clean-label": other("insert-sentence", clean_label=True),
    "syntactic-template, clean-label": other("syntactic-template", clean_label=True),
    "tweet-style, clean-label": other("tweet-style", clean_label=True),
}

every_attack = pytest.mark.parametrize("attack", VARIANTS.values(), ids=VARIANTS)
every_one_with_a_target = pytest.mark.parametrize(
    "attack", [pytest.param(one, id=name) for name, one in VARIANTS.items() if one.targeted]
)


@every_attack
@pytest.mark.parametrize("check", ATTACK_CHECKS.values(), ids=ATTACK_CHECKS)
def test_an_attack_keeps_its_contract(check: Callable[[Attack], str | None], attack: Attack) -> None:
    reason = check(attack)
    if reason is not None:
        pytest.skip(reason)


def test_every_picture_attack_has_a_trigger_to_test_a_model_with() -> None:
    assert [name for name, one in ATTACKS.items() if one.modality is Modality.IMAGE and one.trigger is None] == []


def test_covers_are_as_many_as_in_the_papers() -> None:
    covers = {name: one.covers for name, one in ATTACKS.items() if one.covers}
    assert covers == {"wanet": 2, "adap-blend": 1, "adap-patch": 2}


@every_one_with_a_target
@pytest.mark.parametrize(("target", "count"), [(TARGET, ROWS), (TARGET, -1), (7, 1), (-1, 1)])
def test_a_refusal_says_what_is_impossible(attack: Attack, target: int, count: int) -> None:
    with pytest.raises(PlanError, match=r"cannot change|is not a class"):
        planted(attack, target=target, count=count)


def test_the_refusal_says_how_many_there_are() -> None:
    with pytest.raises(PlanError, match="cannot change 34 rows: there are 33 rows of class 3"):
        victims(labels_of(ATTACKS["sig"]), target=3, count=34, generator=torch.Generator(), clean_label=True)


def test_label_flips_hand_the_rows_through() -> None:
    rows = rows_of(ATTACKS["label-flip"])
    assert planted(ATTACKS["label-flip"], payload=rows).payload is rows


def test_poisoned_refuses_what_does_not_fit() -> None:
    none, label = torch.zeros(2, dtype=torch.bool), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"pictures must be \[N, 3, H, W\] uint8"):
        Poisoned(torch.zeros(2, 3, 4, 4), label, none, none)
    with pytest.raises(ValueError, match=r"label must be \[1\]"):
        Poisoned(["one"], label, none, none)
    with pytest.raises(ValueError, match="not both"):
        Poisoned(["one", "two"], label, ~none, ~none)
