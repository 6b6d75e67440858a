"""The contract of a command: a decorated function in this folder, called by the function's name.

    @command("Audit", exits="0: written. 2: it could not be done.")
    def export(...) -> int: ...

The command line imports every file of this folder; imports at the top of one delay every command, so a command imports
what it needs inside the function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from foretaste.registry import Registry

F = TypeVar("F", bound=Callable[..., Any])
PARTS = ("Audit", "Review", "Compare", "Sign and gate", "Plan")  # in the order of the help; others follow


@dataclass(frozen=True)
class Command:
    """A function that returns an exit code, its part of the help, and the meaning of its exit codes."""

    call: Callable[..., Any]
    part: str
    exits: str


COMMANDS: Registry[Command] = Registry("command", ("foretaste.flows.commands",))


def command(part: str, *, exits: str) -> Callable[[F], F]:
    """Decorator that registers a function as the command of its name. Raises ValueError where the name is taken."""

    def put(call: F) -> F:
        COMMANDS.register(call.__name__)(Command(call, part, exits))
        return call

    return put


def ordered() -> list[Command]:
    """All commands in the order of the help: by part, then by name."""

    def place(found: Command) -> tuple[int, str, str]:
        known = PARTS.index(found.part) if found.part in PARTS else len(PARTS)
        return known, found.part, found.call.__name__

    return sorted(COMMANDS.scan().values(), key=place)
