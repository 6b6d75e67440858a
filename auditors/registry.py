"""Components by name, and where they come from: this package's own files, and other distributions' entry points.

A component of this package is one file in its folder: a scan imports it, and its decorator registers it. One of another
distribution is an entry point whose name is the component's:

    [project.entry-points."foretaste.detectors"]
    long-rows = "long_rows:LongRows"

It is imported when it is asked for by its name and not before: an installed package does not join an audit by itself.
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
        """Whether it is a plug-in of somebody else."""
        return self.distribution != HOME


@cache
def release() -> str:
    """The version of foretaste that is installed; "0" where its metadata is not there."""
    from importlib.metadata import PackageNotFoundError, version  # not at the top: a gate imports this module too

    try:
        return version(HOME)
    except PackageNotFoundError:
        return "0"


@dataclass(frozen=True, eq=False)
class Registry(Mapping[str, C], Generic[C]):
    """Components of one kind by name; a name has one owner.

    Looked at as a mapping it holds what is registered, of which `scan` makes sure that it is all of this package's own.

    what      one of them, for messages: "detector"
    packages  whose modules hold this package's own
    group     the entry points of other distributions; none where it is empty
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
        """Decorator: puts a component under its name. Raises ValueError where the name has another owner."""

        def put(component: C) -> C:
            if self.components.setdefault(name, component) is not component:
                raise ValueError(f"the {self.what} {name!r} is registered twice")
            return component

        return put

    def scan(self) -> Registry[C]:
        """Import every module of this package that may hold one; the registry itself."""
        for package in self.packages:
            for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
                importlib.import_module(f"{package}.{module.name}")
        return self

    def installed(self) -> dict[str, Origin]:
        """Every name there is with where it comes from; nothing of another distribution is imported for it."""
        names = {name: self.origin(name) for name in self.scan()}
        return names | {name: _origin(one) for name, one in self._points().items() if name not in names}

    def origin(self, name: str) -> Origin:
        """Where a registered component comes from."""
        return self._origin.get(name) or Origin(HOME, release())

    def find(self, name: str, where: str = "") -> C:
        """The component of that name; imported where another distribution has it.

        `where` begins the message. Raises PlanError where there is none, or where its distribution does not hold it.
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
        """Entry points by name. A name of this package's own is not theirs to take."""
        from importlib.metadata import entry_points

        return {one.name: one for one in entry_points(group=self.group)}

    def _load(self, name: str, point: EntryPoint) -> None:
        origin = _origin(point)
        try:
            point.load()
        except Exception as error:  # whatever a stranger's module raises while it is imported, the plan named it
            raise PlanError(f"the {self.what} {name!r} of {origin} cannot be loaded: {error!r}") from error
        if name not in self.components:
            raise PlanError(f"{origin} promises the {self.what} {name!r}, and registers none of that name")
        self._origin[name] = origin


def _origin(point: EntryPoint) -> Origin:
    return Origin(point.dist.name, point.dist.version) if point.dist is not None else Origin("unknown", "0")


def near(name: str, names: Iterable[str]) -> str:
    """A hint for whoever misspelt a name: the nearest there is, or all."""
    known = list(names)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(known))}" if known else ""
