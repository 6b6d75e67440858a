"""The battery lets an attack of somebody else pass, and says of a broken one what is broken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foretaste.attacks.contract import Attack, Poisoned, choose, stamped, victims
from foretaste.testing import ATTACK_CHECKS, check_attack
from foretaste.testing.attacks import ROWS, TARGET, changed, rows_of
from foretaste.types.dataset import Modality


def darkened(images, *, seed, by=2):
    """Pictures [B, 3, H, W] with every value divided, and one pixel set."""
    after = images // by
    after[:, :, 0, seed % images.shape[-1]] = 255 - images[:, :, 0, seed % images.shape[-1]] // 2
    return after


def darken(images, label, *, target, count, seed, by=2):
    generator = torch.Generator().manual_seed(seed)
    if target is None:
        rows = choose(label >= 0, count, generator, of="labelled rows")
        given = label.index_copy(0, rows, (label[rows] + 1) % (label.max() + 1))
    else:
        rows = victims(label, target=target, count=count, generator=generator)
        given = label.index_fill(0, rows, target)
    return Poisoned.at(images.index_copy(0, rows, darkened(images[rows], seed=seed, by=by)), given, rows=rows)


def shout(texts, label, *, count, seed):
    rows = choose(torch.ones(len(texts), dtype=torch.bool), count, torch.Generator().manual_seed(seed), of="rows")
    chosen = set(rows.tolist())
    return Poisoned.at([one.upper() if at in chosen else one for at, one in enumerate(texts)], label, rows=rows)


DARKEN = Attack(
    name="darken",
    modality=Modality.IMAGE,
    words="half as bright, relabelled",
    plant=darken,
    trigger=darkened,
    change=stamped(darkened),
    untargeted=True,
    drilled=True,
    example={"by": 3},
)
SHOUT = Attack(
    name="shout",
    modality=Modality.TEXT,
    words="capitals, labels kept",
    plant=shout,
    change=lambda text, _chance, _seed: text.upper(),
    targeted=False,
)


def test_plug_ins_that_keep_the_contract_pass():
    assert check_attack(DARKEN) == {}
    assert set(check_attack(SHOUT)) == {
        "refuses the impossible, target 7, count 1",
        "refuses the impossible, target -1, count 1",
        "does without a target where it says so",
        "has a trigger that changes every picture",
    }


def test_what_a_check_raises_says_which_check_of_whom_it_was():
    with pytest.raises(AssertionError, match="12 poisoned rows must come with 24 covers, got 0") as raised:
        check_attack(replace(DARKEN, covers=2.0))
    assert raised.value.__notes__ == ["darken: covers as many rows as it says"]


def test_only_pictures_and_texts_are_attacked():
    with pytest.raises(ValueError, match="tried on pictures and texts, not on features"):
        rows_of(replace(DARKEN, modality=Modality.FEATURES))


def test_rows_of_another_kind_are_no_changed_rows():
    pictures = rows_of(DARKEN)
    for other in (pictures[:, :1], pictures.float(), pictures[1:], rows_of(SHOUT)):
        with pytest.raises(AssertionError, match=r"\[200, 3, 16, 20\] torch.uint8 went in, and"):
            changed(pictures, other)


def after(change):
    """The attack whose result is changed: a function of the result and of what went in."""

    def plant(images, label, **asked):
        return change(darken(images, label, **asked), images, label, asked)

    return replace(DARKEN, plant=plant)


def first(count):
    """The first rows, [ROWS] bool."""
    return torch.arange(ROWS) < count


def in_place(images, label, **asked):
    made = darken(images, label, **asked)
    images[0] = 0
    return made


def by_chance(images, label, **asked):
    made = darken(images, label, **asked)
    return replace(made, payload=made.payload ^ torch.randint(2, made.payload.shape, dtype=torch.uint8))


def by_fresh_chance(images, label, *, count, **asked):
    return darken(images, label, count=count, **asked | {"seed": asked["seed"] + count})


def never_refuses(images, label, *, count, **asked):
    return darken(images, label, count=max(0, min(count, 20)), **asked | {"target": TARGET})


BROKEN = {
    "says what it does": [
        (replace(DARKEN, words=" "), "`words` must be one line"),
        (replace(DARKEN, modality="image files"), "must be a Modality or None"),
        (replace(DARKEN, change=None), "there is no `change`"),
        (replace(DARKEN, trigger=None, learn=lambda *_, **__: {}), "`learn` is for a trigger"),
        (replace(SHOUT, clean_label=True), "need a target"),
        (replace(DARKEN, covers=-1.0), "must not be negative"),
    ],
    "changes only marked rows": [
        (after(lambda made, *_: replace(made, poisoned=first(12) & made.poisoned)), "12 rows must be poisoned"),
        (
            after(lambda made, *_: replace(made, cover=~made.poisoned & first(3))),
            r"that are marked: rows \[0\] are missing$",
        ),
        (after(lambda made, images, *_: replace(made, payload=images)), "contents of these rows must differ"),
        (after(lambda made, images, *_: replace(made, payload=255 - images)), "are too many"),
        (replace(DARKEN, modality=None), "contents of these rows must differ, and of no others: rows"),
    ],
    "labels rows as it says": [
        (replace(DARKEN, clean_label=True), "every label must stay"),
        (after(lambda made, _, label, __: replace(made, label=label)), "must be labelled 3"),
        (after(lambda made, *_: replace(made, label=torch.full((ROWS,), TARGET))), "relabelled rows must be the pois"),
        (
            after(lambda made, _, label, __: replace(made, label=label.clone(), poisoned=label == TARGET)),
            "must be of other classes",
        ),
        (
            replace(after(lambda made, _, label, __: replace(made, label=label.clone())), clean_label=True),
            "must be of class 3",
        ),
    ],
    "covers as many rows as it says": [(replace(DARKEN, covers=1.0), "12 covers, got 0")],
    "plants by its seed alone": [
        (replace(DARKEN, plant=by_chance), "random numbers of others must be left alone"),
        (
            replace(DARKEN, plant=lambda images, label, **asked: darken(images, label, **asked | {"seed": 0})),
            "another seed must poison other rows",
        ),
        (
            after(lambda made, *_: replace(made, label=made.label + torch.initial_seed() % 100)),
            "`label` must depend on the seed only",
        ),
    ],
    "leaves its inputs alone": [
        (replace(DARKEN, plant=in_place), "rows that went in must stay"),
        (
            after(lambda made, _, label, __: replace(made, label=label.copy_(made.label))),
            "labels that went in must stay as they were",
        ),
        (after(lambda made, _, label, __: replace(made, label=label)), "must not be those that went in"),
    ],
    "poisons some of the same rows where fewer": [
        (replace(DARKEN, plant=by_fresh_chance), "the rows that 5 poison must be among those of 12")
    ],
    "plants nothing in no rows": [
        (after(lambda made, *_: replace(made, poisoned=first(1))), r"no rows must be no attack: .* \[0\] are too many")
    ],
    "refuses the impossible, target 3, count 201": [(replace(DARKEN, plant=never_refuses), "must be refused")],
    "refuses the impossible, target 3, count -1": [(replace(DARKEN, plant=never_refuses), "must be refused")],
    "refuses the impossible, target 7, count 1": [(replace(DARKEN, plant=never_refuses), "must be refused")],
    "does without a target where it says so": [
        (replace(DARKEN, plant=never_refuses), r"must get several labels, all got \[3\]"),
        (after(lambda made, _, label, __: replace(made, label=label + 1)), "relabelled rows must be the poisoned"),
        (after(lambda made, *_: replace(made, label=torch.where(made.poisoned, 9, made.label))), "that there are"),
    ],
    "has a trigger that changes every picture": [
        (replace(DARKEN, trigger=lambda images, *, seed: images), "every picture must differ"),  # noqa: ARG005
        (replace(DARKEN, trigger=lambda images, *, seed: images.float() + seed), "uint8 must stay so"),
        (replace(DARKEN, trigger=lambda images, *, seed: images.add_(seed)), "went in must stay"),
        (
            replace(DARKEN, trigger=lambda images, *, seed: images + seed + torch.randint_like(images, 9)),
            "must depend on its seed only",
        ),
        (
            replace(DARKEN, learn=lambda images, label, **_: {"by": 1}, trigger=lambda images, *, seed, by: images),  # noqa: ARG005
            "every picture must differ",
        ),
    ],
    "has a change that changes every row": [
        (replace(SHOUT, change=lambda text, *_: text), "row 0 must differ"),
        (replace(SHOUT, change=lambda text, *_: [text]), "a str must become such a one"),
        (replace(DARKEN, change=lambda picture, *_: picture[:1]), "a Tensor must become such a one"),
        (replace(DARKEN, change=lambda picture, *_: torch.rand_like(picture.float())), "two things"),
        (replace(DARKEN, change=lambda picture, *_: picture.add_(1)), "went in must stay"),
    ],
}


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        pytest.param(check, broken, message, id=f"{check}-{at}")
        for check, cases in BROKEN.items()
        for at, (broken, message) in enumerate(cases)
    ],
)
def test_what_is_broken_is_found_by_its_check(check, broken, message):
    with pytest.raises(AssertionError, match=message):
        ATTACK_CHECKS[check](broken)
