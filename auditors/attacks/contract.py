"""What an attack is: one file with a function `plant`, registered by a decorator and found by a scan.

Everything that plants attacks, tests, drill and benchmarks alike, takes them from the registry.
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


Change = Callable[[Any, Sequence[float], int], Any]  # a row, two numbers of chance in [0, 1), the seed


@dataclass(frozen=True, eq=False)
class Attack:
    """A published attack.

    name         as registered
    modality     the rows it can be planted in; None: any
    words        what it does to a row, for people
    plant        (payload, label, *, target, count, seed, **settings) -> Poisoned; without `target` where not `targeted`
    trigger      (images, *, seed, **settings) -> the images [B, 3, S, S] uint8 with the trigger; None where it has none
    learn        (images, label, *, target, seed, **settings) -> settings of `trigger` that depend on the dataset
    change       one row with the trigger, for copies of datasets that no memory holds; None where rows need each other
    clean_label  the rows are of the target class and keep their label; others are relabelled to it
    targeted     whether it leads to a class
    untargeted   whether it can do without one all the same: all-to-all, random flips
    covers       rows that are changed too and keep their label, for each planted one
    drilled      whether it belongs to a drill for which no attack is named
    example      settings with which a small dataset can be attacked, in seconds
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
    """Decorator of `plant`: registers the attack; a name has one owner. The rest is as in Attack."""

    def put(plant: Plant) -> Plant:
        made = Attack(
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
        ATTACKS.register(name)(made)
        return plant

    return put


def stamped(trigger: Callable[..., Tensor]) -> Change:
    """`change` of an attack on pictures whose trigger needs nothing but its seed."""

    def change(picture: Tensor, chance: Sequence[float], seed: int) -> Tensor:
        del chance
        return trigger(picture[None], seed=seed)[0]

    return change
