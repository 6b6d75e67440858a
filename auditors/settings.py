"""Settings: frozen dataclasses that are read from TOML tables, with the meaning and source of each value.

An unknown setting is refused with the closest known name. The docstring of a class has a line "name  meaning" for each
field; a field whose value affects what is accused also states the source of its default (`threshold`).
docs/thresholds.md is generated from both.
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
    """A field whose value affects what is accused, with the source of its default."""
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True)
class Setting:
    """One setting of a component; `name` is its path in the component's table, as in "decomposition.part"."""

    name: str
    default: Any
    meaning: str
    source: str  # "" where the value does not affect what is accused, or the user must choose it


def declared(cls: type, prefix: str = "") -> Iterator[Setting]:
    """Every setting of a dataclass, those of nested dataclasses included, in their order."""
    meanings, hints = documented(cls), get_type_hints(cls)
    for setting in fields(cls):
        name = setting.name
        if not setting.init:
            continue
        if is_dataclass(hints[name]):
            yield from declared(hints[name], f"{prefix}{name}.")
            continue
        default = setting.default_factory() if setting.default_factory is not MISSING else setting.default
        yield Setting(prefix + name, default, meanings.get(name, ""), setting.metadata.get("source", ""))


def documented(cls: type) -> dict[str, str]:
    """The meanings of the fields from the docstring of a class: lines "name  meaning", continued by indented lines."""
    names = {setting.name for setting in fields(cls)}
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
    """The value as a table. Raises PlanError where it is none."""
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} must be a table, got {value!r}")
    return value


def kind_of(name: str, table: dict[str, Any], registry: Registry[Any], where: str) -> tuple[str, dict[str, Any]]:
    """The registered name that a table asks for (`kind`, by default its own name), and its other settings."""
    kind = table.pop("kind", name)
    if not isinstance(kind, str):
        raise PlanError(f"{where} has the kind {kind!r}, which is no name of {registry.what}s")
    registry.find(kind, where)
    return kind, table


def settings(cls: Any, table: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass of settings from a table. Raises PlanError for an unknown setting or a wrong value."""
    from pydantic import TypeAdapter, ValidationError  # slow to import, and the gate imports this module

    _known_deep(cls, table, where)
    try:
        return TypeAdapter(cls).validate_python(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise PlanError(f"{where} {name}: {first['msg'].lower()}, got {first['input']!r}") from error


def _known_deep(cls: Any, table: Mapping[str, Any], where: str) -> None:
    hints = get_type_hints(cls)
    known(table, {setting.name for setting in fields(cls)}, where)
    for name, value in table.items():
        if is_dataclass(hints[name]):
            inner = f"{where[:-1]}.{name}]" if where.endswith("]") else f"{where} {name}"
            _known_deep(hints[name], table_of(value, inner), inner)


def known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    """Raises PlanError for a table with a setting that does not exist."""
    for name in table:
        if name not in names:
            raise PlanError(f"{where} has no setting {name!r}{near(name, names)}")
