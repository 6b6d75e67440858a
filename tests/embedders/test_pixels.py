"""Pictures as they are: of one brightness and contrast, a trigger still in its place."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageFilter
from torch.testing import assert_close

from foretaste.dataset.payload import Payload
from foretaste.embedders.pixels import Pixels
from foretaste.errors import PlanError
from foretaste.image.views import contrast_normalised, energies, frequencies
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")
ROLES = Roles(Modality.IMAGE, ("image",))
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def photographs(count=6, size=32, seed=0):
    draw = np.random.default_rng(seed)
    coarse = draw.integers(40, 216, (count, 4, 4, 3), dtype=np.uint8)
    return [np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR)) for one in coarse]


def payload(pictures):
    cells = [
        None if one is None else {"bytes": one if isinstance(one, bytes) else png(one), "path": None}
        for one in pictures
    ]
    row = torch.arange(10, 10 + len(cells))
    return Payload(row, torch.zeros_like(row), {"image": pa.array(cells, KIND)}, ROLES, "f, row group 0")


def fit(device=CPU, **settings):
    return Pixels(**settings).fit([], Dataset("", (), (), ROLES, (), (), Digest("a", "b")), device)


def embed(pictures, device=CPU, **settings):
    return fit(device, **settings).embed(payload(pictures))


VIEWS = [
    {},
    {"grid": 16, "colour": "rgb"},
    {"grid": 8, "colour": "rgb"},
    {"basis": "frequencies"},
    {"grid": 16, "colour": "rgb", "basis": "frequencies"},
    {"basis": "energies"},
    {"grid": 16, "colour": "rgb", "basis": "energies"},
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_every_view_has_the_length_it_says_and_is_finite(view, device):
    empty = [np.zeros((32, 32, 3), np.uint8), np.full((5, 90, 3), 255, np.uint8)]
    batch = embed(photographs() + empty, device, **view)
    assert batch.embedding.shape == (8, fit(**view).dim)
    assert batch.embedding.device == CPU
    assert bool(batch.embedding.isfinite().all())
    assert_close(batch.embedding, embed(photographs() + empty, **view).embedding, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_rows_that_do_not_decode_are_left_out_and_say_why(view):
    one, *rest = photographs()
    rows = payload([one, b"no picture", None, *rest])
    batch = fit(**view).embed(rows)
    assert batch.row.tolist() == [10, 13, 14, 15, 16, 17]
    assert sorted(rows.unread) == [1, 2]
    assert_close(batch.embedding, embed([one, *rest], **view).embedding)
    assert embed([b"none", b"of these"], **view).embedding.shape == (0, fit(**view).dim)


def test_brightness_and_contrast_do_not_count():
    picture = photographs(1)[0].astype(float)
    dim = (picture - 128) * 0.5 + 100
    one, other = embed([picture.astype(np.uint8), dim.round().astype(np.uint8)]).embedding
    assert torch.cosine_similarity(one, other, dim=0) > 0.999
    assert one.mean().abs() < 1e-5
    assert 0.8 < float(one.std()) <= 1


def test_contrast_is_that_of_numpy():
    image = torch.rand(5, 3, 8, 8) * 255
    flat = image.flatten(1).double().numpy()
    expected = (flat - flat.mean(1, keepdims=True)) / (flat.std(1, keepdims=True) + 4)
    np.testing.assert_allclose(contrast_normalised(image, 4.0), expected, atol=1e-5)


def test_frequencies_are_numpys_wherever_a_pattern_sits():
    image = torch.rand(3, 1, 16, 16) * 255
    window = np.outer(*[0.5 - 0.5 * np.cos(2 * np.pi * np.arange(16) / 16)] * 2)
    centred = (image - image.mean((2, 3), keepdim=True)).double().numpy() * window
    expected = np.log(np.abs(np.fft.rfft2(centred)) + 4).reshape(3, -1)
    np.testing.assert_allclose(frequencies(image, 4.0), expected, atol=1e-4)


def test_energies_of_a_cell_are_numpys():
    image = torch.rand(2, 3, 12, 16, generator=torch.Generator().manual_seed(0)) * 255
    got = energies(image).view(2, 5, 3, 3, 4)  # picture, difference, channel, cells
    pixel = image[1, 2].double().numpy()
    square = np.zeros((5, 16))
    for at, (i, j) in enumerate((i, j) for i in range(4, 8) for j in range(8, 12)):  # the cell (1, 2)
        bent = pixel[i, j - 1] - 2 * pixel[i, j] + pixel[i, j + 1]
        curled = pixel[i - 1, j] - 2 * pixel[i, j] + pixel[i + 1, j]
        across, down = pixel[i, j + 1] - pixel[i, j], pixel[i + 1, j] - pixel[i, j]
        square[:, at] = np.square([across, down, bent, curled, (bent + curled) / 4])
    np.testing.assert_allclose(got[1, :, 2, 1, 2], np.log(1 + square.mean(1)), rtol=1e-5)


def test_differences_beyond_the_border_count_as_none():
    ramp = torch.arange(8.0).expand(1, 1, 8, 8) * 10
    across, down, *bent = energies(ramp).view(5, 2, 2)
    assert_close(across, torch.tensor([[100.0, 75.0]] * 2).add(1).log())
    assert_close(torch.stack([down, *bent]), torch.zeros(4, 2, 2))


@pytest.mark.parametrize("shape", [(32, 32), (16, 16), (18, 10), (4, 4)])
def test_energies_have_five_numbers_for_each_whole_cell(shape):
    assert energies(torch.rand(3, 2, *shape)).shape == (3, 2 * 5 * (shape[0] // 4) * (shape[1] // 4))
    assert energies(torch.rand(0, 2, *shape)).shape == (0, 2 * 5 * (shape[0] // 4) * (shape[1] // 4))


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_smoothing_lowers_every_energy(colour):
    draw = np.random.default_rng(0)
    sharp = [draw.integers(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4)]
    smooth = [np.asarray(Image.fromarray(one).filter(ImageFilter.GaussianBlur(1))) for one in sharp]
    before, after = (embed(some, colour=colour, basis="energies").embedding for some in (sharp, smooth))
    assert bool((after < before).all())


def test_refuses_a_grid_too_small_for_a_cell():
    with pytest.raises(PlanError):
        embed(photographs(), grid=2, basis="energies")


def test_energies_do_not_see_brightness():
    dark = photographs()
    light = [one + 30 for one in dark]
    one, other = (embed(some, basis="energies").embedding for some in (dark, light))
    assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_a_patch_stands_where_it_was_put():
    clean = photographs(40, seed=1)
    marked = [one.copy() for one in clean]
    for one in marked:
        one[28:31, 28:31] = 255
    gap = (embed(marked).embedding - embed(clean).embedding).abs().mean(0).view(32, 32)
    corner = torch.zeros(32, 32, dtype=torch.bool)
    corner[28:31, 28:31] = True
    assert gap[corner].min() > 3 * gap[~corner].max()


def test_coarser_grids_average_and_keep_colour():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:16, :, 0] = 200  # the upper half is red
    red, green, _ = embed([picture], grid=8, colour="rgb").embedding.view(3, 8, 8)
    assert bool((red[:4] > red[4:].max()).all())
    assert_close(green, green[0, 0].expand(8, 8))


def test_digest_depends_on_settings_alone():
    digests = {fit(**view).digest for view in VIEWS}
    assert len(digests) == len(VIEWS)
    assert fit().digest == fit().digest
