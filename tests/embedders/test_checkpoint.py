"""The user's own model: the layer they name, the model unchanged, no pickle read, and every mistake one sentence."""

from __future__ import annotations

import io
import pickle
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor

import networks
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.testing import assert_close

from foretaste.dataset.payload import Payload
from foretaste.embedders.checkpoint import CHUNK, Checkpoint
from foretaste.embedders.contract import EMBEDDERS
from foretaste.errors import NotApplicable, PlanError
from foretaste.pipeline import plan
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

EMBEDDERS.scan()
CPU = torch.device("cpu")
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SIZE = 12


def dataset(modality):
    return Dataset("", (), (), Roles(modality, ("c",)), (), (), Digest("a", "b"))


def fit(modality=Modality.IMAGE, *, payloads=(), device=CPU, **settings):
    return Checkpoint(**({"size": SIZE} | settings)).fit(payloads, dataset(modality), device)


def payload(values, modality=Modality.IMAGE):
    kind = PICTURE if modality is Modality.IMAGE else pa.list_(pa.float32())
    row = torch.arange(len(values))
    return Payload(row, torch.zeros_like(row), {"c": pa.array(values, kind)}, Roles(modality, ("c",)), "f, row group 0")


def picture(seed, size=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return networks.saved(networks.pictures, tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def programs(weights, tmp_path_factory):
    """The same network as exported programs: any batch, and batches of 3 only."""
    folder = tmp_path_factory.mktemp("programs")
    example, free = torch.rand(3, 3, SIZE, SIZE), ({0: torch.export.Dim("rows")},)
    for name, shapes in (("free", free), ("fixed", None)):
        torch.export.save(torch.export.export(weights[0], (example,), dynamic_shapes=shapes), folder / f"{name}.pt2")
    return folder


DIM = {"": 2, "body": 6, "body.1": 8, "tokens": 6}
FORMS = ["safetensors", "free", "fixed"]


def form_of(form, weights, programs):
    if form == "safetensors":
        return {"model": weights[1], "module": "networks:pictures"}
    return {"model": str(programs / f"{form}.pt2")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layer", DIM)
def test_a_picture_embeds_as_the_layer_says(form, layer, weights, programs, device):
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    fitted = fit(**form_of(form, weights, programs), layer=layer, mean=mean, std=std, device=device)
    pictures = [picture(seed) for seed in range(7)]
    batch = fitted.embed(payload(pictures))
    assert batch.embedding.shape == (7, fitted.dim) == (7, DIM[layer])
    assert batch.embedding.dtype == torch.float32
    assert batch.embedding.device == CPU
    assert not batch.embedding.is_inference()

    pixels = payload(pictures).images(SIZE)[0] / 255
    ready = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    network = weights[0]
    with torch.inference_mode():
        body = network.body(ready)
        expected = {
            "": network(ready),
            "body": body.mean((2, 3)),
            "body.1": network.body[:2](ready).mean((2, 3)),
            "tokens": body.flatten(2).mean(2),
        }[layer]
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if device.type == "cpu" else {"rtol": 0.01, "atol": 0.01}
    assert_close(batch.embedding, expected, **tolerance)


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_embeds_alone_as_in_any_batch(form, weights, programs):
    fitted = fit(**form_of(form, weights, programs), layer="body")
    pictures = [picture(seed) for seed in range(CHUNK + 5)]
    together = fitted.embed(payload(pictures)).embedding
    alone = torch.cat([fitted.embed(payload([one])).embedding for one in pictures[::9]])
    assert_close(alone, together[::9], rtol=1e-4, atol=1e-5)
    assert fitted.embed(payload([])).embedding.shape == (0, 6)


def test_all_forms_of_a_model_embed_alike(weights, programs):
    pictures = payload([picture(seed) for seed in range(5)])
    one, *others = (fit(**form_of(form, weights, programs), layer="body").embed(pictures).embedding for form in FORMS)
    for other in others:
        assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_pictures_that_do_not_decode_are_absent(weights, programs):
    fitted = fit(**form_of("fixed", weights, programs))
    batch = fitted.embed(payload([picture(0), {"bytes": b"not a picture", "path": None}, None, picture(3)]))
    assert batch.row.tolist() == [0, 3]
    assert_close(batch.embedding[1:], fitted.embed(payload([picture(3)])).embedding, rtol=1e-4, atol=1e-5)


def test_vectors_go_in_as_they_are(tmp_path, device):
    network, path = networks.saved(networks.vectors, tmp_path)
    rows = payload(torch.randn(6, 8).tolist(), Modality.EMBEDDING)
    settings = {"model": path, "module": "networks:vectors", "layer": "0"}
    fitted = fit(Modality.EMBEDDING, payloads=[rows], device=device, **settings)
    with torch.inference_mode():
        assert_close(fitted.embed(rows).embedding, network[0](rows.vectors()), rtol=1e-3, atol=1e-3)
    shorter = payload(torch.randn(6, 7).tolist(), Modality.EMBEDDING)
    with pytest.raises(PlanError, match=r"the model does not take rows of 7: RuntimeError: mat1 and mat2"):
        fit(Modality.EMBEDDING, payloads=[shorter], **settings)
    with pytest.raises(NotApplicable):
        fit(Modality.EMBEDDING, **settings)


def test_a_grey_model_sees_grey(tmp_path):
    network, path = networks.saved(networks.grey, tmp_path)
    fitted = fit(model=path, module="networks:grey", mean=(0.5,), std=(0.25,))
    rows = payload([picture(1), picture(2)])
    with torch.inference_mode():
        expected = network((rows.images(SIZE)[0].float().mean(1, keepdim=True) / 255 - 0.5) / 0.25).mean((2, 3))
    assert_close(fitted.embed(rows).embedding, expected, rtol=1e-4, atol=1e-5)


def test_half_precision_goes_in_and_float_comes_out(tmp_path):
    network = networks.grey().bfloat16().eval()
    torch.export.save(torch.export.export(network, (torch.rand(2, 1, SIZE, SIZE).bfloat16(),)), tmp_path / "half.pt2")
    batch = fit(model=str(tmp_path / "half.pt2"), mean=(0.5,), std=(0.25,)).embed(payload([picture(1)]))
    assert batch.embedding.dtype == torch.float32


def test_the_model_and_the_random_state_stay_as_they_are(weights):
    state, before = torch.get_rng_state(), {key: value.clone() for key, value in weights[0].state_dict().items()}
    fitted = fit(**form_of("safetensors", weights, None), layer="body")
    fitted.embed(payload([picture(1), picture(2)]))
    assert torch.equal(torch.get_rng_state(), state)
    assert not fitted.network.training
    for key, value in fitted.network.state_dict().items():
        assert torch.equal(value, before[key])
        assert not value.requires_grad


def test_threads_find_their_own_outputs(weights):
    fitted = fit(**form_of("safetensors", weights, None), layer="body")
    rows = [payload([picture(seed)]) for seed in range(24)]
    expected = [fitted.embed(one).embedding for one in rows]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(lambda one: fitted.embed(one).embedding, rows), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("form", FORMS)
def test_another_process_loads_the_model_again(form, weights, programs, tmp_path):
    settings = form_of(form, weights, programs)
    path = shutil.copy(settings["model"], tmp_path)
    fitted = fit(**(settings | {"model": path}), layer="body")
    sent = pickle.dumps(fitted)
    rows = payload([picture(1), picture(2)])
    assert torch.equal(pickle.loads(sent).embed(rows).embedding, fitted.embed(rows).embedding)
    if form == "safetensors":
        save_file(networks.Pictures().state_dict(), path)
        with pytest.raises(PlanError, match="changed while it was in use"):
            pickle.loads(sent)


# Digest


def test_the_digest_depends_on_weights_settings_and_source_but_not_on_the_place(weights, tmp_path, monkeypatch):
    (tmp_path / "own_model.py").write_text("from networks import pictures\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"model": weights[1], "module": "own_model:pictures"}
    before = fit(**settings).digest
    assert fit(**settings).digest == before
    assert fit(**settings | {"model": shutil.copy(weights[1], tmp_path / "copy.safetensors")}).digest == before
    for change in ({"layer": "body"}, {"size": SIZE + 1}, {"mean": (0.1, 0, 0)}, {"std": (1, 1, 0.5)}):
        assert fit(**settings | change).digest != before
    assert fit(**settings | {"module": "networks:pictures"}).digest != before
    (tmp_path / "own_model.py").write_text("from networks import pictures  # otherwise\n")
    assert fit(**settings).digest != before
    del sys.modules["own_model"]


# What may be wrong


def test_every_mistake_is_one_sentence(weights, programs, tmp_path):
    path = weights[1]
    free, fixed = str(programs / "free.pt2"), str(programs / "fixed.pt2")
    for name in ("weights.pth", "damaged.safetensors", "damaged.pt2"):
        (tmp_path / name).write_bytes(b"no model at all")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("readme", "nothing")
    with zipfile.ZipFile(tmp_path / "pickled.pt2", "w") as archive:
        archive.writestr("model/data/constants/opaque_obj_0", b"cos\nsystem")
    _, noisy = networks.saved(networks.noisy, tmp_path, "noisy.safetensors")
    _, mixing = networks.saved(networks.mixing, tmp_path, "mixing.safetensors")
    _, small = networks.saved(networks.grey, tmp_path, "small.safetensors")
    pictures = {"model": path, "module": "networks:pictures"}
    wrong = [
        ({}, r"needs model, a \.pt2 or \.safetensors file, got ''"),
        ({"model": "not/there.pt2"}, "got 'not/there.pt2', which is none"),
        ({"model": str(tmp_path / "weights.pth")}, r"which hold no pickle, got '\.pth'"),
        ({"model": str(tmp_path / "damaged.pt2")}, "it is no program of torch.export.save"),
        ({"model": str(tmp_path / "other.pt2")}, "the program does not load: "),
        ({"model": str(tmp_path / "pickled.pt2")}, "opaque_obj_0 is a pickled object"),
        ({"model": str(tmp_path / "damaged.safetensors"), "module": "networks:pictures"}, "do not fit the module"),
        ({"model": free, "module": "networks:pictures"}, "an exported program needs no module"),
        ({"model": free, "layer": "bodi"}, r"has no layer 'bodi'; did you mean 'body'\?"),
        ({"model": fixed, "size": SIZE + 1}, "takes rows of 3×12×12, and these are 3×13×13"),
        ({"model": free, "mean": (0.5,), "std": (1,)}, "takes rows of 3×12×12, and these are 1×12×12"),
        ({"model": path}, "needs module as 'package.module:factory'"),
        ({"model": path, "module": "networks"}, "needs module as 'package.module:factory'"),
        ({"model": path, "module": "not_a_package:build"}, "not_a_package cannot be imported"),
        ({"model": path, "module": "networks:picture"}, "has no factory 'picture'; did you mean 'pictures'"),
        ({"model": path, "module": "networks:needs"}, "the factory must need no arguments and build: TypeError"),
        ({"model": path, "module": "networks:breaks"}, "RuntimeError: no such architecture$"),
        ({"model": path, "module": "networks:nothing"}, "must build a torch.nn.Module, got str"),
        ({"model": path, "module": "networks:vectors"}, r"lack 4 tensors of the module \(0.bias\) and hold 11 that"),
        ({"model": small, "module": "networks:pictures"}, "the weights lack"),
        (pictures | {"layer": "hed"}, r"the model has no layer 'hed'; did you mean 'head'\?"),
        (pictures | {"layer": "unused"}, "layer 'unused' does not run"),
        (pictures | {"layer": "parts"}, "layer 'parts' must give a tensor, got tuple"),
        (pictures | {"mean": (0.5,), "std": (1,)}, "the model does not take rows of 1×12×12: RuntimeError"),
        ({"model": noisy, "module": "networks:noisy"}, "another vector in another batch or another time"),
        ({"model": mixing, "module": "networks:mixing"}, "another vector in another batch or another time"),
        ({"model": path, "size": 0}, "size of at least 1"),
        ({"model": path, "mean": (0, 0)}, "mean and std of three numbers"),
        ({"model": path, "std": (1, 0, 1)}, "positive std"),
    ]
    for settings, message in wrong:
        with pytest.raises(PlanError, match=message) as caught:
            fit(**settings)
        assert "\n" not in str(caught.value)


def test_a_pickle_in_a_program_is_not_run(programs, tmp_path):
    """Sample inputs travel as a torch.save file, which PyTorch's loader would unpickle without restraint."""
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return open, (str(ran), "w")

    pickled = io.BytesIO()
    torch.save({"args": Evil()}, pickled)
    with zipfile.ZipFile(programs / "free.pt2") as good, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, pickled.getvalue() if "sample_inputs" in name else good.read(name))
    with pytest.raises(PlanError, match="the program does not load: UnpicklingError"):
        fit(model=str(tmp_path / "evil.pt2"))
    assert not ran.exists()


def test_a_plan_names_it(weights):
    text = {
        "embedders": {
            "mine": {
                "kind": "checkpoint",
                "model": weights[1],
                "module": "networks:pictures",
                "layer": "body",
                "mean": [0.5, 0.5, 0.5],
            }
        },
        "detectors": {"spectral-signature": {"on": ["mine"]}},
    }
    kind, settings = plan.parse(text).embedders["mine"]
    assert (kind, settings.mean) == ("checkpoint", (0.5, 0.5, 0.5))
    assert isinstance(hash(settings), int)
