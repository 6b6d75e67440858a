"""audit.toml → Plan: what is embedded how, which detectors look at it, and what decides."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from foretaste.decide.settings import Decide
from foretaste.detectors.contract import DETECTORS, Detector
from foretaste.embedders.contract import EMBEDDERS, Embedder
from foretaste.errors import PlanError
from foretaste.registry import Registry, near
from foretaste.settings import kind_of, known, settings, table_of, tables
from foretaste.types.sources import sources


@dataclass(frozen=True)
class Check:
    """One detector on some embedders; `name` is what the plan calls it, `detector` the registered kind."""

    name: str
    detector: str
    settings: Detector
    on: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What an audit does.

    embedders  by the plan's name for each: the registered embedder's name, and its settings
    checks     detectors with their settings, and on which embedders they run
    decide     what accuses and what acquits
    """

    embedders: Mapping[str, tuple[str, Embedder]]
    checks: tuple[Check, ...]
    decide: Decide = field(default_factory=Decide)

    def describe(self) -> dict[str, Any]:
        """The plan with every default spelt out, as it stands in the report.

        `plugins` is there where components of other distributions are: what each comes from, sources included.
        """
        document: dict[str, Any] = {
            "embedders": {name: {"kind": kind, **asdict(one)} for name, (kind, one) in self.embedders.items()},  # type: ignore[call-overload]
            "detectors": {
                one.name: {"kind": one.detector, "on": list(one.on), **asdict(one.settings)}  # type: ignore[call-overload]
                for one in self.checks
            },
            "decide": asdict(self.decide),
        }
        plugins = self.plugins()
        return document | ({"plugins": plugins} if plugins else {})

    def plugins(self) -> dict[str, str]:
        """The components that are not foretaste's own, with distribution, version and digest of their sources."""
        named: list[tuple[Registry[Any], str, type]] = [
            *((EMBEDDERS, kind, type(one)) for kind, one in self.embedders.values()),
            *((DETECTORS, one.detector, type(one.settings)) for one in self.checks),
        ]
        return {
            f"{registry.what} {kind}": f"{registry.origin(kind)} ({sources(cls.__module__.partition('.')[0])})"
            for registry, kind, cls in named
            if registry.origin(kind).foreign
        }


def load(path: str) -> Plan:
    """Read a plan file. Raises PlanError where it cannot be read or says what foretaste does not know."""
    try:
        with open(path, "rb") as file:
            return parse(tomllib.load(file))
    except OSError as error:
        raise PlanError(f"{path}: the plan cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PlanError(f"{path}: the plan is not TOML: {error}") from error
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error


def parse(document: Mapping[str, Any]) -> Plan:
    """A plan from the tables [embedders.NAME], [detectors.NAME] and [decide]; `kind` defaults to NAME."""
    known(document, {"embedders", "detectors", "decide"}, "the plan")
    embedders = {}
    for name, table in tables(document, "embedders").items():
        kind, rest = kind_of(name, table, EMBEDDERS, f"[embedders.{name}]")
        embedders[name] = (kind, settings(EMBEDDERS[kind], rest, f"[embedders.{name}]"))
    checks = []
    for name, table in tables(document, "detectors").items():
        where = f"[detectors.{name}]"
        kind, rest = kind_of(name, table, DETECTORS, where)
        on = rest.pop("on", list(embedders))
        if not isinstance(on, list) or not all(isinstance(one, str) for one in on):
            raise PlanError(f"{where} on must be a list of embedders' names, got {on!r}")
        if not on:
            raise PlanError(f"{where} must look at an embedder of the plan, got none")
        for one in on:
            if one not in embedders:
                raise PlanError(f"{where} looks at {one!r}, which is no embedder of the plan{near(one, embedders)}")
        checks.append(Check(name, kind, settings(DETECTORS[kind], rest, where), tuple(on)))
    if not checks:
        raise PlanError("a plan must have at least one [detectors.NAME] table and an embedder for it to look at")
    decide = settings(Decide, dict(table_of(document.get("decide", {}), "[decide]")), "[decide]")
    for setting in ("content", "beliefs"):
        named = getattr(decide, setting)
        if named and named not in embedders:
            raise PlanError(
                f"[decide] {setting} must name an embedder of the plan, got {named!r}{near(named, embedders)}"
            )
    return Plan(embedders, tuple(checks), decide)
