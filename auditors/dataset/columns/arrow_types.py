"""What an Arrow type can hold: pictures, chats, vectors, classes, features."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from pyarrow import types

HASH = 64  # bytes of the longest usual hash, SHA-512


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of a column's values without dictionary, extension, view or large-string storage.

    UUIDs and hashes are strings, as people write them.
    """
    if types.is_dictionary(type_):
        return plain_type(type_.value_type)
    if is_uuid(type_) or is_hash(type_):
        return pa.string()
    if isinstance(type_, pa.BaseExtensionType):
        return plain_type(type_.storage_type)
    if types.is_large_string(type_) or types.is_string_view(type_):
        return pa.string()
    if types.is_decimal(type_):
        return pa.float64()
    return type_


def plain(column: pa.Array) -> pa.Array:
    """The column as its plain type."""
    if is_uuid(column.type):
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    if is_hash(column.type):
        return pa.array([None if value is None else value.hex() for value in column.to_pylist()], pa.string())
    if isinstance(column, pa.ExtensionArray):
        return plain(column.storage)
    if types.is_dictionary(column.type):
        return plain(column.dictionary_decode())
    type_ = plain_type(column.type)
    return column if type_ == column.type else column.cast(type_)


def is_uuid(type_: pa.DataType) -> bool:
    """Parquet's UUIDs."""
    return isinstance(type_, pa.UuidType)


def is_hash(type_: pa.DataType) -> bool:
    """Bytes of one length, no more than a hash has; UUIDs without their logical type are such."""
    return bool(types.is_fixed_size_binary(type_)) and type_.byte_width <= HASH


def is_class(type_: pa.DataType) -> bool:
    """Integers, strings and booleans; floating-point numbers may be classes as well, if they are whole."""
    return bool(types.is_integer(type_) or types.is_string(type_) or types.is_boolean(type_))


def is_number(type_: pa.DataType) -> bool:
    """Integers and floating-point numbers."""
    return bool(types.is_floating(type_) or types.is_integer(type_))


def is_feature(type_: pa.DataType) -> bool:
    """Numbers, strings, booleans, dates and times."""
    return is_class(type_) or bool(types.is_floating(type_) or is_date(type_))


def is_date(type_: pa.DataType) -> bool:
    """Dates, times, timestamps and durations."""
    return bool(types.is_temporal(type_)) and not types.is_interval(type_)


def is_scalar(type_: pa.DataType) -> bool:
    """Single values, bytes excepted."""
    return is_feature(type_) or bool(types.is_temporal(type_))


def is_binary(type_: pa.DataType) -> bool:
    """Bytes of any length."""
    return bool(types.is_binary(type_) or types.is_large_binary(type_) or types.is_binary_view(type_))


def is_list(type_: pa.DataType) -> bool:
    """Lists of any or of one length."""
    return bool(types.is_list(type_) or types.is_large_list(type_) or types.is_fixed_size_list(type_))


def is_file(type_: pa.DataType) -> bool:
    """Structs of a file's bytes, its path or both, as Hugging Face stores pictures and sounds."""
    inside = _children(type_)
    return is_binary(inside.get("bytes", pa.null())) or bool(types.is_string(inside.get("path", pa.null())))


def is_image(type_: pa.DataType) -> bool:
    """Encoded files, or paths to them."""
    return is_file(type_) if types.is_struct(type_) else is_binary(type_) or bool(types.is_string(type_))


def is_chat(type_: pa.DataType) -> bool:
    """Lists of role and content, or a struct of such lists, as older writers store it."""
    inside = _children(type_.value_type) if is_list(type_) else _children(type_)
    return inside.keys() >= {"role", "content"} or inside.keys() >= {"from", "value"}


def is_vector(type_: pa.DataType, number: Callable[[pa.DataType], bool] = is_number) -> bool:
    """Lists of numbers."""
    return is_list(type_) and number(type_.value_type)


def _children(type_: pa.DataType) -> dict[str, pa.DataType]:
    return {child.name: plain_type(child.type) for child in type_} if types.is_struct(type_) else {}
