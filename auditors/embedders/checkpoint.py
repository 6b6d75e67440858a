"""Activations of the user's own model, at the layer they name."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import EMBEDDERS, Encoder, embedder
from foretaste.embedders.model_file import first_line, load
from foretaste.errors import PlanError
from foretaste.registry import near
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe

CHUNK = 64  # rows that go through the network at once
ROUNDING = 0.02  # of the largest activation: rounding differs between batches, more so on a GPU or in half precision

# Threads share a network, and each must find the output of its own forward pass.
_seen = threading.local()


@embedder("checkpoint")
@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The user's own model, such as the one about to be released, at the layer they name.

    model   path of a program saved by torch.export.save (.pt2), or of weights (.safetensors)
    module  "package.module:factory" for weights: a callable without arguments that builds the torch module
    layer   the submodule whose output is the embedding; "" for the output of the model
    size    side, in pixels, of the model's input; every picture is resized whole, never cropped
    mean    subtracted from pixels in [0, 1], one number per channel: three for RGB, one for a grey model
    std     divisor of the pixels after `mean` is subtracted, one number per channel

    Vectors are passed to the model unchanged. An output [B, C, H, W] is averaged over H and W, [B, T, D] over T.
    Tran et al. (2018) and Chen et al. (2018) look for backdoors in the penultimate layer's activations.
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.IMAGE, Modality.EMBEDDING})
    plain: ClassVar[bool] = False

    model: str = ""
    module: str = ""
    layer: str = ""
    size: int = 32
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.size < 1:
            raise PlanError(f"checkpoint needs a size of at least 1, got {self.size}")
        if len(self.mean) not in (1, 3) or len(self.mean) != len(self.std):
            raise PlanError(
                f"checkpoint needs mean and std of three numbers, or of one for a grey model, got {self.mean} "
                f"and {self.std}"
            )
        if not all(map(math.isfinite, self.mean)) or not all(0 < value < math.inf for value in self.std):
            raise PlanError(f"checkpoint needs finite mean and positive std, got {self.mean} and {self.std}")

    def fit(self, payloads: Iterable[Payload], dataset: Dataset, device: torch.device) -> CheckpointEncoder:
        """Load the model and test it on two rows; nothing is trained.

        Raises PlanError where the file, the factory or the layer does not exist, where weights and module do not match,
        and where the model does not accept such rows or a row's vector depends on its batch.
        """
        base = None
        if dataset.roles.modality is Modality.EMBEDDING:
            base = EMBEDDERS["column"]().fit(payloads, dataset, device)
        return loaded(self, base, device)


@dataclass(frozen=True, eq=False, kw_only=True)
class CheckpointEncoder:
    """The loaded model; `base` reads vectors, pictures are decoded here. `rows` is the batch size."""

    network: nn.Module
    settings: Checkpoint
    base: Encoder | None
    device: torch.device
    dtype: torch.dtype
    rows: int
    fixed: bool  # whether an exported program accepts only batches of `rows` rows
    dim: int
    digest: str

    def embed(self, payload: Payload) -> Batch:
        if self.base is not None:
            batch = self.base.embed(payload)
            return replace(batch, embedding=self.vectors(batch.embedding))
        pixels, broken = payload.images(self.settings.size)  # [B, 3, S, S] uint8
        keep = torch.ones(len(payload), dtype=torch.bool)
        keep[list(broken)] = False
        return Batch(payload.row[keep], payload.label[keep], self.vectors(pixels[keep]))

    def vectors(self, value: Tensor) -> Tensor:
        """Embeddings [B, D] float32 of pictures [B, 3, S, S] uint8 or of vectors [B, E]."""
        if not len(value):
            return torch.empty(0, self.dim)
        parts = []
        for part in torch.split(value, self.rows):
            ready, missing = self.prepared(part), self.rows - len(part)
            if self.fixed and missing:
                ready = torch.cat([ready, ready[:1].expand(missing, *ready.shape[1:])])
            parts.append(self.outputs(ready)[: len(part)].float().cpu().clone())  # clone: no longer an inference tensor
        return torch.cat(parts)

    def prepared(self, value: Tensor) -> Tensor:
        """The network's input: normalised pictures [B, C, S, S], or vectors unchanged."""
        if value.dtype != torch.uint8:
            return value.to(self.device, self.dtype)
        image = value.to(self.device).float() / 255
        if len(self.settings.mean) == 1:
            image = image.mean(1, keepdim=True)
        mean, std = (image.new_tensor(values).view(-1, 1, 1) for values in (self.settings.mean, self.settings.std))
        return ((image - mean) / std).to(self.dtype)

    def outputs(self, ready: Tensor) -> Tensor:
        """One vector per row [B, D]. Raises PlanError where the layer's output cannot be one."""
        _seen.output = None
        with torch.inference_mode():
            whole = self.network(ready)
            output = _seen.output if self.settings.layer else whole
        _seen.output = None
        what = f"layer {self.settings.layer!r}" if self.settings.layer else "the model"
        where = f"checkpoint {self.settings.model}: {what}"
        if self.settings.layer and output is None:
            raise PlanError(f"{where} does not run when the model does")
        if not isinstance(output, Tensor):
            raise PlanError(f"{where} must give a tensor, got {type(output).__name__}; choose a layer that does")
        if output.ndim not in (2, 3, 4) or len(output) != len(ready):
            raise PlanError(
                f"{where} must give [B, D], [B, T, D] or [B, C, H, W] for {len(ready)} rows, got {list(output.shape)}"
            )
        return output if output.ndim == 2 else output.mean(1) if output.ndim == 3 else output.mean((2, 3))

    def __reduce__(self) -> tuple[Callable[..., CheckpointEncoder], tuple[Any, ...]]:
        # Exported programs cannot be pickled, so another process loads the file again.
        return _again, (self.settings, self.base, self.device, self.digest)


