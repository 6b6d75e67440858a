"""The picture itself: resized, freed of its own brightness and contrast, as pixels or as frequencies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import Encoder, embedder
from foretaste.errors import PlanError
from foretaste.types.batch import Batch
from foretaste.types.findings import Dataset, Modality, recipe

# Added to a picture's standard deviation (in grey levels), so that an empty picture is not blown up to pure noise.
QUIET = 4.0


def contrast_normalised(image: Tensor) -> Tensor:
    """Pictures [B, C, H, W] as rows [B, C*H*W] of mean 0 and about unit variance."""
    flat = image.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    normalised: Tensor = centred / (centred.square().mean(1, keepdim=True).sqrt() + QUIET)
    return normalised


def frequencies(image: Tensor) -> Tensor:
    """Log amplitudes [B, C*H*(W//2+1)] of the Fourier coefficients of [B, C, H, W], wherever a pattern sits."""
    height, width = image.shape[-2:]
    if not len(image):  # which FFT libraries refuse
        return image.new_empty(0, image.shape[1] * height * (width // 2 + 1))
    window = torch.outer(torch.hann_window(height), torch.hann_window(width)).to(image)
    amplitude: Tensor = torch.fft.rfft2((image - image.mean((2, 3), keepdim=True)) * window).abs()
    return amplitude.add(QUIET).log().flatten(1)


def energies(image: Tensor) -> Tensor:
    """Log energy [B, C*5*(H//4)*(W//4)] of the differences between neighbours in each cell of 4 × 4 pixels.

    First and second differences, both ways, and the Laplacian of [B, C, H, W]: what warping, resampling and added
    noise change, whatever the picture shows there.
    """
    across, down = image.diff(dim=3), image.diff(dim=2)
    bent, curled = across.diff(dim=3), down.diff(dim=2)
    differences = [
        pad(across, (0, 1, 0, 0)), pad(down, (0, 0, 0, 1)), pad(bent, (1, 1, 0, 0)), pad(curled, (0, 0, 1, 1)),
        pad(bent[..., 1:-1, :] + curled[..., 1:-1], (1, 1, 1, 1)) / 4,
    ]  # fmt: skip
    return torch.cat([avg_pool2d(one.square(), 4).add(1.0).log().flatten(1) for one in differences], 1)


@embedder("pixels")
@dataclass(frozen=True)
class Pixels:
    """The picture itself, with no model: a trigger is in the input, whatever the model makes of it.

    size    side in pixels to which every picture is resized when it is decoded
    grid    side after averaging neighbouring pixels; smooth patterns show on coarse grids
    colour  "grey" or "rgb"
    basis   "pixels", "frequencies" for the log amplitudes of the Fourier coefficients, or "energies" for the log
            energies of differences between neighbouring pixels
    """

    size: int = 32
    grid: int = 32
    colour: Literal["grey", "rgb"] = "grey"
    basis: Literal["pixels", "frequencies", "energies"] = "pixels"

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE})

    def __post_init__(self) -> None:
        if self.basis == "energies" and self.grid < 4:
            raise PlanError(
                f"energies are those of cells of 4 × 4 pixels and need a grid of at least 4, got {self.grid}"
            )

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> Encoder:
        del payloads, dataset  # nothing is learned
        return PixelEncoder(self, device)


BASES = {"pixels": contrast_normalised, "frequencies": frequencies, "energies": energies}


@dataclass(frozen=True)
class PixelEncoder:
    """Pictures as vectors; nothing was learned."""

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
        value = BASES[self.settings.basis](image)
        return Batch(payload.row[keep], payload.label[keep], value.cpu())
