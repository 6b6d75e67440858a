"""The schema that the files of a dataset share, though they may store numbers, strings and lists in different ways.

A column has the narrowest type that holds the values of all files unchanged: int16 beside int64 is int64, integers
beside floating-point numbers are float64, and a column without any value in one file has the type of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

import pyarrow as pa
from pyarrow import types

from foretaste.dataset.roles import class_names, plain_type
from foretaste.errors import DataError


class Stored(NamedTuple):
    """The schema of one file, by its name."""

    file: str
    schema: pa.Schema


def promoted(stored: Sequence[Stored]) -> pa.Schema:
    """The columns of the first file, with types that hold the values of all files where there are any."""
    first, *others = stored
    common = _types(first.schema)
    for _, schema in others:
        if schema.equals(first.schema):
            continue
        for field in schema:
            if field.name in common and (type_ := _both(common[field.name], plain_type(field.type))) is not None:
                common[field.name] = type_
    fields = [
        field if plain_type(field.type) == common[field.name] else field.with_type(common[field.name])
        for field in first.schema
    ]
    return pa.schema(fields, first.schema.metadata)


def require_columns(stored: Sequence[Stored], common: pa.Schema, columns: Collection[str]) -> None:
    """Raise DataError where a file lacks one of the `columns`, or holds it in a way that the others do not allow."""
    first, declared = stored[0], class_names(common)
    of_first, wanted = _types(first.schema), _types(common)
    for file, schema in stored:
        counts, mine, names = Counter(schema.names), _types(schema), class_names(schema)
        for column in columns:
            where, rule = f"{file}: column {column!r}", "must be as in the other files"
            if counts[column] != 1:
                many = f"{counts[column]} columns" if counts[column] else "no column"
                raise DataError(f"{file}: {many} {column!r}, which {first.file} has")
            if _both(mine[column], wanted[column]) != wanted[column]:
                raise DataError(
                    f"{where} {rule}, got {mine[column]} and in {first.file} {of_first[column]}: write it as one type, "
                    "or leave a file out"
                )
            if names.get(column) != declared.get(column) and not types.is_null(mine[column]):
                raise DataError(
                    f"{where} {rule}, got {_classes(names.get(column))} and in {first.file} "
                    f"{_classes(declared.get(column))}: give them the same names, or leave a file out"
                )


def converted(column: pa.Array, type_: pa.DataType, name: str, where: str) -> pa.Array:
    """A column as the common type. Raises DataError where a value would change."""
    if column.type == type_:
        return column
    try:
        return column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise DataError(
            f"{where}: column {name!r} is {column.type} here and must become {type_}, as other files need, which would "
            f"change a value ({why}): write it as one type, or leave a file out"
        ) from error


def _types(schema: pa.Schema) -> dict[str, pa.DataType]:
    return {field.name: plain_type(field.type) for field in schema}


def _classes(names: tuple[str, ...] | None) -> str:
    return "no class names" if names is None else f"the class names {', '.join(names)}"[:200]


def _both(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """The type that holds the values of both; None where there is none."""
    if one == other:
        return one
    if (types.is_integer(one) and types.is_floating(other)) or (types.is_floating(one) and types.is_integer(other)):
        return pa.float64()
    if {types.is_string(one), types.is_string(other)} == {True, False} and not (
        types.is_null(one) or types.is_null(other)
    ):
        return None  # Arrow would turn strings beside bytes into bytes
    try:
        both = [pa.schema([("", type_)]) for type_ in (one, other)]
        return plain_type(pa.unify_schemas(both, promote_options="permissive").field(0).type)
    except pa.ArrowException:
        return None
