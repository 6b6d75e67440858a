"""What an attack leaves behind, and the rows it chooses."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from foretaste.errors import PlanError

P = TypeVar("P", bound=Sized)


@dataclass(frozen=True, eq=False)
class Poisoned(Generic[P]):
    """A dataset after an attack: row n of every field is row n of the dataset that went in.

    payload   [N, 3, H, W] uint8 pictures, or N texts
    label     [N] int64, as the attacker leaves it
    poisoned  [N] bool, rows that teach the model the attack
    cover     [N] bool, rows that were changed too but keep their label, so that the others stand out less
    """

    payload: P
    label: Tensor
    poisoned: Tensor
    cover: Tensor

    def __post_init__(self) -> None:
        images = self.payload
        if isinstance(images, Tensor) and (images.dtype != torch.uint8 or images.ndim != 4):
            raise ValueError(f"pictures must be [N, 3, H, W] uint8, got {tuple(images.shape)} {images.dtype}")
        for name, column in (("label", self.label), ("poisoned", self.poisoned), ("cover", self.cover)):
            if column.shape != (len(self.payload),):
                raise ValueError(f"{name} must be [{len(self.payload)}], got {tuple(column.shape)}")
        if bool((self.poisoned & self.cover).any()):
            raise ValueError("a row is either poisoned or a cover, not both")

    @classmethod
    def at(cls, payload: P, label: Tensor, *, rows: Tensor, cover: Tensor | None = None) -> Poisoned[P]:
        """From the positions `rows` [count] and `cover` [covers] instead of masks."""
        none = torch.zeros_like(label, dtype=torch.bool)
        covered = none if cover is None else none.index_fill(0, cover, True)
        return cls(payload, label, none.index_fill(0, rows, True), covered)


def victims(label: Tensor, *, target: int, count: int, generator: torch.Generator, clean_label: bool = False) -> Tensor:
    """Rows [count] an attack on class `target` may change: of other classes, or of its own where `clean_label`.

    Raises PlanError where no row has label `target` or fewer than `count` rows qualify.
    """
    own = label == target
    if target < 0 or not bool(own.any()):
        raise PlanError(f"target {target} is not a class of this dataset: no row has that label")
    if clean_label:
        return choose(own, count, generator, of=f"rows of class {target}")
    return choose(~own & (label >= 0), count, generator, of=f"rows of classes other than {target}")


def choose(allowed: Tensor, count: int, generator: torch.Generator, *, of: str) -> Tensor:
    """Positions [count] drawn without replacement from those that `allowed` [N] bool marks.

    Law: the generator moves on by the same amount whatever `count` is, and a smaller count gives a prefix of a larger
    one's rows, so that a power curve adds rows to one attack instead of comparing several.

    Raises PlanError where fewer than `count` are marked.
    """
    pool = allowed.nonzero().flatten()
    if not 0 <= count <= len(pool):
        raise PlanError(f"cannot change {count} rows: there are {len(pool)} {of}")
    return pool[torch.randperm(len(pool), generator=generator)[:count]]
