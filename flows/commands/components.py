"""foretaste detectors, foretaste embedders: what there is, explained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from foretaste.errors import PlanError
from foretaste.flows.commands.output import print_text


def detectors(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List what can be looked for, or explain one detector."""
    from foretaste.embedders import contract

    contract.discover()
    return _describe("detector", contract.DETECTORS, name)


def embedders(name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this one.")] = None) -> int:
    """List how rows become vectors, or explain one embedder."""
    from foretaste.embedders import contract

    contract.discover()
    return _describe("embedder", contract.EMBEDDERS, name)


def _describe(what: str, registry: Mapping[str, type], name: str | None) -> int:
    """Every component with the first line of its docstring, or one with all of it and its settings."""
    import difflib
    from dataclasses import MISSING, fields
    from inspect import cleandoc

    if name is None:
        width = max(map(len, registry), default=0)
        print_text("".join(f"{key:<{width}}  {_first_line(registry[key])}\n" for key in sorted(registry)))
        return 0
    if name not in registry:
        near = difflib.get_close_matches(name, registry, n=1)
        others = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(registry)) or 'none'}"
        raise PlanError(f"there is no {what} {name!r}; {others}")
    lines = [name, "", cleandoc(registry[name].__doc__ or ""), ""]
    for attribute in ("family", "kind", "modalities"):
        value = getattr(registry[name], attribute, None)
        if value is not None:
            lines.append(f"{attribute}: {', '.join(sorted(value)) if isinstance(value, frozenset) else value}")
    settings = [field for field in fields(registry[name]) if field.init]
    if settings:
        lines += ["", f"[{what}s.{name}]"]
        for field in settings:
            default = field.default_factory() if field.default_factory is not MISSING else field.default
            lines.append(f"{field.name} = {'(must be given)' if default is MISSING else _toml(default)}")
    print_text("\n".join(lines) + "\n")
    return 0


def _first_line(component: type) -> str:
    return (component.__doc__ or "").strip().partition("\n")[0]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list, frozenset)):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) or value is None else str(value)
