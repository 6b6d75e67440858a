"""Rows as stored in the user's files, and their decoding into pictures, texts or vectors.

A row whose payload cannot be read is excluded from every statistic and reported.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from foretaste.dataset.binding import named_files
from foretaste.dataset.files import inside
from foretaste.dataset.pictures import squares
from foretaste.errors import DataError
from foretaste.types.dataset import Modality, Roles

LONGEST = 80  # characters of a path that are shown
SPEAKER = re.compile(r"([^\s:]*:)?")  # what a line of a chat is without its words
CONTENT_KEYS = {"content", "value"}


@dataclass(frozen=True, eq=False)
class Payload:
    """B rows before embedding.

    row      [B] int64, position over the dataset's files in sorted order
    label    [B] int64, class index, -1 where missing; all 0 in an unlabelled dataset
    columns  the Arrow columns of the roles
    where    "file, row group n", for error messages
    folder   base of relative paths in path columns
    sha256   of the file that each row names, as it was digested, 32 bytes a row; empty where they are not known
    """

    row: Tensor
    label: Tensor
    columns: Mapping[str, pa.Array]
    roles: Roles
    where: str
    folder: str = ""
    sha256: bytes = b""
    _decoded: dict[int, tuple[Tensor, dict[int, str]]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.row)

    def taken(self, positions: list[int]) -> Payload:
        """The rows at these positions."""
        at, width = torch.tensor(positions, dtype=torch.int64), named_files.WIDTH
        return replace(
            self,
            row=self.row[at],
            label=self.label[at],
            columns={name: column.take(pa.array(positions, pa.int64())) for name, column in self.columns.items()},
            sha256=b"".join(self.sha256[width * one : width * (one + 1)] for one in positions),
            _decoded={},
        )

    def images(self, size: int) -> tuple[Tensor, dict[int, str]]:
        """Pictures as [B, 3, size, size] uint8 RGB, and the error at each position that does not decode (black)."""
        if size not in self._decoded:
            read = self._read()
            value, broken = squares([data if isinstance(data, bytes) else None for data in read], size)
            lost = {position: why for position, why in enumerate(read) if isinstance(why, str)}
            self._decoded[size] = value, {position: lost.get(position, why) for position, why in broken.items()}
        return self._decoded[size]

    @property
    def unread(self) -> dict[int, str]:
        """Why each position cannot be read: it holds no text, or failed to decode so far."""
        decoded = {position: why for _, broken in self._decoded.values() for position, why in broken.items()}
        return self._textless | decoded

    def readable(self) -> Payload:
        """The rows that hold a text; all rows of other modalities, as only decoding tells which can be read."""
        return self.taken([at for at in range(len(self)) if at not in self._textless]) if self._textless else self

    @cached_property
    def _textless(self) -> dict[int, str]:
        if self.roles.modality not in (Modality.TEXT, Modality.PAIR, Modality.MESSAGES):
            return {}
        empty = {at: text for at, text in enumerate(self.texts) if not self._says(text)}
        return {at: f"no text: {'white space alone' if text else 'the cell is empty'}" for at, text in empty.items()}

    def _says(self, text: str) -> bool:
        if self.roles.modality is not Modality.MESSAGES:
            return not (text == "" or text.isspace())
        return not all(SPEAKER.fullmatch(line.strip()) for line in text.split("\n"))

    def pictures(self) -> list[bytes | None]:
        """The encoded file of each picture; None where it is missing or its path cannot be opened.

        Raises DataError where a file that a row names is not what was digested.
        """
        return [data if isinstance(data, bytes) else None for data in self._read()]

    def _read(self) -> list[bytes | str]:
        """The encoded file of each picture, or why there is none."""
        column = self.columns[self.roles.payload[0]]
        named = named_files.paths(column)
        if pa.types.is_struct(column.type) and column.type.get_field_index("bytes") >= 0:
            column = pc.struct_field(column, "bytes")
        cells = column.to_pylist()
        rows = zip(cells, enumerate(named), strict=True)
        return [cell if isinstance(cell, bytes) else self._open(*row) for cell, row in rows]

    def _open(self, position: int, path: str | None) -> bytes | str:
        if path is None:
            return "no picture: the cell is empty"
        read = named_files.read(self.folder, path)
        start = named_files.WIDTH * position
        if self.sha256 and named_files.digest(read) != self.sha256[start : start + named_files.WIDTH]:
            raise DataError(f"{path}: was changed while it was audited, so nothing can be said of it: audit it again")
        if isinstance(read, bytes):
            return read
        own = str(PurePosixPath(self.where).parent)  # of the Parquet file
        named = repr(path if len(path) <= LONGEST else f"{path[:LONGEST]}…")
        why = f"no picture: {named} cannot be opened below the dataset's folder: {read}"
        if own != "." and inside(own, path) and isinstance(named_files.read(self.folder, f"{own}/{path}"), bytes):
            why += f", but below {own}: name that folder as the dataset"
        return why

    @cached_property
    def texts(self) -> list[str]:
        """One string per row: the text, prompt and response, or the turns of the chat, one per line."""
        columns = [self.columns[name].to_pylist() for name in self.roles.payload]
        if self.roles.modality is Modality.MESSAGES:
            return ["\n".join(turns(chat)) for chat in columns[0]]
        return ["\n".join(part for part in parts if part) for parts in zip(*columns, strict=True)]

    def vectors(self) -> Tensor:
        """The vector column as [B, D] float32.

        Raises DataError where lengths differ or a number is missing or not finite.
        """
        name = self.roles.payload[0]
        column = self.columns[name]
        if column.null_count:
            raise DataError(f"{self.where}: {column.null_count} of {len(column)} vectors in {name!r} are missing")
        if pa.types.is_fixed_size_list(column.type):
            dim = column.type.list_size
        else:
            lengths = pc.list_value_length(column)
            least, most = pc.min(lengths).as_py() or 0, pc.max(lengths).as_py() or 0
            if least != most:
                raise DataError(f"{self.where}: vectors in {name!r} must have one length, got {least} to {most}")
            dim = least
        flat = column.flatten()
        if not dim or flat.null_count:
            raise DataError(
                f"{self.where}: vectors in {name!r} must hold numbers, {flat.null_count} are null (length {dim})"
            )
        value = torch.from_numpy(np.array(flat.cast(pa.float32(), safe=False))).view(-1, dim)
        broken = ~torch.isfinite(value).all(1)
        if bool(broken.any()):
            count, first = int(broken.sum()), int(self.row[broken.nonzero()[0, 0]])
            raise DataError(
                f"{self.where}: {count} of {len(value)} vectors in {name!r} are not finite (first: row {first})"
            )
        return value


def turns(chat: object) -> list[str]:
    """The turns of a chat as "role: content" lines.

    Reads a list of {role, content} or {from, value}, a struct of lists (as older writers store it), and the JSON text
    of either.
    """
    if isinstance(chat, str):
        try:
            parsed = json.loads(chat)
        except (ValueError, RecursionError):
            return [chat]
        return turns(parsed) if isinstance(parsed, (list, dict)) else [chat]
    if isinstance(chat, Mapping) and CONTENT_KEYS & chat.keys():
        role, content = _first(chat, "role", "from"), _first(chat, "content", "value")
        pairs = (
            zip_longest(role, content) if isinstance(role, list) and isinstance(content, list) else [(role, content)]
        )
        return [f"{role or ''}: {_text(content)}" for role, content in pairs]
    if isinstance(chat, list):
        return [line for turn in chat for line in (turns(turn) if isinstance(turn, Mapping) else [str(turn)])]
    return [] if chat is None else [str(chat)]  # not a chat, but no content may be skipped


def _first(turn: Mapping[str, object], *names: str) -> object:
    return next((turn[name] for name in names if turn.get(name) is not None), None)


def _text(content: object) -> str:
    """The text of a turn, whose content may be a list of text parts and pictures."""
    if isinstance(content, list):
        return " ".join(filter(None, map(_text, content)))
    if isinstance(content, Mapping):
        return _text(content.get("text"))
    return "" if content is None else str(content)
