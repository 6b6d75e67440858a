"""foretaste detectors, foretaste embedders: what there is, where it comes from, and what each can be told."""

from __future__ import annotations

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


def _listed(registry: Registry[Any]) -> int:
    """Every component with the first line of its docstring, by the distribution that it comes from."""
    installed = registry.installed()
    width = max(map(len, installed), default=0)
    for origin in sorted(set(installed.values()), key=lambda one: (one.foreign, str(one))):
        print_text(f"{origin}{', imported when a plan names it' if origin.foreign else ''}\n")
        for name in sorted(name for name, one in installed.items() if one == origin):
            first = cleandoc(registry[name].__doc__ or "").partition("\n")[0] if name in registry else ""
            print_text(f"  {name:<{width}}  {first}".rstrip() + "\n")
    return 0


def _explained(registry: Registry[Any], name: str) -> int:
    """All of a component's docstring, and its settings as a table of a plan with their defaults."""
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
    for one in declared(component):
        part, _, setting = one.name.rpartition(".")
        if part != table:
            lines += ["", f"[{registry.what}s.{name}.{part}]"]
            table = part
        lines.append(f"{setting} = {_toml(one.default)}")
    print_text("\n".join(lines) + "\n")
    return 0


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, frozenset)):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) or value is None else str(value)
