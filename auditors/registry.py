"""Registries of components by name: foretaste's own modules, and entry points of other distributions.

A component of foretaste is one file in its folder: `scan` imports it, and its decorator registers it. A component of
another distribution is an entry point with the component's name:

    [project.entry-points."foretaste.detectors"]
    long-rows = "long_rows:LongRows"

It is imported only when its name is used: installing a package does not add it to any audit.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from foretaste.errors import PlanError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

C = TypeVar("C")
HOME = "foretaste"


@dataclass(frozen=True)
class Origin:
    """The distribution that a component comes from."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    @property
    def foreign(self) -> bool:
        """Whether it is not foretaste itself."""
        return self.distribution != HOME


@cache
def release() -> str:
    """The installed version of foretaste; "0" without metadata."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and the gate imports this module

    try:
        return version(HOME)
    except PackageNotFoundError:
        return "0"


@dataclass(frozen=True, eq=False)
class Registry(Mapping[str, C], Generic[C]):
    """Components of one kind by unique name.

    As a mapping it contains what is registered so far; after `scan` that includes all of foretaste's own.

    what      the kind in messages: "detector"
    packages  the packages whose modules are foretaste's own components
    group     the entry point group of other distributions; "" for none
    """

    what: str
    packages: tuple[str, ...]
    group: str = ""
    components: dict[str, C] = field(default_factory=dict, repr=False)
    _origin: dict[str, Origin] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> C:
        return self.components[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.components)

    def __len__(self) -> int:
        return len(self.components)

    def register(self, name: str) -> Callable[[C], C]:
        """Decorator that registers a component. Raises ValueError where the name is taken."""

        def put(component: C) -> C:
            if self.components.setdefault(name, component) is not component:
                raise ValueError(f"the {self.what} {name!r} is registered twice")
            return component

        return put

    def scan(self) -> Registry[C]:
        """Import all modules of `packages`; returns the registry."""
        for package in self.packages:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")
        return self

    def installed(self) -> dict[str, Origin]:
        """All available names with their distributions, without importing components of other distributions."""
        names = {name: self.origin(name) for name in self.scan()}
        return names | {name: _origin(point) for name, point in self._points().items() if name not in names}

    def origin(self, name: str) -> Origin:
        """The distribution of a registered component."""
        return self._origin.get(name) or Origin(HOME, release())

    def find(self, name: str, where: str = "") -> C:
        """The component with that name, imported from another distribution if necessary.

        Raises PlanError, its message beginning with `where`, if there is none or its distribution does not provide it.
        """
        self.scan()
        if name not in self.components:
            points = self._points()
            if name not in points:
                hint = near(name, {*self.components, *points})
                if where:
                    raise PlanError(f"{where} has the kind {name!r}, which does not exist{hint}")
                raise PlanError(f"there is no {self.what} {name!r}{hint}")
            self._load(name, points[name])
        return self.components[name]

    def _points(self) -> dict[str, EntryPoint]:
        """Entry points by name. A component of foretaste takes precedence over them."""
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=self.group)}

    def _load(self, name: str, point: EntryPoint) -> None:
        origin = _origin(point)
        try:
            point.load()
        except Exception as error:  # a foreign module may raise anything on import
            raise PlanError(f"the {self.what} {name!r} of {origin} cannot be loaded: {error!r}") from error
        if name not in self.components:
            raise PlanError(f"{origin} promises the {self.what} {name!r}, and registers none of that name")
        self._origin[name] = origin


def _origin(point: EntryPoint) -> Origin:
    return Origin(point.dist.name, point.dist.version) if point.dist is not None else Origin("unknown", "0")


def near(name: str, names: Iterable[str]) -> str:
    """A hint for a misspelt name: the closest one, or all of them."""
    known = list(names)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}" if known else ""
