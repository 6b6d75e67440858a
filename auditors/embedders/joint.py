"""Two views of a picture side by side, so that what they both show of the same rows counts once and strongly."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from auditors.batch import Batch
from auditors.contract import EMBEDDERS, Encoder, embedder
from auditors.errors import NotApplicable
from auditors.payload import Payload
from auditors.plan import settings
from auditors.values import Dataset, Modality, recipe


@embedder("joint")
@dataclass(frozen=True)
class Joint:
    """The pixels of a picture and its responses to random patches, in one vector and one unit.

    A weak pattern stands out a little in either view, and so do rows that are odd by nature; but those are other rows
    in each view, while a planted pattern is on the same ones. Whitened together, it has the strength of both along one
    direction, and nature only that of one.

    grid     of `pixels`
    colour   of `pixels`
    filters  of `patches`
    seed     of the patches
    """

    grid: int = 32
    colour: Literal["grey", "rgb"] = "grey"
    filters: int = 300
    seed: int = 0

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        # Only the responses are wanted, so the classifiers over them may be as cheap as they come.
        chosen: dict[str, dict[str, Any]] = {
            "pixels": {"grid": self.grid, "colour": self.colour},
            "patches": {"filters": self.filters, "seed": self.seed, "folds": 2, "mirrored": False},
        }
        made = [settings(EMBEDDERS[name], table, "[embedders.joint]") for name, table in chosen.items()]
        parts = tuple(one.fit(payloads, dataset, device) for one in made)
        # Units only have to be alike: the first rows that can be read say enough.
        first = next((one for one in payloads if len(parts[0].embed(one))), None)
        if first is None:
            raise NotApplicable("no row can be read")
        spread = [one.embed(first).embedding.double() for one in parts]
        unit = tuple(float((one - one.mean(0)).square().mean().sqrt().clamp_min(1e-6)) for one in spread)
        return JointEncoder(self, parts, unit)


@dataclass(frozen=True, eq=False)
class JointEncoder:
    """Both encoders, and how far the numbers of each spread."""

    settings: Joint
    parts: tuple[Encoder, ...]
    unit: tuple[float, ...]

    @property
    def dim(self) -> int:
        return sum(one.dim for one in self.parts)

    @property
    def digest(self) -> str:
        return recipe("joint", 1, self.settings, self.unit, *(one.digest for one in self.parts))

    def embed(self, payload: Payload) -> Batch:
        seen = [one.embed(payload) for one in self.parts]
        value = [one.embedding / unit for one, unit in zip(seen, self.unit, strict=True)]
        return Batch(seen[0].row, seen[0].label, torch.cat(value, 1))
