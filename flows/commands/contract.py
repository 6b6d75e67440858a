"""A command of the command line: a function in a file of its own, under the function's name.

    @command("Audit", exits="0: written. 2: it could not be done.")
    def export(...) -> int: ...

The command line imports every file of this folder; what is imported at its top delays every command, so whatever a
command works with is imported inside of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from foretaste.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])
PARTS = ("Audit", "Review", "Compare", "Sign and gate", "Plan")  # in which order the help shows them; others follow


@dataclass(frozen=True)
class Command:
    """A function that returns its exit code, the part of the help that lists it, and what its exit codes mean."""

    call: Callable[..., Any]
    part: str
    exits: str


COMMANDS: Registry[Command] = Registry("command", ("foretaste.flows.commands",))


def command(part: str, *, exits: str) -> Callable[[F], F]:
    """Decorator: registers a function as the command of its name. Raises ValueError where there is one already."""

    def put(call: F) -> F:
        COMMANDS.register(call.__name__)(Command(call, part, exits))
        return call

    return put


def ordered() -> list[Command]:
    """All commands as the help lists them: part by part, and in a part by name."""

    def place(found: Command) -> tuple[int, str, str]:
        known = PARTS.index(found.part) if found.part in PARTS else len(PARTS)
        return known, found.part, found.call.__name__

    return sorted(COMMANDS.scan().values(), key=place)
