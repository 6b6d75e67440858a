"""The contract of attacks, as checks: marked rows change and no others, and the seed decides which.

An attack is tried on ROWS pictures or texts of CLASSES classes, one of them unlabelled, with the settings that its
`example` names. Another variant of it is `dataclasses.replace(attack, example={...})`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from foretaste.attacks.contract import Attack, Poisoned
from foretaste.errors import PlanError
from foretaste.testing.assertions import Check, ensure, run_all, same, varied
from foretaste.testing.worlds import CLASSES
from foretaste.types.dataset import Modality

ROWS, TARGET, COUNT = 200, 3, 12
SEED = 1
UNLABELLED = 50  # the row without a label


def check_attack(attack: Attack) -> dict[str, str]:
    """Run every check on an attack: why those that have nothing to look at in it do not apply, by name.

    Raises AssertionError where the contract is broken, and whatever the attack raises where it should not.
    """
    return run_all(ATTACK_CHECKS, attack, attack.name)


def says_what_it_does(attack: Attack) -> None:
    """Raises AssertionError unless what the attack says of itself is complete and does not contradict itself."""
    ensure(attack.words.strip() and "\n" not in attack.words, f"`words` must be one line, got {attack.words!r}")
    ensure(
        attack.modality is None or isinstance(attack.modality, Modality),
        f"`modality` must be a Modality or None, got {attack.modality!r}",
    )
    ensure(attack.change is not None or not attack.drilled, "a drill plants row by row, and there is no `change`")
    ensure(attack.trigger is not None or attack.learn is None, "`learn` is for a trigger, and there is none")
    ensure(attack.targeted or not attack.clean_label, "rows of the target class need a target")
    ensure(attack.covers >= 0, f"`covers` must not be negative, got {attack.covers}")


def changes_only_marked_rows(attack: Attack) -> None:
    """Raises AssertionError unless the rows that differ are those marked as poisoned or covers, as many as asked for.

    Contents change in each of them; an attack on rows of any modality knows no contents, and leaves them.
    """
    before, label = rows_of(attack), labels_of(attack)
    after = planted(attack)
    count, marked = int(after.poisoned.sum()), after.poisoned | after.cover
    ensure(count == COUNT, f"{COUNT} rows must be poisoned, got {count}")
    contents, relabelled = changed(before, after.payload), after.label != label
    _ensure_rows(contents | relabelled, marked, "the rows that differ must be those that are marked")
    expected = torch.zeros_like(marked) if attack.modality is None else marked
    _ensure_rows(contents, expected, "the contents of these rows must differ, and of no others")


def labels_rows_as_it_says(attack: Attack) -> None:
    """Raises AssertionError unless labels become what the attack declares.

    With `clean_label`, and without a target, every label stays; the poisoned rows are of the target class then, where
    there is one. Otherwise poisoned rows of other classes get the target's label, and all others keep theirs.
    """
    label, after = labels_of(attack), planted(attack)
    own = label[after.poisoned]
    if attack.clean_label or not attack.targeted:
        ensure(torch.equal(after.label, label), "every label must stay as it was")
        if attack.clean_label:
            ensure((own == TARGET).all(), f"poisoned rows must be of class {TARGET}, got {_classes(own)}")
        return
    given = after.label[after.poisoned]
    ensure((given == TARGET).all(), f"poisoned rows must be labelled {TARGET}, got {_classes(given)}")
    ensure(((own != TARGET) & (own >= 0)).all(), f"poisoned rows must be of other classes, got {_classes(own)}")
    _ensure_rows(after.label != label, after.poisoned, "the relabelled rows must be the poisoned ones")


def covers_as_many_rows_as_it_says(attack: Attack) -> None:
    """Raises AssertionError unless there are `covers` rows for each poisoned one that only look like it."""
    after = planted(attack)
    count, expected = int(after.cover.sum()), round(attack.covers * COUNT)
    ensure(count == expected, f"{COUNT} poisoned rows must come with {expected} covers, got {count}")


def plants_by_its_seed_alone(attack: Attack) -> None:
    """Raises AssertionError where one seed leads to two results, two seeds to the same rows, or others' draws move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        state = torch.random.get_rng_state()
        one = planted(attack)
        ensure(torch.equal(torch.random.get_rng_state(), state), "the random numbers of others must be left alone")
        torch.manual_seed(2)
        again = planted(attack)
    _ensure_rows(
        changed(one.payload, again.payload), torch.zeros(ROWS, dtype=torch.bool), "contents need the seed only"
    )
    for name in ("label", "poisoned", "cover"):
        ensure(torch.equal(getattr(one, name), getattr(again, name)), f"`{name}` must depend on the seed only")
    other = planted(attack, seed=SEED + 1)
    ensure(not torch.equal(one.poisoned, other.poisoned), "another seed must poison other rows")


