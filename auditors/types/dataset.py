"""A dataset's files, shards, column roles and classes, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from foretaste.types.digests import Digest


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
    """A column that no check reads though it may be trained on, and why: what it holds, or why it was left out."""

    column: str
    why: str


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
    """One Parquet file: `name` is relative to the dataset's root, `path` is what fsspec opens."""

    name: str
    path: str
    rows: int
    size: int  # bytes
    digest: Digest


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
