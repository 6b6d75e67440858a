"""A dataset's files, shards, column roles and classes, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from foretaste.types.digests import Digest

if TYPE_CHECKING:
    import pyarrow as pa


class Modality(StrEnum):
    """What a row's payload is."""

    IMAGE = "image"
    TEXT = "text"
    MESSAGES = "messages"
    PAIR = "pair"  # prompt and response
    FEATURES = "features"
    EMBEDDING = "embedding"


@dataclass(frozen=True)
class Unaudited:
    """A column that no check reads though it may be trained on, and why: what it holds, or why it was left out.

    `payload` where it could be what rows are about, and not only say something of them.
    """

    column: str
    why: str
    payload: bool


@dataclass(frozen=True)
class Roles:
    """The role of each column. `payload` has one column, except for PAIR (prompt, response) and FEATURES (many).

    unaudited  columns with no role whose contents a model could learn from: texts, pictures, conversations, vectors;
               of a table every other column
    """

    modality: Modality
    payload: tuple[str, ...]
    label: str | None = None
    id: str | None = None
    source: str | None = None
    unaudited: tuple[Unaudited, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column an audit reads, each once."""
        named = (*self.payload, self.label, self.id, self.source)
        return tuple(dict.fromkeys(name for name in named if name is not None))


@dataclass(frozen=True)
class File:
    """One Parquet file: `name` is relative to the dataset's root, `path` is what fsspec opens.

    `state` says which file was digested, and that it was not written to since (dataset.binding.file_state); it is empty
    behind a URL.
    """

    name: str
    path: str
    rows: int
    size: int  # bytes
    digest: Digest
    state: tuple[int, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True)
class NamedFiles:
    """The files that rows name by path, as they were read; see dataset.binding.named_files.

    columns  the columns that name them
    digest   over the paths and the bytes of all of them
    files    number of paths; a file that two rows name counts twice
    missing  how many of them cannot be read
    size     bytes of the others
    sha256   of the file of each row in the payload column, 32 bytes a row; empty where the payload names no files
    """

    columns: tuple[str, ...]
    digest: Digest
    files: int
    missing: int
    size: int
    sha256: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Shard:
    """A range of row groups of one file: the unit of work, of caching and of resumption."""

    file: File
    first_group: int
    groups: tuple[int, ...]  # rows in each row group from first_group on
    first_row: int  # position of the shard's first row over all files in sorted order
    first_row_in_file: int
    digest: Digest

    @property
    def rows(self) -> int:
        return sum(self.groups)


@dataclass(frozen=True)
class Dataset:
    """A dataset whose files were digested and whose columns have roles."""

    root: str
    files: tuple[File, ...]
    shards: tuple[Shard, ...]
    roles: Roles
    classes: tuple[str, ...]  # class names in label order; empty without labels
    class_rows: tuple[int, ...]  # rows of each class
    digest: Digest
    id_type: str | None = None
    types: tuple[tuple[str, pa.DataType], ...] = ()  # of the roles' columns: what all files are read as
    named: NamedFiles | None = None  # None where no row names a file

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)


@dataclass(frozen=True)
class Schema:
    """What a detector is told about the embeddings before its first batch."""

    dim: int
    classes: int  # 1 when unlabelled: every row has class 0
    labelled: bool
    probs: bool  # whether batches have out-of-fold class probabilities
    rows: int
