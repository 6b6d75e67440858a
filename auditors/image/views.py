"""Pictures as vectors: contrast-normalised pixels, Fourier amplitudes, or energies of local differences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad


def contrast_normalised(image: Tensor, quiet: float) -> Tensor:
    """Pictures [B, C, H, W] as rows [B, C*H*W] of mean 0 and about unit variance.

    `quiet` grey levels are added to each standard deviation, so that a constant picture is not amplified to noise.
    """
    flat = image.flatten(1)
    centred = flat - flat.mean(1, keepdim=True)
    normalised: Tensor = centred / (centred.square().mean(1, keepdim=True).sqrt() + quiet)
    return normalised


def frequencies(image: Tensor, quiet: float) -> Tensor:
    """Log amplitudes [B, C*H*(W//2+1)] of the Fourier coefficients of [B, C, H, W], which do not depend on position.

    `quiet` is added to every amplitude.
    """
    height, width = image.shape[-2:]
    if not len(image):  # FFT libraries refuse empty batches
        return image.new_empty(0, image.shape[1] * height * (width // 2 + 1))
    window = torch.outer(torch.hann_window(height), torch.hann_window(width)).to(image)
    amplitude: Tensor = torch.fft.rfft2((image - image.mean((2, 3), keepdim=True)) * window).abs()
    return amplitude.add(quiet).log().flatten(1)


def energies(image: Tensor) -> Tensor:
    """Log energy [B, C*5*(H//4)*(W//4)] of the differences between neighbouring pixels in each cell of 4 × 4 pixels.

    First and second differences in both directions, and the Laplacian, of [B, C, H, W]. Warping, resampling and added
    noise change them whatever the picture shows.
    """
    across, down = image.diff(dim=3), image.diff(dim=2)
    bent, curled = across.diff(dim=3), down.diff(dim=2)
    differences = [
        pad(across, (0, 1, 0, 0)), pad(down, (0, 0, 0, 1)), pad(bent, (1, 1, 0, 0)), pad(curled, (0, 0, 1, 1)),
        pad(bent[..., 1:-1, :] + curled[..., 1:-1], (1, 1, 1, 1)) / 4,
    ]  # fmt: skip
    return torch.cat([avg_pool2d(filtered.square(), 4).add(1.0).log().flatten(1) for filtered in differences], 1)
