"""Settings: frozen dataclasses that a TOML table fills, and where each of their numbers came from.

What a table may not say is refused with the nearest that it may. A number that decides who is accused says in its
field where it came from; what it means stands in the docstring of its class, a line "name  meaning" for each field.
docs/thresholds.md is made of both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from inspect import cleandoc
from typing import Any, get_type_hints

from foretaste.errors import PlanError
from foretaste.registry import Registry, near


def threshold(default: Any, source: str) -> Any:
    """A field of settings whose value decides who is accused, with where its default came from."""
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True)
class Setting:
    """One setting of a component: its place in the component's table, as in "decomposition.part"."""

    name: str
    default: Any
    meaning: str
    source: str  # "" where the value decides about nobody, or is the user's to choose


def declared(cls: type, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a dataclass and of the dataclasses in it, in their order."""
    meanings, hints = documented(cls), get_type_hints(cls)
    for one in fields(cls):
        if not one.init:
            continue
        if is_dataclass(hints[one.name]):
            yield from declared(hints[one.name], f"{prefix}{one.name}.")
            continue
        default = one.default_factory() if one.default_factory is not MISSING else one.default
        yield Setting(prefix + one.name, default, meanings.get(one.name, ""), one.metadata.get("source", ""))


def documented(cls: type) -> dict[str, str]:
    """What the docstring of a class says of its fields: lines "name  meaning", and indented ones that go on."""
    names = {one.name for one in fields(cls)}
    out: dict[str, str] = {}
    last = ""
    for line in cleandoc(cls.__doc__ or "").splitlines():
        found = re.match(r"(\w+) +(\S.*)", line)
        if found and found[1] in names and (len(line) - len(found[2]) - len(found[1]) > 1 or last):
            last = found[1]
            out[last] = found[2]
        elif last and line.startswith("  "):
            out[last] += " " + line.strip()
        else:
            last = ""
    return out


def tables(document: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """The tables [section.NAME] by name."""
    whole = table_of(document.get(section, {}), f"[{section}]")
    return {name: dict(table_of(table, f"[{section}.{name}]")) for name, table in whole.items()}


def table_of(value: Any, where: str) -> Mapping[str, Any]:
    """The value, which must be a table."""
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} must be a table, got {value!r}")
    return value


def kind_of(name: str, table: dict[str, Any], registry: Registry[Any], where: str) -> tuple[str, dict[str, Any]]:
    """Which registered component a table asks for, and the settings left in it."""
    kind = table.pop("kind", name)
    if not isinstance(kind, str):
        raise PlanError(f"{where} has the kind {kind!r}, which is no name of {registry.what}s")
    registry.find(kind, where)
    return kind, table


def settings(cls: Any, table: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass of settings from a table. Raises PlanError naming the setting that is unknown or wrong."""
    from pydantic import TypeAdapter, ValidationError  # here: the gate has settings too, and must not wait for it

    _known_deep(cls, table, where)
    try:
        return TypeAdapter(cls).validate_python(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise PlanError(f"{where} {name}: {first['msg'].lower()}, got {first['input']!r}") from error


def _known_deep(cls: Any, table: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(cls)
    known(table, {one.name for one in fields(cls)}, where)
    for name, value in table.items():
        if is_dataclass(hints[name]):
            inner = f"{where[:-1]}.{name}]" if where.endswith("]") else f"{where} {name}"
            _known_deep(hints[name], table_of(value, inner), inner)


def known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    """Refuse a table with a setting that does not exist."""
    for name in table:
        if name not in names:
            raise PlanError(f"{where} has no setting {name!r}{near(name, names)}")
