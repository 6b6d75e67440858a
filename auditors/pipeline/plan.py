"""audit.toml → Plan: embedders, checks, and the settings of the decision."""

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
    """A detector with settings on some embedders; `name` is its name in the plan, `detector` the registered name."""

    name: str
    detector: str
    settings: Detector
    on: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What an audit does.

    embedders  by their name in the plan: the registered name, and the settings
    checks     detectors with their settings, and the embedders that they run on
    decide     settings of the decision: error rates, and what acquits
    """

    embedders: Mapping[str, tuple[str, Embedder]]
    checks: tuple[Check, ...]
    decide: Decide = field(default_factory=Decide)

    def describe(self) -> dict[str, Any]:
        """The plan with all defaults, as in the report.

        It has the key `plugins` if there are components of other distributions.
        """
        document: dict[str, Any] = {
            "embedders": {
                name: {"kind": kind, **asdict(embedder)}  # type: ignore[call-overload]
                for name, (kind, embedder) in self.embedders.items()
            },
            "detectors": {
                check.name: {"kind": check.detector, "on": list(check.on), **asdict(check.settings)}  # type: ignore[call-overload]
                for check in self.checks
            },
            "decide": asdict(self.decide),
        }
        plugins = self.plugins()
        return document | ({"plugins": plugins} if plugins else {})

    def plugins(self) -> dict[str, str]:
        """The components of other distributions, with distribution, version and digest of their sources."""
        named: list[tuple[Registry[Any], str, type]] = [
            *((EMBEDDERS, kind, type(embedder)) for kind, embedder in self.embedders.values()),
            *((DETECTORS, check.detector, type(check.settings)) for check in self.checks),
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
            document = tomllib.load(file)
    except OSError as error:
        raise PlanError(f"{path}: the plan cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # tomllib says no more of an integer of thousands of digits
        raise PlanError(f"{path}: the plan is not TOML: {error}") from error
    try:
        return parse(document)
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
        if not isinstance(on, list) or not all(isinstance(embedder, str) for embedder in on):
            raise PlanError(f"{where} on must be a list of embedders' names, got {on!r}")
        if not on:
            raise PlanError(f"{where} must look at an embedder of the plan, got none")
        for embedder in on:
            if embedder not in embedders:
                hint = near(embedder, embedders)
                raise PlanError(f"{where} looks at {embedder!r}, which is no embedder of the plan{hint}")
        checks.append(Check(name, kind, settings(DETECTORS[kind], rest, where), tuple(on)))
    if not checks:
        raise PlanError("a plan must have at least one [detectors.NAME] table and an embedder for it to look at")
    decide = settings(Decide, dict(table_of(document.get("decide", {}), "[decide]")), "[decide]")
    for setting in ("content", "colour", "beliefs"):
        named = getattr(decide, setting)
        if named and named not in embedders:
            raise PlanError(
                f"[decide] {setting} must name an embedder of the plan, got {named!r}{near(named, embedders)}"
            )
    return Plan(embedders, tuple(checks), decide)
