"""The contract of an attack: one file with a function `plant`, registered by a decorator and found by a scan.

Tests, drill and benchmarks all take their attacks from the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from foretaste.errors import PlanError
from foretaste.registry import Registry
from foretaste.types.dataset import Modality

P = TypeVar("P", bound=Sized)


@dataclass(frozen=True, eq=False)
class Poisoned(Generic[P]):
    """A dataset after an attack, with its rows in their original order.

    payload   [N, 3, H, W] uint8 pictures, or N texts
    label     [N] int64, after relabelling
    poisoned  [N] bool, rows that a model learns the attack from
    cover     [N] bool, rows that are changed as well but keep their label, so that poisoned rows stand out less
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
        """A dataset from the positions `rows` [count] and `cover` [covers] instead of masks."""
        none = torch.zeros_like(label, dtype=torch.bool)
        covered = none if cover is None else none.index_fill(0, cover, True)
        return cls(payload, label, none.index_fill(0, rows, True), covered)


def victims(label: Tensor, *, target: int, count: int, generator: torch.Generator, clean_label: bool = False) -> Tensor:
    """Rows [count] for an attack on class `target` to change: of other classes, or of `target` if `clean_label`.

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

    The generator advances by the same amount for any `count`, and a smaller count gives a prefix of the rows of a
    larger one, so that a power curve adds rows to one attack instead of comparing different ones.

    Raises PlanError where fewer than `count` are marked.
    """
    pool = allowed.nonzero().flatten()
    if not 0 <= count <= len(pool):
        raise PlanError(f"cannot change {count} rows: there are {len(pool)} {of}")
    return pool[torch.randperm(len(pool), generator=generator)[:count]]


Change = Callable[[Any, Sequence[float], int], Any]  # a row's payload, two random numbers in [0, 1), the seed


@dataclass(frozen=True, eq=False)
class Attack:
    """A published attack.

    name         as registered
    modality     of the rows that it can be planted in; None for any
    words        what it does to a row, for display
    plant        (payload, label, *, target, count, seed, **settings) -> Poisoned; without `target` if not `targeted`
    trigger      (images, *, seed, **settings) -> images [B, 3, S, S] uint8 with the trigger; None if it has no trigger
    learn        (images, label, *, target, seed, **settings) -> settings of `trigger` that depend on the dataset
    change       plants the trigger in a single row, for datasets larger than memory; None if rows cannot be changed
                 one by one
    clean_label  whether the changed rows are of the target class and keep their label; else they are relabelled to it
    targeted     whether it has a target class
    untargeted   whether it also works without one: all-to-all, random flips
    covers       number of cover rows (with the trigger and their own label) per poisoned row
    drilled      whether a drill plants it by default
    example      settings with which a small dataset can be attacked within seconds
    """

    name: str
    modality: Modality | None
    words: str
    plant: Callable[..., Poisoned[Any]]
    trigger: Callable[..., Tensor] | None = None
    learn: Callable[..., Mapping[str, Any]] | None = None
    change: Change | None = None
    clean_label: bool = False
    targeted: bool = True
    untargeted: bool = False
    covers: float = 0.0
    drilled: bool = False
    example: Mapping[str, Any] = field(default_factory=dict)


ATTACKS: Registry[Attack] = Registry(
    "attack", ("foretaste.attacks", "foretaste.attacks.image", "foretaste.attacks.text"), "foretaste.attacks"
)
Plant = TypeVar("Plant", bound=Callable[..., Poisoned[Any]])


def attack(
    name: str,
    modality: Modality | None,
    *,
    words: str,
    trigger: Callable[..., Tensor] | None = None,
    learn: Callable[..., Mapping[str, Any]] | None = None,
    change: Change | None = None,
    clean_label: bool = False,
    targeted: bool = True,
    untargeted: bool = False,
    covers: float = 0.0,
    drilled: bool = False,
    example: Mapping[str, Any] | None = None,
) -> Callable[[Plant], Plant]:
    """Decorator of `plant` that registers the attack under a unique name. The other arguments are as in Attack."""

    def put(plant: Plant) -> Plant:
        whole = Attack(
            name=name,
            modality=modality,
            words=words,
            plant=plant,
            trigger=trigger,
            learn=learn,
            change=change,
            clean_label=clean_label,
            targeted=targeted,
            untargeted=untargeted,
            covers=covers,
            drilled=drilled,
            example=example or {},
        )
        ATTACKS.register(name)(whole)
        return plant

    return put


def stamped(trigger: Callable[..., Tensor]) -> Change:
    """`change` of an attack on pictures whose trigger depends on the seed only."""

    def change(picture: Tensor, chance: Sequence[float], seed: int) -> Tensor:
        del chance
        return trigger(picture[None], seed=seed)[0]

    return change
