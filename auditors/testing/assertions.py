"""What a failed check says, and what is alike enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.testing import assert_close

from foretaste.detectors.contract import State
from foretaste.detectors.states import tensors
from foretaste.types.batch import GroupTests, Scores

Subject = TypeVar("Subject")
Check = Callable[[Subject], str | None]  # why it has nothing to look at; None where it holds


def ensure(holds: object, otherwise: str) -> None:
    """Raises AssertionError with the message `otherwise` unless `holds` is true, as a tensor of one number may be.

    No assert statement: under python -O a battery of those would pass everything.
    """
    if not holds:
        raise AssertionError(otherwise)


def ensure_close(found: Tensor, expected: Tensor, what: str, *, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    """Raises AssertionError unless two tensors agree: in shape and type, integers and bools exactly."""
    exact = not expected.is_floating_point()
    assert_close(
        found.to(expected.device),
        expected,
        rtol=0 if exact else rtol,
        atol=0 if exact else atol,
        msg=lambda text: f"{what}: {text}",
    )


def ensure_alike(found: Scores | GroupTests, expected: Scores | GroupTests, what: str, **tolerance: float) -> None:
    """Raises AssertionError unless two results agree in every column and evidence, within `tolerance` as above."""
    for field in fields(expected):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, Tensor):
            ensure_close(one, other, f"{what}: {field.name}", **tolerance)
            continue
        if other is None:
            ensure(one is None, f"{what}: {field.name} is set, and was not")
            continue
        ensure(
            one.keys() == other.keys(),
            f"{what}: the evidence is {', '.join(sorted(one)) or 'none'} and was {', '.join(sorted(other)) or 'none'}",
        )
        for name, value in other.items():
            ensure_close(one[name], value, f"{what}: evidence {name}", **tolerance)


def taken_apart(state: State) -> dict[str, Tensor]:
    """The tensors of a state by name.

    Raises AssertionError where the state is no tensor, nor a dataclass of tensors and of such dataclasses.
    """
    try:
        return tensors(state)
    except TypeError as error:
        raise AssertionError(
            f"a state must be a tensor or a frozen dataclass of tensors, got {type(state).__name__}: {error}"
        ) from error


def ensure_same_state(
    found: State | Mapping[str, Tensor], expected: State | Mapping[str, Tensor], what: str, **tolerance: float
) -> None:
    """Raises AssertionError unless two states, or what `taken_apart` made of them, hold the same tensors."""
    one, other = (part if isinstance(part, Mapping) else taken_apart(part) for part in (found, expected))
    ensure(one.keys() == other.keys(), f"{what}: the fields are {', '.join(one)} and were {', '.join(other)}")
    for name, value in other.items():
        ensure_close(one[name], value, f"{what}: {name or 'the tensor'}", **tolerance)


def varied(check: Callable[..., str | None], *settings: Mapping[str, Any]) -> dict[str, Check[Any]]:
    """A check by its name in words; where there are `settings`, once with each of them."""
    words = check.__name__.replace("_", " ")
    if not settings:
        return {words: check}
    return {", ".join((words, *map(_told, chosen.items()))): partial(check, **chosen) for chosen in settings}


def _told(setting: tuple[str, Any]) -> str:
    name, value = setting
    return value if isinstance(value, str) else f"{name} {value}"


def run_all(checks: Mapping[str, Check[Subject]], subject: Subject, who: str) -> dict[str, str]:
    """Run every check on `subject`: the reasons of those that had nothing to look at, by name.

    What is raised carries a note which check of whom it came from.
    """
    reasons: dict[str, str] = {}
    for name, check in checks.items():
        try:
            reason = check(subject)
        except Exception as error:
            error.add_note(f"{who}: {name}")
            raise
        if reason is not None:
            reasons[name] = reason
    return reasons


def same(one: Any, other: Any) -> bool:
    """Whether two payloads or rows are equal: tensors in every number, texts in every character."""
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)
