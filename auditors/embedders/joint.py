"""Pixels and patch responses concatenated, so that a pattern weak in both can be found in their combination."""

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
    """The pixels of a picture and its responses to random patches, concatenated after scaling to equal variance.

    A weak planted pattern is a slight outlier in both views, on the same rows. Natural outliers are different rows in
    each view. After joint whitening the pattern has the evidence of both views along one direction, natural outliers
    that of one only.

    grid     side in pixels after averaging neighbouring pixels, as in `pixels`
    colour   "grey" or "rgb", as in `pixels`
    filters  number of filters, as in `patches`
    size     side of a filter, in pixels of a 32 x 32 picture, as in `patches`
    seed     seed of the random patches
    bank     how filters are made from random patches, and how responses to them are computed
    quiet    grey levels added to a picture's standard deviation, as in `pixels`
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
        # A rough scale suffices, so the first batch of readable rows is enough.
        first = next(payload for payload in payloads if len(plain.embed(payload)))
        bare = JointEncoder(self, plain, bank, (1.0, 1.0), device)
        return JointEncoder(self, plain, bank, tuple(map(unit, bare.views(first)[1:])), device)


def unit(value: Tensor) -> float:
    """Root mean square deviation of the numbers of `value` [B, D] from their column's mean."""
    wide = value.double()
    return float((wide - wide.mean(0)).square().mean().sqrt().clamp_min(1e-6))


@dataclass(frozen=True, eq=False)
class JointEncoder:
    """The encoder of the pixels, the filters, and the standard deviation of each view."""

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
        """The pixels' batch of the readable rows, and both views of them [B, D], unscaled."""
        batch = self.pixels.embed(payload)
        image = next(read([payload]))[2]
        bank = self.settings.bank
        response = [
            whole(responses(part.to(self.device), self.bank, bank), bank.faint)
            for part in torch.split(image, 32 * CHUNK)
        ]
        return batch, batch.embedding, torch.cat(response).cpu()

    @torch.inference_mode()
    def embed(self, payload: Payload) -> Batch:
        batch, *views = self.views(payload)
        value = torch.cat([view / unit for view, unit in zip(views, self.unit, strict=True)], 1)
        return Batch(batch.row, batch.label, value.clone())
