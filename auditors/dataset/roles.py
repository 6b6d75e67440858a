"""Column roles: as requested, or inferred from declarations, names and contents. Ambiguity is refused."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from pyarrow import types

from foretaste.dataset.columns.arrow_types import (
    is_chat,
    is_class,
    is_feature,
    is_image,
    is_scalar,
    is_uuid,
    is_vector,
    plain_type,
)
from foretaste.dataset.columns.profile import PAYLOADS, Content, Contents
from foretaste.dataset.columns.readings import Reading, Types, by_contents, by_name, listed, named
from foretaste.errors import DataError, PlanError
from foretaste.types.dataset import Modality, Roles, Unaudited

LABEL = ("label", "labels", "target", "class", "y")
ID = ("id", "uid", "uuid", "_id", "sample_id", "image_id")
FEATURES = 10_000  # every two columns are compared, which takes memory and time by the square
SOURCE = ("source", "url", "domain", "author", "annotator")

# What no id and no source is, whatever its name.
RUNNING = frozenset({Content.TEXTS, Content.FEW_TEXTS})
UNKNOWN: Contents = MappingProxyType({})


@dataclass(frozen=True)
class Request:
    """Requested column roles. None: infer it. "" for label, id or source: the dataset has none.

    image      column of pictures, as bytes or as paths
    text       column of texts
    messages   column of conversations, as lists of messages with roles
    prompt     column of prompts; several, separated by commas, are concatenated
    response   column of responses to the prompts
    embedding  column of precomputed vectors
    features   feature columns of a table
    label      column of classes
    id         column of row ids
    source     column that says where a row came from
    """

    image: str | None = None
    text: str | None = None
    messages: str | None = None
    prompt: str | None = None
    response: str | None = None
    embedding: str | None = None
    features: tuple[str, ...] = ()
    label: str | None = None
    id: str | None = None
    source: str | None = None


NOTHING_SAID = Request()


def resolve(schema: pa.Schema, request: Request, *, where: str, contents: Contents = UNKNOWN) -> Roles:
    """The roles of the columns of `schema`; `where` names the file in messages.

    `contents` are those of all columns that any file of the dataset has, as far as they are known.

    Raises PlanError where a column does not exist, requests contradict each other or roles are ambiguous, DataError
    where a column's type or content does not fit its role.
    """
    columns = _columns(schema, where)
    asked = _asked(request, columns)
    for name in (*(asked.payload if asked else ()), *filter(None, (request.label, request.id, request.source))):
        if name not in columns:
            raise PlanError(f"{where}: no column {name!r}{_nearest(name, columns)}")
    free = {n: t for n, t in columns.items() if n not in (request.label, request.id, request.source)}

    readings = [asked] if asked else by_name(free, _pictures(schema), contents)
    if len(readings) > 1:
        choices = " or ".join(map(str, readings))
        raise PlanError(f"{where}: one reading of the rows must be chosen, {len(readings)} are possible: {choices}")
    if readings and not asked:
        _must_name_pictures(readings[0], columns, contents, where)
    payload = frozenset(readings[0].payload if readings else ())
    free = {n: t for n, t in free.items() if n not in payload}

    label = _role(request.label, "label", _classes(schema, free, contents), where)
    misnamed = RUNNING if readings else RUNNING | {Content.PATHS}  # nothing else may be what rows are about
    single = {n: t for n, t in free.items() if n != label and is_scalar(t) and contents.get(n) not in misnamed}
    uuids = [name for name in single if is_uuid(schema.field(name).type)]
    # The id only names rows in the report, so the more usual column name may win.
    id_ = _role(request.id, "id", (named(single, ID) or uuids)[:1], where)
    source = _role(request.source, "source", named(single, SOURCE), where)

    free = {n: t for n, t in free.items() if n not in (label, id_, source)}
    said = request.label is not None
    reading = readings[0] if readings else by_contents(free, contents, where, label=label, said=said)
    roles = Roles(reading.modality, reading.payload, label, id_, source)
    _check(roles, columns, contents, where)
    return replace(roles, unaudited=_unaudited(roles, contents))


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class names that Hugging Face's ClassLabels declare, by column."""
    types_ = {field.name: field.type for field in schema}
    return {
        column: tuple(map(str, feature["names"]))
        for column, feature in _declared(schema).items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
        if column in types_ and types.is_integer(plain_type(types_[column]))
    }


# What was requested


def _asked(request: Request, columns: Types) -> Reading | None:
    if (request.prompt is None) != (request.response is None):
        raise PlanError("--prompt and --response must be given together, got one of them")
    asked = [
        Reading(modality, (name,))
        for modality, name in (
            (Modality.IMAGE, request.image),
            (Modality.TEXT, request.text),
            (Modality.MESSAGES, request.messages),
            (Modality.EMBEDDING, request.embedding),
        )
        if name is not None
    ]
    if request.prompt is not None and request.response is not None:
        prompt = (request.prompt,) if request.prompt in columns else tuple(request.prompt.split(","))
        asked.append(Reading(Modality.PAIR, (*prompt, request.response)))
    if request.features:
        asked.append(Reading(Modality.FEATURES, request.features))
    if len(asked) > 1:
        raise PlanError(f"the rows of a dataset must be read in one way, got {' and '.join(map(str, asked))}")
    return asked[0] if asked else None


