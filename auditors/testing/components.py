"""What holds of the class of a detector and of an embedder: frozen settings that say what they are."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

from foretaste import settings
from foretaste.errors import PlanError
from foretaste.testing.assertions import ensure


def ensure_frozen_settings(component: Any) -> None:
    """Raises AssertionError unless `component` is a frozen dataclass that is equal to another of the same settings.

    Two runs with equal settings share stored results, so what decides a result must be a setting.
    """
    cls = type(component)
    ensure(is_dataclass(cls), f"{cls.__name__} must be a dataclass, whose fields are its settings")
    ensure(cls.__dataclass_params__.frozen, f"{cls.__name__} must be frozen: nothing is ever learned in place")
    again = replace(component)
    ensure(again == component, f"{cls.__name__} must be equal to another one of the same settings")
    try:
        alike = hash(again) == hash(component)
    except TypeError as error:
        raise AssertionError(f"{cls.__name__} must be hashable: {error}") from error
    ensure(alike, f"{cls.__name__} must have the hash of another one of the same settings")


def ensure_one_sentence(cls: type) -> None:
    """Raises AssertionError unless the docstring of `cls` begins with one sentence on one line.

    It is what a list of components shows.
    """
    said = cls.__doc__ or ""
    # What dataclass writes where there is no docstring begins with the name and a bracket.
    ensure(bool(said) and not said.startswith(f"{cls.__name__}("), f"{cls.__name__} must have a docstring")
    first = said.splitlines()[0]
    ensure(
        first.endswith(".") and ". " not in first,
        f"the first line of the docstring of {cls.__name__} must be one sentence, got {first!r}",
    )


def ensure_strict_settings(cls: Any) -> None:
    """Raises AssertionError unless a table of a plan with an unknown setting is refused, with the nearest known."""
    where = f"[{cls.__name__}]"
    names = {one.name for one in fields(cls)}
    for unknown, hint in (("nonsense", ""), *((f"{name}x", "; did you mean") for name in sorted(names))):
        if unknown in names:
            continue
        try:
            made = settings.settings(cls, {unknown: 1}, where)
        except PlanError as error:
            expected = f"{where} has no setting {unknown!r}{hint}"
            ensure(str(error).startswith(expected), f"the refusal must begin {expected!r}, got {str(error)!r}")
        else:
            raise AssertionError(f"a plan could set {unknown!r}, which does not exist, and got {made!r}")
