"""foretaste detectors, embedders and attacks: list components with their origin, or explain one with its settings."""

from __future__ import annotations

import sys
from dataclasses import fields
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretaste.flows.commands.contract import command
from foretaste.flows.commands.output import print_text

if TYPE_CHECKING:
    from foretaste.registry import Registry


@command("Plan", exits="0: listed. 2: there is no such detector.")
def detectors(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List what can be looked for, or explain one detector."""
    from foretaste.detectors.contract import DETECTORS

    return _listed(DETECTORS) if name is None else _explained(DETECTORS, name)


@command("Plan", exits="0: listed. 2: there is no such embedder.")
def embedders(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List how rows become vectors, or explain one embedder."""
    from foretaste.embedders.contract import EMBEDDERS

    return _listed(EMBEDDERS) if name is None else _explained(EMBEDDERS, name)


@command("Plan", exits="0: listed. 2: there is no such attack.")
def attacks(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List what can be planted, or explain one attack."""
    from foretaste.attacks.contract import ATTACKS

    if name is None:
        return _listed(ATTACKS)
    found = ATTACKS.find(name)
    source = cleandoc(sys.modules[found.plant.__module__].__doc__ or "")
    reads = "any rows" if found.modality is None else found.modality
    lines = [name, "", source, "", f"does: {found.words}", f"reads: {reads}", f"comes from: {ATTACKS.origin(name)}"]
    print_text("\n".join(lines) + "\n")
    return 0


def _listed(registry: Registry[Any]) -> int:
    """One line for each component, grouped by distribution."""
    installed = registry.installed()
    width = max(map(len, installed), default=0)
    for origin in sorted(set(installed.values()), key=lambda origin: (origin.foreign, str(origin))):
        print_text(f"{origin}{', imported when a plan names it' if origin.foreign else ''}\n")
        for name in sorted(name for name, its_origin in installed.items() if its_origin == origin):
            summary = _summary(registry[name]) if name in registry else ""
            print_text(f"  {name:<{width}}  {summary}".rstrip() + "\n")
    return 0


def _summary(component: Any) -> str:
    """A component in one line: the `words` of an attack, or the first line of a docstring."""
    return getattr(component, "words", None) or cleandoc(component.__doc__ or "").partition("\n")[0]


def _explained(registry: Registry[Any], name: str) -> int:
    """The docstring of a component, and its settings with their defaults as tables of a plan."""
    from foretaste.settings import declared

    component = registry.find(name)
    lines = [name, "", cleandoc(component.__doc__ or ""), ""]
    claim = getattr(component, "claim", None)
    if claim is not None:
        lines += [f"claims: {claim.kind}", f"family: {claim.family.name}"]
    if hasattr(component, "modalities"):
        lines.append(f"reads: {', '.join(sorted(component.modalities))}")
    lines.append(f"comes from: {registry.origin(name)}")
    table = ""
    if fields(component):
        lines += ["", f"[{registry.what}s.{name}]"]
    for setting in declared(component):
        part, _, key = setting.name.rpartition(".")
        if part != table:
            lines += ["", f"[{registry.what}s.{name}.{part}]"]
            table = part
        meaning = f"  # {setting.meaning}" if setting.meaning and table else ""  # else it is in the docstring above
        lines.append(f"{key} = {_toml(setting.default)}{meaning}")
    print_text("\n".join(lines) + "\n")
    return 0


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, frozenset)):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) or value is None else str(value)