def loaded(settings: Checkpoint, base: Encoder | None, device: torch.device) -> CheckpointEncoder:
    """The model of the settings, tested on two rows. Raises PlanError; see Checkpoint.fit."""
    where = f"checkpoint {settings.model}"
    network = load(settings.model, module=settings.module, layer=settings.layer, device=device)
    if settings.layer:
        _tap(network.module, settings.layer, where)
    digest = recipe("checkpoint", 1, replace(settings, model=""), *network.sha256, base.digest if base else "")
    fixed = bool(network.shape) and isinstance(network.shape[0], int)
    encoder = CheckpointEncoder(
        network=network.module,
        settings=settings,
        base=base,
        device=device,
        dtype=network.dtype,
        rows=network.shape[0] if fixed else CHUNK,
        fixed=fixed,
        dim=0,
        digest=digest,
    )
    return replace(encoder, dim=_tried(encoder, network.shape, where))


def _again(settings: Checkpoint, base: Encoder | None, device: torch.device, digest: str) -> CheckpointEncoder:
    encoder = loaded(settings, base, device)
    if encoder.digest != digest:
        raise PlanError(f"checkpoint {settings.model}: the model changed while it was in use")
    return encoder


def _tried(encoder: CheckpointEncoder, shape: tuple[Any, ...], where: str) -> int:
    """The length of the vectors, determined on two synthetic rows."""
    settings = encoder.settings
    if encoder.base is None:
        each: tuple[int, ...] = (len(settings.mean), settings.size, settings.size)
        # Not constant: on constant pictures it may not show that the network mixes the rows of a batch.
        rows = (torch.arange(2 * 3 * settings.size**2) * 7919 % 251).byte().view(2, 3, settings.size, settings.size)
    else:
        each = (encoder.base.dim,)
        rows = torch.linspace(-1, 1, 2 * encoder.base.dim).view(2, -1)
    takes = tuple(size if isinstance(size, int) else 0 for size in shape[1:])  # 0: any length
    if shape and (len(takes) != len(each) or any(size not in (0, got) for size, got in zip(takes, each, strict=True))):
        wanted = "×".join(str(size or "any") for size in takes)
        raise PlanError(f"{where}: the program takes rows of {wanted}, and these are {'×'.join(map(str, each))}")
    try:
        both = encoder.vectors(rows)
        alone = torch.cat([encoder.vectors(rows[:1]), encoder.vectors(rows[1:])])
    except PlanError:
        raise
    except Exception as error:  # the user's network may raise anything
        raise PlanError(
            f"{where}: the model does not take rows of {'×'.join(map(str, each))}: {first_line(error)}"
        ) from error
    if (both - alone).abs().max() > ROUNDING * both.abs().max():
        raise PlanError(
            f"{where}: the model gives a row another vector in another batch or another time; "
            "export it in eval mode, without dropout"
        )
    return both.shape[1]


def _tap(network: nn.Module, layer: str, where: str) -> None:
    layers = {name: submodule for name, submodule in network.named_modules() if name}
    if layer not in layers:
        raise PlanError(f"{where}: the model has no layer {layer!r}{near(layer, layers)}")
    layers[layer].register_forward_hook(_keep)


def _keep(module: nn.Module, given: Any, output: Any) -> None:
    """Forward hook that stores the layer's output; of several runs in one pass, the last."""
    del module, given
    _seen.output = output