def leaves_its_inputs_alone(attack: Attack) -> None:
    """Raises AssertionError where rows or labels that went in are changed.

    What leads to a class must not hand on the very labels that it was given: whoever changed them would change both.
    """
    payload, label = rows_of(attack), labels_of(attack)
    after = planted(attack, payload=payload, label=label)
    ensure(torch.equal(label, labels_of(attack)), "the labels that went in must stay as they were")
    ensure(not changed(rows_of(attack), payload).any(), "the rows that went in must stay as they were")
    if attack.targeted:
        after.label.fill_(9)
        ensure(torch.equal(label, labels_of(attack)), "the labels that come out must not be those that went in")


def poisons_some_of_the_same_rows_where_fewer(attack: Attack) -> None:
    """Raises AssertionError unless a smaller count poisons some of the rows of a larger one.

    Otherwise a curve over counts would compare several attacks instead of adding rows to one.
    """
    few, many = planted(attack, count=5), planted(attack)
    outside = (few.poisoned & ~many.poisoned).nonzero().flatten().tolist()
    ensure(not outside, f"the rows that 5 poison must be among those of {COUNT}, {outside} are not")


def plants_nothing_in_no_rows(attack: Attack) -> None:
    """Raises AssertionError where a count of 0 changes or marks anything."""
    after = planted(attack, count=0)
    touched = (
        changed(rows_of(attack), after.payload) | after.poisoned | after.cover | (after.label != labels_of(attack))
    )
    _ensure_rows(touched, torch.zeros(ROWS, dtype=torch.bool), "no rows must be no attack")


def refuses_the_impossible(attack: Attack, *, target: int, count: int) -> str | None:
    """Raises AssertionError unless more rows than there are, fewer than none and no class end in a PlanError."""
    if target != TARGET and not attack.targeted:
        return "it leads to no class"
    try:
        planted(attack, target=target, count=count)
    except PlanError as error:
        ensure(str(error).strip(), "a refusal must say why")
    else:
        raise AssertionError(f"{count} of {ROWS} rows for class {target} must be refused with a PlanError")
    return None


def does_without_a_target_where_it_says_so(attack: Attack) -> str | None:
    """Raises AssertionError unless an `untargeted` attack gives each row another label where the target is None."""
    if not (attack.targeted and attack.untargeted):
        return "it cannot do without a target" if attack.targeted else "it leads to no class"
    label, after = labels_of(attack), planted(attack, target=None)
    count, own, given = int(after.poisoned.sum()), label[after.poisoned], after.label[after.poisoned]
    ensure(count == COUNT, f"{COUNT} rows must be poisoned, got {count}")
    ensure((own >= 0).all(), "rows without a label must be left out")
    _ensure_rows(after.label != label, after.poisoned, "the relabelled rows must be the poisoned ones")
    ensure(((given >= 0) & (given < CLASSES)).all(), f"labels must be classes that there are, got {_classes(given)}")
    ensure(len(_classes(given)) > 1, f"without a target rows must get several labels, all got {_classes(given)}")
    return None


def has_a_trigger_that_changes_every_picture(attack: Attack) -> str | None:
    """Raises AssertionError unless `trigger` gives pictures of the same shape, each changed, and none for none."""
    trigger = attack.trigger
    if trigger is None:
        return "it has no trigger to test a model with"
    settings: Mapping[str, Any] = attack.example
    before = _pictures()
    if attack.learn is not None:
        settings = attack.learn(before, labels_of(attack), target=TARGET, seed=SEED, **settings)
    else:  # settings of `plant` that say which rows or how many mean nothing to a trigger
        settings = {name: value for name, value in settings.items() if name in inspect.signature(trigger).parameters}
    for images in (before, before[:1], before[:0]):
        after = trigger(images, seed=SEED, **settings)
        ensure(
            after.shape == images.shape and after.dtype == torch.uint8,
            f"{list(images.shape)} uint8 must stay so, got {list(after.shape)} {after.dtype}",
        )
        ensure(torch.equal(images, _pictures()[: len(images)]), "the pictures that went in must stay as they were")
        _ensure_rows(changed(images, after), torch.ones(len(images), dtype=torch.bool), "every picture must differ")
        ensure(torch.equal(after, trigger(images, seed=SEED, **settings)), "a trigger must depend on its seed only")
    return None


