"""Column roles: as requested, or inferred from declarations, names and types. Ambiguity is refused."""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyarrow import types

from foretaste.errors import DataError, PlanError
from foretaste.types.dataset import Modality, Roles

IMAGE = ("image", "img", "picture")
TEXT = ("text", "sentence", "content", "document")
MESSAGES = ("messages", "conversations", "conversation")
PROMPT = (
    (("prompt",),),
    (("instruction", "input"), ("instruction", "context"), ("instruction",)),
)  # of each family, the first whose columns are all present
RESPONSE = ("completion", "response", "output")
EMBEDDING = ("embedding", "vector", "feature")  # as part of the name
LABEL = ("label", "labels", "target", "class", "y")
ID = ("id", "uid", "uuid", "_id", "sample_id", "image_id")
FEATURES = 10_000  # every two columns are compared, which takes memory and time by the square
SOURCE = ("source", "url", "domain", "author", "annotator")

Types = Mapping[str, pa.DataType]


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


def resolve(schema: pa.Schema, request: Request, *, where: str) -> Roles:
    """The roles of the columns of `schema`; `where` names the file in messages.

    Raises PlanError where a column does not exist, requests contradict each other or roles are ambiguous, DataError
    where a column's type does not fit its role.
    """
    columns = _columns(schema, where)
    asked = _asked(request, columns)
    for name in (*(asked[1] if asked else ()), *filter(None, (request.label, request.id, request.source))):
        if name not in columns:
            raise PlanError(f"{where}: no column {name!r}{_nearest(name, columns)}")
    free = {n: t for n, t in columns.items() if n not in (request.label, request.id, request.source)}

    readings = [asked] if asked else _readings(free, _pictures(schema))
    if len(readings) > 1:
        choices = " or ".join(_option(*reading) for reading in readings)
        raise PlanError(f"{where}: one reading of the rows must be chosen, {len(readings)} are possible: {choices}")
    payload = frozenset(readings[0][1] if readings else ())
    free = {n: t for n, t in free.items() if n not in payload}

    names = class_names(schema)
    declared = [name for name in free if name in names]
    label = _role(request.label, "label", _named(free, LABEL) or declared, where)
    single = {n: t for n, t in free.items() if n != label and _is_scalar(t)}
    # The id only names rows in the report, so the more usual column name may win.
    id_ = _role(request.id, "id", _named(single, ID)[:1], where)
    source = _role(request.source, "source", _named(single, SOURCE), where)

    free = {n: t for n, t in free.items() if n not in (label, id_, source)}
    reading = readings[0] if readings else _table(free, columns, label, where, said=request.label is not None)
    roles = Roles(*reading, label, id_, source)
    _check(roles, columns, where)
    return roles


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """The class names that Hugging Face's ClassLabels declare, by column."""
    types_ = {field.name: field.type for field in schema}
    return {
        column: tuple(map(str, feature["names"]))
        for column, feature in _declared(schema).items()
        if feature.get("_type") == "ClassLabel" and isinstance(feature.get("names"), list)
        if column in types_ and types.is_integer(plain_type(types_[column]))
    }


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of a column's values without dictionary, extension, view or large-string storage."""
    if types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_decimal(type_):
        return pa.float64()
    return type_


# What was requested


def _asked(request: Request, columns: Types) -> tuple[Modality, tuple[str, ...]] | None:
    if (request.prompt is None) != (request.response is None):
        raise PlanError("--prompt and --response must be given together, got one of them")
    asked: list[tuple[Modality, tuple[str, ...]]] = []
    for modality, name in (
        (Modality.IMAGE, request.image),
        (Modality.TEXT, request.text),
        (Modality.MESSAGES, request.messages),
        (Modality.EMBEDDING, request.embedding),
    ):
        if name is not None:
            asked.append((modality, (name,)))
    if request.prompt is not None and request.response is not None:
        prompt = (request.prompt,) if request.prompt in columns else tuple(request.prompt.split(","))
        asked.append((Modality.PAIR, (*prompt, request.response)))
    if request.features:
        asked.append((Modality.FEATURES, request.features))
    if len(asked) > 1:
        choices = " and ".join(_option(*reading) for reading in asked)
        raise PlanError(f"the rows of a dataset must be read in one way, got {choices}")
    return asked[0] if asked else None


def _nearest(name: str, columns: Types) -> str:
    near = difflib.get_close_matches(name, columns, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {_listed(columns)}"


def _listed(names: Iterable[str]) -> str:
    names = [repr(name) for name in names]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _option(modality: Modality, payload: tuple[str, ...]) -> str:
    if modality is Modality.PAIR:
        return f"--prompt {','.join(payload[:-1])} --response {payload[-1]}"
    return f"--{modality} {','.join(payload)}"


# What can be inferred


def _columns(schema: pa.Schema, where: str) -> dict[str, pa.DataType]:
    twice = sorted(name for name, columns in Counter(schema.names).items() if columns > 1)
    if twice:
        raise DataError(f"{where}: a column must have a name of its own, {_listed(twice)} occurs more than once")
    return {field.name: plain_type(field.type) for field in schema}


def _declared(schema: pa.Schema) -> Mapping[str, Mapping[str, Any]]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}  # no or foreign metadata
    return {n: f for n, f in features.items() if isinstance(f, dict)} if isinstance(features, dict) else {}


def _pictures(schema: pa.Schema) -> frozenset[str]:
    return frozenset(name for name, feature in _declared(schema).items() if feature.get("_type") == "Image")


