"""Two views of a picture side by side, so that what they both show of the same rows counts once and strongly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import EMBEDDERS, Encoder, embedder
from foretaste.errors import NotApplicable, PlanError
from foretaste.image.random_patches import CHUNK, SIDE, PatchBank, dictionary, read, responses, sample, whole
from foretaste.settings import threshold
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("joint")
@dataclass(frozen=True)
class Joint:
    """The pixels of a picture and its responses to random patches, in one vector and one unit.

    A weak pattern stands out a little in either view, and so do rows that are odd by nature; but those are other rows
    in each view, while a planted pattern is on the same ones. Whitened together, it has the strength of both along one
    direction, and nature only that of one.

    grid     of `pixels`
    colour   of `pixels`
    filters  patches drawn, as in `patches`
    size     side of a patch in pixels of a 32 x 32 picture
    seed     of the patches
    bank     how patches are drawn, and what a response to one is
    quiet    of `pixels`
    """

    grid: int = 32
    colour: Literal["grey", "rgb"] = "grey"
    filters: int = 300
    size: int = 6
    seed: int = 0
    bank: PatchBank = field(default_factory=PatchBank)
    quiet: float = threshold(4.0, "as for pixels")

    def __post_init__(self) -> None:
        if self.filters < 1 or not 2 <= self.size <= SIDE // 2:
            raise PlanError(f"joint needs a filter and a size of 2 to {SIDE // 2}, got {self.filters} and {self.size}")

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})
    plain: ClassVar[bool] = False
    parts: ClassVar[frozenset[str]] = frozenset({"pixels", "patches"})

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        drawn = sample(payloads, self.bank.drawn)[0]
        if not len(drawn):
            raise NotApplicable("no row with a label can be read")
        bank = dictionary(drawn.to(device), self.bank, filters=self.filters, size=self.size, seed=self.seed)
        pixels: Any = EMBEDDERS["pixels"]
        plain: Encoder = pixels(grid=self.grid, colour=self.colour, quiet=self.quiet).fit(payloads, dataset, device)
        # Units only have to be alike: the first rows that can be read say enough.
        first = next(one for one in payloads if len(plain.embed(one)))
        bare = JointEncoder(self, plain, bank, (1.0, 1.0), device)
        return JointEncoder(self, plain, bank, tuple(map(unit, bare.views(first)[1:])), device)


def unit(value: Tensor) -> float:
    """How far the numbers of `value` [B, D] lie from their column's mean, all in all."""
    wide = value.double()
    return float((wide - wide.mean(0)).square().mean().sqrt().clamp_min(1e-6))


@dataclass(frozen=True, eq=False)
class JointEncoder:
    """The encoder of the pixels, the filters, and how far the numbers of each view spread."""

    settings: Joint
    pixels: Encoder
    bank: Tensor  # [F, 3, size, size]
    unit: tuple[float, ...]
    device: torch.device

    @property
    def dim(self) -> int:
        return self.pixels.dim + 2 * len(self.bank)

    @property
    def digest(self) -> str:
        bank = hashlib.sha256(self.bank.cpu().contiguous().numpy().tobytes()).hexdigest()
        return recipe("joint", 2, self.settings, self.unit, self.pixels.digest, bank)

    def views(self, payload: Payload) -> tuple[Batch, Tensor, Tensor]:
        """Both views of the rows that can be read, each in its own unit [B, D]."""
        seen = self.pixels.embed(payload)
        image = next(read([payload]))[2]
        how = self.settings.bank
        response = [
            whole(responses(one.to(self.device), self.bank, how), how.faint) for one in torch.split(image, 32 * CHUNK)
        ]
        return seen, seen.embedding, torch.cat(response).cpu()

    @torch.inference_mode()
    def embed(self, payload: Payload) -> Batch:
        seen, *views = self.views(payload)
        value = torch.cat([one / unit for one, unit in zip(views, self.unit, strict=True)], 1)
        return Batch(seen.row, seen.label, value.clone())
