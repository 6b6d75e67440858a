"""What the columns of a dataset hold: data profiling (Abedjan, Golab & Naumann 2015) of a sample of the rows.

Names mislead in practice: texts are called review, body or q1, paths of pictures file_name. Contents do not.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import mean, median

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import types

from foretaste.dataset.columns.arrow_types import (
    is_binary,
    is_chat,
    is_date,
    is_file,
    is_hash,
    is_number,
    is_scalar,
    is_uuid,
    is_vector,
    plain,
    plain_type,
)
from foretaste.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".pgm", ".ppm")
# How encoded pictures begin: PNG, JPEG, GIF, BMP, TIFF, JPEG 2000, PGM, PPM; WebP and AVIF after a length.
MAGIC = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM|II\*\0|MM\0\*|\0\0\0\x0cjP  |P[1-6]\s|RIFF.{4}WEBP|.{4}ftyp(avif|heic|mif1)",
    re.DOTALL,
)

# A category repeats, names and titles have fewer than five words, and no identifier is longer than a hash or a UUID.
VARIED = 0.5  # share of values that differ
SENTENCE = 5  # words, on average
LONG = 20  # words of one value that count
NAME = 64  # characters
FEWEST = 20  # values, from which on "all differ" and "each is larger than the last" are no coincidence

GROUPS, ROWS = 8, 1000  # row groups that a sample comes from, and rows that it has, at least
VALUES, FILES = 256, 2  # rows of each row group
LETTERS = 4000  # bytes of a string that are looked at
INDEX = re.compile(r"__index_level_\d+__|Unnamed: ?\d+(\.\d+)*")  # pandas in Parquet, and in CSV
IDENTIFIES = re.compile(r"(?:^|[^a-zA-Z])[iI][dD]$|[a-z]I[dD]$")  # customer_id, Bean ID, userId
NO_IDENTIFIER = re.compile(r"\s|^[-+]?\d+[.,]\d+$")  # several words, or a number
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Japanese, Chinese. A word has about two characters.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

Sample = Mapping[str, Sequence[pa.Array]]  # some runs of consecutive rows of each column


@dataclass(frozen=True)
class Source:
    """A file to take samples from: its name in messages, its schema, the rows of its row groups, and how to open it."""

    name: str
    schema: pa.Schema
    groups: tuple[int, ...]
    open: Callable[[], AbstractContextManager[pq.ParquetFile]]


class Content(StrEnum):
    """What a column holds, in words that complete "the column holds …"."""

    NUMBERS = "numbers"
    FRACTIONS = "numbers with fractions"
    CATEGORIES = "categories"
    STRINGS = "strings that hardly repeat"
    PHRASES = "short texts"
    TEXTS = "texts"
    SET_TEXTS = "texts that repeat"
    FEW_TEXTS = "texts in less than half of the rows"
    PICTURES = "pictures"
    PATHS = "paths of pictures"
    CHATS = "conversations"
    VECTORS = "vectors"
    NESTED = "nested values"
    ENCODED = "encoded data"
    DATES = "dates or times"
    IDENTIFIERS = "identifiers"
    COUNTERS = "numbers that rise from row to row"
    INDEX = "the index of a data frame"
    NOTHING = "nothing"


Contents = Mapping[str, Content]

# What a model may be trained on though no check read it; the other contents describe or number a row.
PAYLOADS = frozenset(
    {
        *(Content.TEXTS, Content.SET_TEXTS, Content.FEW_TEXTS, Content.PICTURES, Content.PATHS, Content.CHATS),
        *(Content.VECTORS, Content.NESTED, Content.ENCODED),
    }
)


def contents(sources: Sequence[Source]) -> dict[str, Content]:
    """What each column of any of the files holds, by its type and a sample of its values.

    Raises DataError where a file cannot be read.
    """
    return judged([source.schema for source in sources], sample(sources))


def judged(schemas: Iterable[pa.Schema], sample: Sample) -> dict[str, Content]:
    """What each column of any of the schemas holds."""
    out: dict[str, Content] = {}
    for schema in schemas:
        index = _index(schema)
        for field in schema:
            found = _content(field, sample.get(field.name, ()), indexed=field.name in index)
            # A payload in one file only is a payload.
            if found in PAYLOADS or out.get(field.name, Content.NOTHING) is Content.NOTHING:
                out[field.name] = found
    return out


def sample(sources: Sequence[Source]) -> Sample:
    """The first rows of some row groups, evenly spread over the files, in the columns that must be looked into."""
    groups = [(at, group) for at, one in enumerate(sources) for group, rows in enumerate(one.groups) if rows]
    rows = sum(sum(one.groups) for one in sources)
    wanted = min(len(groups), max(GROUPS, ROWS * len(groups) // max(rows, 1)))
    chosen = [groups[place * len(groups) // wanted] for place in range(wanted)]
    out: dict[str, list[pa.Array]] = {}
    for at in dict.fromkeys(at for at, _ in chosen):
        source = sources[at]
        with source.open() as parquet:
            for group in (group for other, group in chosen if other == at):
                for name, column in _first_rows(parquet, group, source.name):
                    out.setdefault(name, []).append(_kept(plain(column)))
    return out


def _first_rows(parquet: pq.ParquetFile, group: int, file: str) -> Iterator[tuple[str, pa.Array]]:
    """Those columns of a row group whose type does not say what they hold; of encoded files only a few.

    Names that several columns have are left out: roles refuse them.
    """
    count = Counter(parquet.schema_arrow.names)
    types_ = {field.name: plain_type(field.type) for field in parquet.schema_arrow if count[field.name] == 1}
    files = [name for name, type_ in types_.items() if is_binary(type_) or is_file(type_)]
    values = [name for name, type_ in types_.items() if is_number(type_) or types.is_string(type_)]
    for rows, names in ((FILES, files), (VALUES, values)):
        if not names:
            continue
        try:
            piece = next(parquet.iter_batches(batch_size=rows, row_groups=[group], columns=names))
        except (OSError, pa.ArrowException) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(f"{file}, row group {group}: cannot be read: {reason}") from error
        yield from ((name, piece.column(name)) for name in names)


def _kept(column: pa.Array) -> pa.Array:
    """The beginning of each string, so that a sample of long texts is small."""
    return pc.binary_slice(column.cast(pa.large_binary()), 0, LETTERS) if types.is_string(column.type) else column


def _index(schema: pa.Schema) -> frozenset[str]:
    """The columns that pandas stored as an index, by their names or by its metadata."""
    try:
        stored = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, ValueError, TypeError, RecursionError):
        stored = []
    named = [name for name in stored if isinstance(name, str)] if isinstance(stored, list) else []
    return frozenset({*named, *filter(INDEX.fullmatch, schema.names)})


def _content(field: pa.Field, chunks: Sequence[pa.Array], *, indexed: bool) -> Content:  # noqa: PLR0911
    type_ = plain_type(field.type)
    if is_uuid(field.type) or is_hash(field.type):
        return Content.IDENTIFIERS
    if is_chat(type_):
        return Content.CHATS
    if is_vector(type_):
        return Content.VECTORS
    if is_binary(type_) or is_file(type_):
        return _files(chunks)
    if types.is_null(type_):
        return Content.NOTHING
    if not is_scalar(type_):
        return Content.ENCODED if types.is_fixed_size_binary(type_) else Content.NESTED
    if types.is_string(type_):
        found = _strings(chunks)
        return Content.INDEX if indexed and found not in PAYLOADS else found
    if indexed:
        return Content.INDEX
    if is_date(type_) or types.is_interval(type_):
        return Content.DATES
    return _numbers(field.name, chunks) if is_number(type_) else Content.CATEGORIES


def _files(chunks: Sequence[pa.Array]) -> Content:
    """Whether encoded files are pictures: by their first bytes, or by their paths where the bytes lie elsewhere."""
    held: list[bytes] = []
    paths: list[str] = []
    for chunk in filter(_holds_files, chunks):
        inside = {child.name: plain_type(child.type) for child in chunk.type} if types.is_struct(chunk.type) else {}
        if not inside or is_binary(inside.get("bytes", pa.null())):
            held += _bytes(pc.struct_field(chunk, "bytes") if inside else chunk, 16)
        if types.is_string(inside.get("path", pa.null())):
            paths += _texts(plain(pc.struct_field(chunk, "path")))
    if not held and not paths:
        return Content.PICTURES if chunks else Content.ENCODED
    pictured = [bool(MAGIC.match(data)) for data in held] or [_is_path(path) for path in paths]
    return Content.PICTURES if 2 * sum(pictured) > len(pictured) else Content.ENCODED


def _holds_files(chunk: pa.Array) -> bool:
    return is_binary(chunk.type) or is_file(chunk.type)


def _numbers(name: str, chunks: Sequence[pa.Array]) -> Content:
    chunks = [chunk for chunk in chunks if is_number(chunk.type)]  # another file's may be of another type
    values = [value for chunk in chunks for value in chunk.drop_null().to_pylist() if math.isfinite(value)]
    if any(isinstance(value, float) and not value.is_integer() for value in values):
        return Content.FRACTIONS
    if len(values) < FEWEST or any(isinstance(value, float) for value in values):
        return Content.NUMBERS
    if sum(map(len, chunks)) >= FEWEST + len(chunks) and all(_rises(chunk.to_pylist()) for chunk in chunks):
        return Content.COUNTERS
    return Content.IDENTIFIERS if IDENTIFIES.search(name) and len(set(values)) == len(values) else Content.NUMBERS


def _rises(values: Sequence[int | None]) -> bool:
    known = [value for value in values if value is not None]
    return len(known) == len(values) and all(before < after for before, after in pairwise(known))


def _strings(chunks: Sequence[pa.Array]) -> Content:  # noqa: PLR0911
    chunks = [chunk for chunk in chunks if is_binary(chunk.type) or types.is_string(chunk.type)]
    rows = sum(map(len, chunks))
    values = [value for chunk in chunks for value in _texts(chunk) if value.strip()]
    if not values:
        return Content.CATEGORIES
    filled, different = 2 * len(values) >= rows, len(set(values))
    varied = different >= VARIED * len(values)
    # In speech every other utterance may be a word, and one long name makes no texts of a column of names.
    words, length = mean(min(_words(value), LONG) for value in values), median(map(len, values))
    if _mostly(map(_is_path, values)):
        return Content.PATHS
    if words >= SENTENCE and not varied:
        return Content.SET_TEXTS
    if words >= SENTENCE:
        return Content.TEXTS if filled else Content.FEW_TEXTS
    if length > NAME and not _mostly("://" in value for value in values):
        return Content.ENCODED
    if different == len(values) >= FEWEST and not any(map(NO_IDENTIFIER.search, values)):
        return Content.IDENTIFIERS
    if not varied or not filled:
        return Content.CATEGORIES
    return Content.PHRASES if words > 1 else Content.STRINGS


def _bytes(column: pa.Array, most: int) -> list[bytes]:
    """The first bytes of each value that is there."""
    cut: list[bytes] = pc.binary_slice(column.cast(pa.large_binary()), 0, most).drop_null().to_pylist()
    return cut


def _texts(column: pa.Array) -> list[str]:
    """The beginning of each string that is there, whether or not it is valid UTF-8."""
    return [value.decode(errors="replace") for value in _bytes(column, LETTERS)]


def _is_path(text: str) -> bool:
    """Whether a string names a picture's file, or a URL of one."""
    return "\n" not in text and text.partition("?")[0].lower().endswith(PICTURES)


def _mostly(signs: Iterable[bool]) -> bool:
    seen = list(signs)
    return sum(seen) >= 0.9 * len(seen)


def _words(text: str) -> float:
    """How many words a text has; figures are none."""
    return max(len(UNSPACED.findall(text)) / 2, sum(any(map(str.isalpha, word)) for word in text.split()))
