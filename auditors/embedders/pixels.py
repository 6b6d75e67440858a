"""Pictures without any model: resized, contrast-normalised, as pixels, frequencies or energies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import Encoder, embedder
from foretaste.errors import PlanError
from foretaste.image.views import contrast_normalised, energies, frequencies
from foretaste.settings import threshold
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe


@embedder("pixels")
@dataclass(frozen=True)
class Pixels:
    """The picture itself, without a model: a trigger is in the input, whether or not a model's features show it.

    size    side in pixels to which every picture is resized when it is decoded
    grid    side in pixels after averaging neighbouring pixels; coarse grids show smooth patterns
    colour  "grey" or "rgb"
    basis   "pixels", "frequencies" for the log amplitudes of the Fourier coefficients, or "energies" for the log
            energies of differences between neighbouring pixels
    quiet   grey levels added to a picture's standard deviation, or to its amplitudes, so that a constant picture is not
            amplified to noise
    """

    size: int = 32
    grid: int = 32
    colour: Literal["grey", "rgb"] = "grey"
    basis: Literal["pixels", "frequencies", "energies"] = "pixels"
    quiet: float = threshold(4.0, "what compression leaves of a constant picture; not tuned")

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})

    def __post_init__(self) -> None:
        if self.basis == "energies" and self.grid < 4:
            raise PlanError(
                f"energies are those of cells of 4 × 4 pixels and need a grid of at least 4, got {self.grid}"
            )

    @property
    def plain(self) -> bool:
        """Only distances between pixels reflect how similar pictures look."""
        return self.basis == "pixels"

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        del payloads, dataset  # nothing is fitted
        return PixelEncoder(self, device)


@dataclass(frozen=True)
class PixelEncoder:
    """Pictures as vectors, without fitted parameters."""

    settings: Pixels
    device: torch.device

    @property
    def dim(self) -> int:
        grid = self.settings.grid
        numbers = {"pixels": grid * grid, "frequencies": grid * (grid // 2 + 1), "energies": 5 * (grid // 4) ** 2}
        return (1 if self.settings.colour == "grey" else 3) * numbers[self.settings.basis]

    @property
    def digest(self) -> str:
        return recipe("pixels", 1, self.settings)

    def embed(self, payload: Payload) -> Batch:
        decoded, broken = payload.images(self.settings.size)
        keep = torch.ones(len(payload), dtype=torch.bool)
        keep[list(broken)] = False
        image = decoded[keep].to(self.device).float()  # [B, 3, size, size]
        if self.settings.colour == "grey":
            image = image.mean(1, keepdim=True)
        if self.settings.grid != self.settings.size:
            image = adaptive_avg_pool2d(image, self.settings.grid)
        return Batch(payload.row[keep], payload.label[keep], self.view(image).cpu())

    def view(self, image: Tensor) -> Tensor:
        """The vectors [B, dim] of pictures [B, C, grid, grid]."""
        match self.settings.basis:
            case "pixels":
                return contrast_normalised(image, self.settings.quiet)
            case "frequencies":
                return frequencies(image, self.settings.quiet)
            case "energies":
                return energies(image)
