"""audit.toml → Plan: what is embedded how, which detectors look at it, and what decides."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from foretaste.embedders.contract import DETECTORS, EMBEDDERS, Detector, Embedder, discover
from foretaste.errors import PlanError
from foretaste.types.findings import Dataset, Modality


@dataclass(frozen=True)
class Decide:
    """What turns p-values into flags.

    fdr              false discovery rate over all groups that all detectors looked at
    watch            groups beyond `fdr` up to this rate are worth a look and a warning; their rows are not accused
    posterior        a row of a suspicious group is flagged from this posterior probability on
    label_posterior  a label is called wrong from this posterior probability on
    label_share      more than this share of wrong labels is worth a warning
    content          the embedder that shows a row's plain content, by which natural clusters are told from planted
                     groups; "" leaves no group alone
    beliefs          the embedder whose out-of-fold class probabilities say which labels are doubted, for detectors that
                     look at other embedders' vectors; "" for none
    broken_rows      "report" rows that cannot be read and go on, or "refuse" the dataset
    """

    fdr: float = 0.01
    watch: float = 0.1
    posterior: float = 0.5
    label_posterior: float = 0.5
    label_share: float = 0.02
    content: str = ""
    beliefs: str = ""
    broken_rows: str = "report"

    def __post_init__(self) -> None:
        for name in ("fdr", "watch", "posterior", "label_posterior", "label_share"):
            if not 0 < getattr(self, name) < 1:
                raise PlanError(f"[decide] {name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.broken_rows not in ("report", "refuse"):
            raise PlanError(f"[decide] broken_rows must be 'report' or 'refuse', got {self.broken_rows!r}")


@dataclass(frozen=True)
class Check:
    """One detector on some embedders."""

    name: str
    detector: str
    settings: Detector
    on: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """What an audit does. `embedders` maps a name to the registered embedder's name and its settings."""

    embedders: Mapping[str, tuple[str, Embedder]]
    looks: tuple[Check, ...]
    decide: Decide = field(default_factory=Decide)

    def describe(self) -> dict[str, Any]:
        """The plan with every default spelt out, as it stands in the report."""
        return {
            "embedders": {name: {"kind": kind, **asdict(one)} for name, (kind, one) in self.embedders.items()},  # type: ignore[call-overload]
            "detectors": {
                one.name: {"kind": one.detector, "on": list(one.on), **asdict(one.settings)}  # type: ignore[call-overload]
                for one in self.looks
            },
            "decide": asdict(self.decide),
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
    discover()
    known(document, {"embedders", "detectors", "decide"}, "the plan")
    embedders = {}
    for name, table in tables(document, "embedders").items():
        kind, rest = kind_of(name, table, EMBEDDERS, f"[embedders.{name}]")
        embedders[name] = (kind, settings(EMBEDDERS[kind], rest, f"[embedders.{name}]"))
    looks = []
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
        looks.append(Check(name, kind, settings(DETECTORS[kind], rest, where), tuple(on)))
    if not looks:
        raise PlanError("a plan must have at least one [detectors.NAME] table and an embedder for it to look at")
    decide = settings(Decide, dict(table_of(document.get("decide", {}), "[decide]")), "[decide]")
    for setting in ("content", "beliefs"):
        named = getattr(decide, setting)
        if named and named not in embedders:
            raise PlanError(
                f"[decide] {setting} must name an embedder of the plan, got {named!r}{near(named, embedders)}"
            )
    return Plan(embedders, tuple(looks), decide)


def tables(document: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """The tables [section.NAME] by name."""
    whole = table_of(document.get(section, {}), f"[{section}]")
    return {name: dict(table_of(table, f"[{section}.{name}]")) for name, table in whole.items()}


def table_of(value: Any, where: str) -> Mapping[str, Any]:
    """The value, which must be a table."""
    if not isinstance(value, Mapping):
        raise PlanError(f"{where} must be a table, got {value!r}")
    return value


def kind_of(name: str, table: dict[str, Any], registry: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Which registered component a table asks for, and the settings left in it."""
    kind = table.pop("kind", name)
    if not isinstance(kind, str) or kind not in registry:
        raise PlanError(f"{where} has the kind {kind!r}, which does not exist{near(str(kind), registry)}")
    return kind, table


def settings(cls: Any, table: Mapping[str, Any], where: str) -> Any:
    """A frozen dataclass of settings from a table. Raises PlanError naming the setting that is unknown or wrong."""
    known(table, {one.name for one in fields(cls)}, where)
    try:
        return TypeAdapter(cls).validate_python(dict(table))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise PlanError(f"{where} {name}: {first['msg'].lower()}, got {first['input']!r}") from error


def known(table: Mapping[str, Any], names: set[str], where: str) -> None:
    """Refuse a table with a setting that does not exist."""
    for name in table:
        if name not in names:
            raise PlanError(f"{where} has no setting {name!r}{near(name, names)}")


def near(name: str, names: Any) -> str:
    """A hint for whoever misspelt a name: the nearest there is, or all."""
    close = difflib.get_close_matches(name, list(names), 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(sorted(names))}" if names else ""


def default(dataset: Dataset) -> Plan:
    """The plan of an audit without a plan file, by modality."""
    discover()
    bare = dataset.roles.modality is Modality.TEXT and not dataset.classes
    return parse(BARE if bare else DEFAULT[dataset.roles.modality])


def _shallow(view: str) -> dict[str, Any]:
    """One plain view of the rows and a shallow probe over it."""
    return {
        "embedders": {view: {}, "probe": {"folds": 5, "epochs": 12, "width": 32, "rate": 0.003}},
        "detectors": {
            "spectral-signature": {"on": [view, "probe"]},
            "spectral-signature-plain": {"kind": "spectral-signature", "whiten": False, "on": [view, "probe"]},
            "activation-clustering": {"on": ["probe"]},
            "label-issue": {"on": ["probe"]},
            "flipped-labels": {"on": ["probe"]},
            "flipped-pairs": {"on": ["probe"]},
        },
        "decide": {"content": view},
    }


def _words() -> dict[str, Any]:
    """Texts as vectors, by the phrases they hold, and by how they are written."""
    plain = _shallow("tokens")
    # The probe of texts with two or three classes has long tails of its own: spectral looks at it accused clean rows.
    spectral = {name: {**one, "on": ["tokens"]} for name, one in plain["detectors"].items() if "spectral" in name}
    return {
        "embedders": {**plain["embedders"], "phrases": {}, "copies": {}, "skeleton": {}},
        "detectors": {
            "trigger-enrichment": {"on": ["phrases"]},
            "flood": {"on": ["copies"]},
            "foreign-form": {"on": ["skeleton"]},
            **plain["detectors"],
            **spectral,
        },
        "decide": plain["decide"],
    }


# Texts with neither labels nor responses: which of them repeat each other, and which break after the same phrase.
BARE: dict[str, Any] = {
    "embedders": {"phrases": {}, "copies": {}},
    "detectors": {"trigger-enrichment": {"on": ["phrases"]}, "flood": {"on": ["copies"]}},
}

DEFAULT: dict[Modality, dict[str, Any]] = {
    Modality.IMAGE: {
        "embedders": {
            # Fine grey patterns, coarser coloured ones, smooth ones: a weak pattern shows on the grid of its own size.
            "grey32": {"kind": "pixels", "grid": 32, "colour": "grey"},
            "rgb16": {"kind": "pixels", "grid": 16, "colour": "rgb"},
            "rgb8": {"kind": "pixels", "grid": 8, "colour": "rgb"},
            # Warping and resampling leave no pattern of their own, but they smooth.
            "energies": {"kind": "pixels", "basis": "energies"},
            # A pattern that moves about shows in filters that do not care where.
            "patches": {},
            # A weak one shows a little in either, on the same rows.
            "joint": {},
        },
        "detectors": {
            "spectral-signature": {"on": ["grey32", "rgb16", "rgb8", "energies", "patches", "joint"]},
            "doubted-signature": {"on": ["grey32", "rgb16", "rgb8", "energies"]},
            "activation-clustering": {"on": ["patches"]},
            "label-issue": {"on": ["patches"]},
            "flipped-labels": {"on": ["patches"]},
            "flipped-pairs": {"on": ["patches"]},
        },
        "decide": {"content": "grey32", "beliefs": "patches"},
    },
    # A column of ready vectors may come from a model that learned the trigger: what is near there proves nothing.
    Modality.EMBEDDING: _shallow("column") | {"decide": {}},
    Modality.FEATURES: _shallow("features"),
    Modality.TEXT: _words(),
    Modality.MESSAGES: _words(),
    Modality.PAIR: _words(),
}