def _readings(columns: Types, pictures: frozenset[str]) -> list[tuple[Modality, tuple[str, ...]]]:
    """Every possible (modality, payload columns), by declared pictures, names and types."""
    found: list[tuple[Modality, tuple[str, ...]]] = []
    found += [
        (Modality.IMAGE, (n,)) for n, t in columns.items() if (n in pictures or n.lower() in IMAGE) and _is_image(t)
    ]
    found += [(Modality.MESSAGES, (n,)) for n in _named(columns, MESSAGES) if _is_chat(columns[n])]
    strings = {name.lower(): name for name, type_ in columns.items() if types.is_string(type_)}
    prompts = [next((names for names in family if strings.keys() >= set(names)), ()) for family in PROMPT]
    for prompt in filter(None, prompts):
        asking = tuple(strings[name] for name in prompt)
        found += [(Modality.PAIR, (*asking, strings[name])) for name in RESPONSE if name in strings]
    found += [(Modality.TEXT, (strings[name],)) for name in TEXT if name in strings]
    found += [
        (Modality.EMBEDDING, (n,))
        for n, t in columns.items()
        if _named_as_embedding(n) and _is_vector(t, types.is_floating)
    ]
    return found


def _named(columns: Types, names: tuple[str, ...]) -> list[str]:
    return sorted((name for name in columns if name.lower() in names), key=lambda name: names.index(name.lower()))


def _named_as_embedding(name: str) -> bool:
    return name.lower() == "x" or any(part in name.lower() for part in EMBEDDING)


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


def _table(
    free: Types, columns: Types, label: str | None, where: str, *, said: bool
) -> tuple[Modality, tuple[str, ...]]:
    """Read the rows as a table of features, but only if a label is found or the request says there is none."""
    if not all(_is_scalar(type_) or types.is_null(type_) for type_ in free.values()):
        options = ", ".join(
            f"--{option}" for option in ("image", "text", "messages", "prompt", "embedding", "features")
        )
        raise PlanError(
            f"{where}: no column is unmistakably what a row is about, choose with {options} among {_listed(columns)}"
        )
    if label is None and not said:
        ids = _named(columns, ID)
        likely = [n for n, t in columns.items() if _is_class(t) and n not in ids]
        likely.sort(key=lambda name: name.lower() not in LABEL)
        raise PlanError(
            f"{where}: a table of features needs --label (or --features), which may be one of {_listed(likely)}"
        )
    features = tuple(name for name, type_ in free.items() if _is_feature(type_))
    if not features:
        raise PlanError(f"{where}: no column is left to be a feature, choose with --features among {_listed(columns)}")
    return Modality.FEATURES, features


# What a type can hold


def _is_class(type_: pa.DataType) -> bool:
    return bool(types.is_integer(type_) or types.is_string(type_) or types.is_boolean(type_))


def _is_feature(type_: pa.DataType) -> bool:
    return _is_class(type_) or bool(types.is_floating(type_))


def _is_scalar(type_: pa.DataType) -> bool:
    return _is_feature(type_) or bool(types.is_temporal(type_))


def _is_binary(type_: pa.DataType) -> bool:
    return bool(types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_))


def _children(type_: pa.DataType) -> dict[str, pa.DataType]:
    return {child.name: plain_type(child.type) for child in type_} if types.is_struct(type_) else {}


def _is_list(type_: pa.DataType) -> bool:
    return bool(types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_))


def _is_image(type_: pa.DataType) -> bool:
    inside = _children(type_)
    if inside:
        return _is_binary(inside.get("bytes", pa.null())) or types.is_string(inside.get("path", pa.null()))
    return _is_binary(type_) or bool(types.is_string(type_))


def _is_chat(type_: pa.DataType) -> bool:
    # Older writers store a list of structs as a struct of lists.
    inside = _children(type_.value_type) if _is_list(type_) else _children(type_)
    return inside.keys() >= {"role", "content"} or inside.keys() >= {"from", "value"}


def _is_vector(type_: pa.DataType, number: Callable[[pa.DataType], bool]) -> bool:
    return _is_list(type_) and number(type_.value_type)


def _is_number(type_: pa.DataType) -> bool:
    return bool(types.is_floating(type_) or types.is_integer(type_))


_RULES: Mapping[Modality, tuple[Callable[[pa.DataType], bool], str]] = {
    Modality.IMAGE: (_is_image, "encoded pictures or paths to them"),
    Modality.TEXT: (types.is_string, "strings"),
    Modality.PAIR: (types.is_string, "strings"),
    Modality.MESSAGES: (lambda t: _is_chat(t) or types.is_string(t), "lists of role and content, or their JSON"),
    Modality.EMBEDDING: (lambda t: _is_vector(t, _is_number), "lists of numbers"),
    Modality.FEATURES: (_is_feature, "numbers, strings or booleans"),
}


def _check(roles: Roles, columns: Types, where: str) -> None:
    others = {"label": roles.label, "id": roles.id, "source": roles.source}
    named = [*roles.payload, *filter(None, others.values())]
    twice = sorted(name for name, given in Counter(named).items() if given > 1)
    if twice:
        raise PlanError(f"{where}: a column must have one role, {_listed(twice)} was given two")
    if roles.modality is Modality.FEATURES and len(roles.payload) > FEATURES:
        raise PlanError(
            f"{where}: a table must have at most {FEATURES:,} feature columns, got {len(roles.payload):,}: choose some "
            "with --features"
        )
    rules = {"payload": _RULES[roles.modality], "label": (_is_class, "integers, strings or booleans")}
    for role, name in (*(("payload", name) for name in roles.payload), *others.items()):
        fits, rule = rules.get(role, (_is_scalar, "single values"))
        if name is not None and not fits(columns[name]):
            hint = ': choose another with --label, or --label "" for none' if role == "label" else ""
            raise DataError(f"{where}: the {role} column {name!r} must hold {rule}, got {columns[name]}{hint}")
