"""Pretrained encoders: the same vector alone and in a batch, nothing fetched, nothing run, nothing unpickled."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import socket

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image

from foretaste.dataset.payload import Payload
from foretaste.embedders import encoder
from foretaste.embedders.encoder import PACKAGED, Pretrained, find, fingerprint, pooled, preprocessing
from foretaste.errors import MissingPackage, PlanError
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None
    or importlib.util.find_spec(PACKAGED.replace("-", "_")) is None,
    reason=f"sentence-transformers or {PACKAGED} is not installed",
)


def dataset(modality):
    return Dataset("", (), (), Roles(modality, ("c",)), (), (), Digest("a", "b"))


def fit(modality, **settings):
    return Pretrained(**settings).fit([], dataset(modality), CPU)


def payload(values, modality=Modality.TEXT):
    kind = PICTURE if modality is Modality.IMAGE else pa.string()
    row = torch.arange(len(values))
    return Payload(row, torch.zeros_like(row), {"c": pa.array(values, kind)}, Roles(modality, ("c",)), "f, row group 0")


def picture(seed, size=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """Every attempt to reach the network."""
    made = []

    def refuse(_, address):
        made.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield made
    assert not made


@pytest.fixture(scope="module")
def minilm():
    return fit(Modality.TEXT)


@needs_minilm
def test_a_text_embeds_alone_as_in_any_batch(minilm):
    texts = ["a gripping film", "dull", "", "\u200b", "word " * 400, "the plot is thin but the cast saves it " * 3]
    together = minilm.embed(payload(texts)).embedding
    alone = torch.cat([minilm.embed(payload([text])).embedding for text in texts])
    assert minilm.dim == 384
    assert together.dtype == torch.float32
    assert not together.is_inference()
    assert bool(together.isfinite().all())
    assert (together - alone).abs().max() < 1e-5
    assert minilm.embed(payload([])).embedding.shape == (0, 384)


@needs_minilm
def test_texts_that_mean_the_same_lie_together(minilm):
    near, far = (
        minilm.embed(payload(["a great movie", "a wonderful film", "the stock market fell"])).embedding[1:]
        @ (minilm.embed(payload(["a great movie"])).embedding[0])
    )
    assert near > far + 0.3


@needs_minilm
def test_lone_surrogates_and_huge_texts_do_not_crash(minilm):
    chat = json.dumps([{"role": "user", "content": "hi \ud800 there"}])
    batch = minilm.embed(payload([chat], Modality.MESSAGES))
    assert bool(batch.embedding.isfinite().all())
    head = "word " * 10_000
    embedding = minilm.embed(payload([head, head * 1000])).embedding
    assert torch.allclose(embedding[0], embedding[1], atol=1e-5)


@needs_minilm
def test_digest_depends_on_weights_and_length_but_not_on_place_or_batch(minilm, tmp_path):
    folder = shutil.copytree(find(PACKAGED), tmp_path / "model")
    copied = fit(Modality.TEXT, model=str(folder), batch=3)
    assert copied.digest == minilm.digest
    assert fit(Modality.TEXT, max_length=8).digest != minilm.digest
    with (folder / "tokenizer_config.json").open("a") as file:
        file.write(" ")
    assert fingerprint(folder) != fingerprint(find(PACKAGED))


@needs_minilm
def test_refuses_code_and_pickles(tmp_path):
    folder = shutil.copytree(find(PACKAGED), tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(
        json.dumps([*modules, {"idx": 3, "name": "3", "path": "", "type": "evil.Code"}])
    )
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with pytest.raises(PlanError, match=r"code of its own, 'evil.Code'"):
        fit(Modality.TEXT, model=str(folder))
    (folder / "modules.json").unlink()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(PlanError, match="is a pickle"):
        fit(Modality.TEXT, model=str(folder))


@needs_transformers
def test_a_plain_transformer_embeds_texts_by_the_mean_over_their_tokens(tmp_path):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    assert sentence_transformers
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2Model, PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(["<end>", "?", "a", "b", "c"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # Like GPT-2, it has no padding token of its own.
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="?").save_pretrained(tmp_path)
    torch.manual_seed(0)
    network = GPT2Model(GPT2Config(vocab_size=5, n_positions=32, n_embd=16, n_layer=2, n_head=2)).eval()
    network.save_pretrained(tmp_path)

    fitted = fit(Modality.TEXT, model=str(tmp_path))
    embedding = fitted.embed(payload(["a b c", "b", "c a b b a c a a"])).embedding
    with torch.inference_mode():
        mean = network(input_ids=torch.tensor([[2, 3, 4]])).last_hidden_state[0].mean(0)
    assert fitted.dim == 16
    assert torch.allclose(embedding[0], mean, atol=1e-5)
    assert torch.allclose(embedding[1], fitted.embed(payload(["b"])).embedding[0], atol=1e-5)


def vision(kind, folder):
    """A tiny network with random weights, saved as a checkpoint."""
    import transformers

    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    patches = {"image_size": 32, "patch_size": 8}
    if kind == "vit":
        network = transformers.ViTModel(transformers.ViTConfig(**small, **patches), add_pooling_layer=False)
    elif kind == "resnet":
        network = transformers.ResNetModel(
            transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
        )
    elif kind == "clip":
        network = transformers.CLIPModel(
            transformers.CLIPConfig(
                text_config=small | {"vocab_size": 8}, vision_config=small | patches, projection_dim=12
            )
        )
    else:
        network = transformers.ViTMAEModel(transformers.ViTMAEConfig(**small, **patches))
    network.save_pretrained(folder)
    config = {"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return network.eval()


@needs_transformers
@pytest.mark.parametrize(("kind", "dim"), [("vit", 16), ("resnet", 16), ("clip", 12)])
def test_a_picture_embeds_alone_as_in_any_batch(kind, dim, tmp_path):
    network = vision(kind, tmp_path)
    fitted = fit(Modality.IMAGE, model=str(tmp_path), batch=3)
    pictures = [picture(seed) for seed in range(7)]
    together = fitted.embed(payload(pictures, Modality.IMAGE)).embedding
    alone = torch.cat([fitted.embed(payload([one], Modality.IMAGE)).embedding for one in pictures])
    assert together.shape == (7, fitted.dim) == (7, dim)
    assert not together.is_inference()
    assert (together - alone).abs().max() < 1e-5
    assert (together[0] - together[1]).abs().max() > 1e-4

    pixels = payload(pictures, Modality.IMAGE).images(32)[0] / 255
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    with torch.inference_mode():
        assert torch.allclose(together, pooled(network, (pixels - mean) / std), atol=1e-5)


@needs_transformers
def test_pictures_that_do_not_decode_are_absent(tmp_path):
    vision("vit", tmp_path)
    fitted = fit(Modality.IMAGE, model=str(tmp_path), batch=2)
    pictures = [picture(0), {"bytes": b"not a picture", "path": None}, None, picture(3)]
    batch = fitted.embed(payload(pictures, Modality.IMAGE))
    assert batch.row.tolist() == [0, 3]
    assert torch.allclose(
        batch.embedding[1], fitted.embed(payload([picture(3)], Modality.IMAGE)).embedding[0], atol=1e-5
    )
    assert fitted.embed(payload([], Modality.IMAGE)).embedding.shape == (0, 16)


@needs_transformers
def test_refuses_pictures_to_a_network_that_cannot_be_trusted_with_them(tmp_path):
    (tmp_path / "mae").mkdir()
    vision("mae", tmp_path / "mae")
    with pytest.raises(PlanError, match="another vector each time"):
        fit(Modality.IMAGE, model=str(tmp_path / "mae"))

    (tmp_path / "vit").mkdir()
    vision("vit", tmp_path / "vit")
    config = json.loads((tmp_path / "vit/config.json").read_text())
    (tmp_path / "vit/config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(PlanError, match="the weights lack"):
        fit(Modality.IMAGE, model=str(tmp_path / "vit"))

    (tmp_path / "vit/preprocessor_config.json").unlink()
    with pytest.raises(PlanError, match=r"no preprocessor_config\.json"):
        fit(Modality.IMAGE, model=str(tmp_path / "vit"))


def test_preprocessing_reads_the_forms_in_use(tmp_path):
    path = tmp_path / "preprocessor_config.json"
    numbers = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    for size in (
        {"size": 224},
        {"size": {"height": 224, "width": 224}},
        {"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
    ):
        path.write_text(json.dumps(size | numbers))
        side, mean, std = preprocessing(tmp_path)
        assert side == 224
        assert mean.flatten().tolist() == pytest.approx([127.5] * 3)
        assert std.flatten().tolist() == pytest.approx([63.75] * 3)
    path.write_text(json.dumps({"size": 8, "do_normalize": False}))
    assert preprocessing(tmp_path)[2].flatten().tolist() == pytest.approx([255] * 3)
    path.write_text(json.dumps({"size": {"height": 8, "width": 9}} | numbers))
    with pytest.raises(ValueError, match="must be square"):
        preprocessing(tmp_path)


@needs_transformers
def test_never_downloads(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(PlanError, match="fetch it first: hf download nobody/nothing"):
        fit(Modality.TEXT, model="nobody/nothing")
    with pytest.raises(PlanError, match="neither a folder nor"):
        fit(Modality.TEXT, model="./not/a/folder")
    with pytest.raises(PlanError, match="does not load"):
        fit(Modality.TEXT, model=str(tmp_path))


def test_names_the_missing_package(monkeypatch):
    monkeypatch.setattr(encoder.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingPackage, match=r"pip install 'foretaste\[text\]'"):
        fit(Modality.TEXT)


def test_refuses_settings_without_meaning():
    with pytest.raises(PlanError):
        Pretrained(batch=0)