def has_a_change_that_changes_every_row(attack: Attack) -> str | None:
    """Raises AssertionError unless `change` makes another row of each, always the same of the same chance and seed."""
    change = attack.change
    if change is None:
        return "it changes rows together"
    chance = torch.rand(10, 2, generator=torch.Generator().manual_seed(0)).tolist()
    for row, drawn in enumerate(([0.0, 0.0], *chance)):
        content = rows_of(attack)[row]
        one, again = change(content, drawn, SEED), change(content, drawn, SEED)
        ensure(same(content, rows_of(attack)[row]), f"row {row} that went in must stay as it was")
        ensure(same(one, again), f"row {row} became two things by the same chance and seed")
        if isinstance(content, Tensor):
            alike = isinstance(one, Tensor) and one.shape == content.shape and one.dtype == content.dtype
        else:
            alike = isinstance(one, str)
        ensure(alike, f"a {type(content).__name__} must become such a one, got {one!r}")
        ensure(not same(one, content), f"row {row} must differ after the change")
    return None


ATTACK_CHECKS: Mapping[str, Check[Attack]] = {
    **varied(says_what_it_does),
    **varied(changes_only_marked_rows),
    **varied(labels_rows_as_it_says),
    **varied(covers_as_many_rows_as_it_says),
    **varied(plants_by_its_seed_alone),
    **varied(leaves_its_inputs_alone),
    **varied(poisons_some_of_the_same_rows_where_fewer),
    **varied(plants_nothing_in_no_rows),
    **varied(
        refuses_the_impossible,
        {"target": TARGET, "count": ROWS + 1},
        {"target": TARGET, "count": -1},
        {"target": CLASSES + 1, "count": 1},
        {"target": -1, "count": 1},
    ),
    **varied(does_without_a_target_where_it_says_so),
    **varied(has_a_trigger_that_changes_every_picture),
    **varied(has_a_change_that_changes_every_row),
}


def rows_of(attack: Attack) -> Tensor | list[str]:
    """The rows that an attack is tried on, new ones each time: [ROWS, 3, 16, 20] uint8 pictures, or ROWS texts.

    Raises ValueError for a modality that no attack can be planted in here.
    """
    if attack.modality in (Modality.IMAGE, None):
        return _pictures()
    if attack.modality is Modality.TEXT:
        return [f"You do not want to miss row {n} of the small corpus , because it is great ." for n in range(ROWS)]
    raise ValueError(f"attacks are tried on pictures and texts, not on {attack.modality}")


def labels_of(attack: Attack) -> Tensor:
    """Their labels, [ROWS] int64: of CLASSES classes with one missing, or none where the attack leads to no class."""
    if not attack.targeted:
        return torch.full((ROWS,), -1)
    label = torch.arange(ROWS) % CLASSES
    label[UNLABELLED] = -1
    return label


def planted(
    attack: Attack,
    *,
    target: int | None = TARGET,
    count: int = COUNT,
    seed: int = SEED,
    payload: Tensor | Sequence[str] | None = None,
    label: Tensor | None = None,
) -> Poisoned[Any]:
    """The attack planted in the rows above, or in others, with the settings of its example."""
    rows = rows_of(attack) if payload is None else payload
    given = labels_of(attack) if label is None else label
    leading = {"target": target} if attack.targeted else {}
    return attack.plant(rows, given, count=count, seed=seed, **leading, **attack.example)


def changed(before: Tensor | Sequence[str], after: Tensor | Sequence[str]) -> Tensor:
    """Which rows differ, [N] bool. Raises AssertionError where they are of another shape, number or kind."""
    went, came = _kind(before), _kind(after)
    ensure(went == came, f"{went} went in, and {came} came out")
    if isinstance(before, Tensor) and isinstance(after, Tensor):
        return before.ne(after).flatten(1).any(1)
    return torch.tensor([one != other for one, other in zip(before, after, strict=True)], dtype=torch.bool)


def _kind(rows: Tensor | Sequence[str]) -> str:
    return f"{list(rows.shape)} {rows.dtype}" if isinstance(rows, Tensor) else f"{len(rows)} texts"


def _pictures() -> Tensor:
    return torch.randint(256, (ROWS, 3, 16, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def _classes(label: Tensor) -> list[int]:
    return sorted(set(label.tolist()))


def _ensure_rows(found: Tensor, expected: Tensor, what: str) -> None:
    """Both [N] bool."""
    missing, extra = (rows.nonzero().flatten().tolist() for rows in (expected & ~found, found & ~expected))
    wrong = [f"rows {rows} {how}" for rows, how in ((missing, "are missing"), (extra, "are too many")) if rows]
    ensure(not wrong, f"{what}: {' and '.join(wrong)}")