def _nearest(name: str, columns: Types) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {listed(columns)}"


# What can be inferred


def _columns(schema: pa.Schema, where: str) -> dict[str, pa.DataType]:
    twice = sorted(name for name, columns in Counter(schema.names).items() if columns > 1)
    if twice:
        raise DataError(f"{where}: a column must have a name of its own, {listed(twice)} occurs more than once")
    return {field.name: plain_type(field.type) for field in schema}


def _declared(schema: pa.Schema) -> Mapping[str, Mapping[str, Any]]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}  # no or foreign metadata
    return {n: f for n, f in features.items() if isinstance(f, dict)} if isinstance(features, dict) else {}


def _pictures(schema: pa.Schema) -> frozenset[str]:
    return frozenset(name for name, feature in _declared(schema).items() if feature.get("_type") == "Image")


def _must_name_pictures(reading: Reading, columns: Types, contents: Contents, where: str) -> None:
    """Raise PlanError where a string column that was taken for pictures by its name holds no paths of pictures."""
    name = reading.payload[0]
    strings = reading.modality is Modality.IMAGE and types.is_string(columns[name])
    if strings and contents.get(name, Content.PATHS) is not Content.PATHS:
        raise PlanError(
            f"{where}: {name!r} must hold pictures or paths of them, got {contents[name]}: "
            f"choose with --image {name} or --text {name}"
        )


def _classes(schema: pa.Schema, free: Types, contents: Contents) -> list[str]:
    """The columns that are called a label, or else are declared as one; measurements only if there is no other."""
    declared = class_names(schema)
    candidates = named(free, LABEL) or [name for name in free if name in declared]
    return [name for name in candidates if contents.get(name) is not Content.FRACTIONS] or candidates


def _role(said: str | None, role: str, candidates: list[str], where: str) -> str | None:
    if said is not None:
        return said or None
    if len(candidates) > 1:
        raise PlanError(
            f"{where}: {len(candidates)} columns may be the {role}: choose with "
            + " or ".join(f"--{role} {name}" for name in candidates)
            + f', or --{role} "" for none'
        )
    return candidates[0] if candidates else None


# What was resolved


def _unaudited(roles: Roles, contents: Contents) -> tuple[Unaudited, ...]:
    """The columns without a role that could be trained on."""
    table, read = roles.modality is Modality.FEATURES, frozenset(roles.columns)
    return tuple(
        Unaudited(name, str(content), content in PAYLOADS)
        for name, content in contents.items()
        if name not in read and (content in PAYLOADS or (table and content is not Content.NOTHING))
    )


_RULES: Mapping[Modality, tuple[Callable[[pa.DataType], bool], str]] = {
    Modality.IMAGE: (is_image, "encoded pictures or paths to them"),
    Modality.TEXT: (types.is_string, "strings"),
    Modality.PAIR: (types.is_string, "strings"),
    Modality.MESSAGES: (lambda t: is_chat(t) or types.is_string(t), "lists of role and content, or their JSON"),
    Modality.EMBEDDING: (is_vector, "lists of numbers"),
    Modality.FEATURES: (is_feature, "numbers, strings, booleans or dates"),
}


def _check(roles: Roles, columns: Types, contents: Contents, where: str) -> None:
    others = {"label": roles.label, "id": roles.id, "source": roles.source}
    given = [*roles.payload, *filter(None, others.values())]
    twice = sorted(name for name, roles_ in Counter(given).items() if roles_ > 1)
    if twice:
        raise PlanError(f"{where}: a column must have one role, {listed(twice)} was given two")
    if roles.modality is Modality.FEATURES and len(roles.payload) > FEATURES:
        raise PlanError(
            f"{where}: a table must have at most {FEATURES:,} feature columns, got {len(roles.payload):,}: choose some "
            "with --features"
        )
    classes = (lambda t: is_class(t) or types.is_floating(t), "whole numbers, strings or booleans")
    rules = {"payload": _RULES[roles.modality], "label": classes}
    for role, name in (*(("payload", name) for name in roles.payload), *others.items()):
        fits, rule = rules.get(role, (is_scalar, "single values"))
        if name is None:
            continue
        fraction = role == "label" and contents.get(name) is Content.FRACTIONS
        if fraction or not fits(columns[name]):
            came = f"{columns[name]} {contents[name]}".replace("numbers ", "") if fraction else columns[name]
            hint = ': choose another with --label, or --label "" for none' if role == "label" else ""
            raise DataError(f"{where}: the {role} column {name!r} must hold {rule}, got {came}{hint}")
