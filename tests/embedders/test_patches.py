"""Patches: filters, responses and ridge as other code computes them, and no row judged by a classifier that saw it."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from places import DATA
from sklearn.linear_model import Ridge
from sklearn.metrics import log_loss
from torch.nn.functional import adaptive_avg_pool2d
from torch.testing import assert_close

from foretaste.dataset.parquet import open_dataset, payloads
from foretaste.dataset.payload import Payload
from foretaste.embedders.patches import Patches, Totals, scale, solved
from foretaste.errors import NotApplicable, PlanError
from foretaste.image.random_patches import PatchBank, dictionary, fold_key, quadrants, responses, sample
from foretaste.types.dataset import Dataset, File, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")
ROLES = Roles(Modality.IMAGE, ("image",), "label")
KIND = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
TINY = {"filters": 6, "size": 4, "folds": 3}

BANK = PatchBank()


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


@cache
def pictures(count=90, seed=0):
    """Stripes of two directions, by class, in noise: [count, 32, 32, 3], and the classes."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, count)
    down, across = np.mgrid[:32, :32]
    stripes = np.stack([across // 3 % 2, down // 3 % 2])[label] * 60
    return (stripes[..., None] + draw.integers(0, 120, (count, 32, 32, 3))).astype(np.uint8), label


def payload(image, label, first=0):
    cells = [{"bytes": one if isinstance(one, bytes) else png(one), "path": None} for one in image]
    row = torch.arange(first, first + len(cells))
    return Payload(row, torch.from_numpy(np.array(label)), {"image": pa.array(cells, KIND)}, ROLES, "f, row group 0")


@cache
def given():
    return payload(*pictures())


def fit(*parts, device=CPU, groups=None, **settings):
    counts = torch.cat([one.label[one.label >= 0] for one in parts]).bincount(minlength=2).tolist()
    classes, rows = tuple(map(str, range(len(counts)))), sum(map(len, parts))
    files = (File("f", "f", rows, 0, Digest("a", "b")),)
    dataset = Dataset("", files, (), ROLES, classes, tuple(counts), Digest("a", "b"))
    patches = Patches(**(TINY | settings))
    return patches.fit(parts, dataset, device) if groups is None else patches.fit_folded(parts, dataset, device, groups)


@cache
def fitted(**settings):
    return fit(given(), **settings)


def colour(count, seed=0):
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def random_bank(filters=5, size=6, seed=0):
    bank = torch.randn(filters, 3, size, size, generator=torch.Generator().manual_seed(seed))
    bank = bank - bank.mean((1, 2, 3), keepdim=True)
    return bank / bank.flatten(1).norm(dim=1)[:, None, None, None]


# The parts, as other code computes them


@pytest.mark.parametrize("size", [2, 5, 6, 16])
def test_responses_are_those_of_every_patch_on_its_own(size, device):
    image, bank = colour(20), random_bank(size=size)
    image[1], image[2, :, :9, :20] = 200, 0  # an empty picture, and an empty corner
    window = sliding_window_view(image.double().numpy() / 255, (size, size), axis=(2, 3))  # [B, 3, H, W, size, size]
    patch = window.transpose(0, 2, 3, 1, 4, 5).reshape(20, 33 - size, 33 - size, -1)
    plain = (patch - patch.mean(-1, keepdims=True)) / np.sqrt(patch.var(-1, keepdims=True, ddof=1) + BANK.quiet)
    found = plain @ bank.flatten(1).double().numpy().T
    shrunk = np.sign(found) * np.maximum(np.abs(found) - BANK.shrink, 0)
    side, half = 33 - size, (33 - size + 1) // 2
    places = [(i, j) for i in (slice(0, half), slice(side - half, side)) for j in (slice(0, half), slice(-half, side))]
    expected = np.stack([value[:, i, j].mean((1, 2)) for value in (shrunk, np.abs(shrunk)) for i, j in places], 1)
    got = responses(image.to(device), bank.to(device), BANK).cpu()
    loose = 1e-4 if device == CPU else 5e-3  # CUDA's convolutions round to 10 bits by default
    np.testing.assert_allclose(got, expected.reshape(20, -1), atol=loose)
    assert_close(got[1], torch.zeros(got.shape[1]))


@pytest.mark.parametrize("side", [17, 26, 27, 31])
def test_quadrants_are_pooled_as_torch_pools_them(side):
    value = torch.rand(3, 7, side, side)
    pooled = quadrants(side) @ value.flatten(2).transpose(1, 2)  # [3, 4, 7]
    assert_close(pooled.transpose(1, 2).unflatten(2, (2, 2)), adaptive_avg_pool2d(value, 2))


def test_no_pictures_have_no_responses():
    assert responses(colour(0), random_bank(), BANK).shape == (0, 2 * 4 * 5)


def test_filters_do_not_see_brightness_and_depend_on_the_seed():
    image = colour(40)
    one, same, other = (
        dictionary(image, replace(BANK, patches=2000), filters=7, size=4, seed=seed) for seed in (0, 0, 1)
    )
    assert one.shape == (7, 3, 4, 4)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert_close(one.flatten(1).mean(1), torch.zeros(7), atol=1e-6, rtol=0)


def test_filters_are_patches_freed_of_what_patches_have_in_common():
    """On smooth pictures neighbouring pixels agree; whitened filters respond about alike to all directions."""
    image = torch.nn.functional.interpolate(colour(60)[:, :, :8, :8].float(), size=(32, 32), mode="bilinear").byte()
    plain = dictionary(image, replace(BANK, patches=4000), filters=200, size=4, seed=0).flatten(1).double()
    window = sliding_window_view(image.double().numpy() / 255, (4, 4), axis=(2, 3))
    patch = torch.from_numpy(window.transpose(0, 2, 3, 1, 4, 5).reshape(-1, 48).copy())
    patch = (patch - patch.mean(1, keepdim=True)) / (patch.var(1, keepdim=True) + BANK.quiet).sqrt()
    value, vector = torch.linalg.eigh(torch.cov(patch.T))
    # In the whitened space filters are of unit length: filter @ inverse whitener, but for its own mean.
    length = (plain @ (vector * (value.clamp_min(0) + 0.1).sqrt()) @ vector.T).norm(dim=1)
    assert float((length - 1).abs().max()) < 0.1


def test_the_classifier_is_scikit_learns_ridge_without_the_fold_held_out():
    draw = np.random.default_rng(0)
    fold, label = draw.integers(0, 3, 240), draw.integers(0, 4, 240)
    value = draw.normal(size=(240, 12)) * draw.uniform(0.1, 3, 12) + draw.normal(size=12) + 0.3 * label[:, None]
    totals = []
    for k in range(3):
        mine = fold == k
        parts = np.array_split(np.flatnonzero(mine), 2)
        one, two = (Totals.of(torch.tensor(value[p]).float(), torch.tensor(label[p]), 4) for p in parts)
        totals.append(Totals.zero(12, 4, CPU) + one + two)
    for k, penalty in ((0, 0.01), (1, 0.5), (2, 10.0)):
        weight, offset = solved(totals, without=k, penalty=penalty)
        seen = fold != k
        mean, spread = value[seen].mean(0), value[seen].std(0)
        ridge = Ridge(alpha=penalty * seen.sum()).fit((value[seen] - mean) / spread, np.eye(4)[label[seen]])
        np.testing.assert_allclose(
            value @ weight.double().numpy() + offset.double().numpy(),
            ridge.predict((value - mean) / spread),
            atol=1e-4,
        )


def test_a_response_that_is_the_same_everywhere_is_no_harm():
    value = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    value[:, 2], value[:, 3] = 0, 0.75
    label = (value[:, 0] > 0).long()
    half = Totals.of(value[:50], label[:50], 2), Totals.of(value[50:], label[50:], 2)
    weight, offset = solved(list(half), without=0, penalty=0.01)
    assert bool(weight.isfinite().all())
    assert float(((value @ weight + offset).argmax(1) == label).float().mean()) > 0.9


def test_responses_that_hardly_differ_are_no_harm():
    draw = torch.Generator().manual_seed(0)
    value = 0.7 + 1e-4 * torch.randn(200, 40, generator=draw)
    label = torch.randint(2, (200,), generator=draw)
    half = [Totals.of(value[:100], label[:100], 2), Totals.of(value[100:], label[100:], 2)]
    weight, _ = solved(half, without=0, penalty=0.01)
    assert bool(weight.isfinite().all())


def test_logits_are_scaled_to_the_least_log_loss():
    draw = np.random.default_rng(0)
    logit, label = draw.normal(size=(300, 3)), draw.integers(0, 3, 300)
    logit[np.arange(300), label] += 1.0
    grid = np.logspace(-1, 2, 61)
    power = [np.exp(0.2 * logit * at) for at in grid]
    loss = [log_loss(label, one / one.sum(1, keepdims=True)) for one in power]
    found = scale(torch.from_numpy(0.2 * logit), torch.from_numpy(label))
    assert found == pytest.approx(grid[np.argmin(loss)], rel=1e-4)
    assert 1 < found < 100


def test_the_sample_is_the_same_however_rows_are_cut():
    image, label = pictures()
    order = np.random.default_rng(0).permutation(90)
    whole = sample([given()], 30)
    parts = sample([payload(image[at], label[at]) for at in np.array_split(order, 4)], 30)
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)
    assert torch.equal(whole[2], fold_key(given().images(32)[0]).sort().values[:30])


# The embedder


def test_the_embedding_is_the_mean_response_of_the_picture_as_it_is():
    encoder, image = fitted(), given().images(32)[0]
    signed, strength = responses(image, encoder.bank, BANK).view(90, 2, 4, 6).mean(2).unbind(1)
    batch = encoder.embed(given())
    assert batch.embedding.shape == (90, encoder.dim) == (90, 12)
    assert_close(batch.embedding, torch.cat([signed, (strength + BANK.faint).log()], 1), rtol=1e-4, atol=1e-5)


def test_a_pattern_counts_wherever_it_sits():
    empty = torch.zeros(3, 3, 32, 32, dtype=torch.uint8)
    mark = colour(1)[0, :, :3, :3]
    for one, (top, left) in zip(empty, [(6, 6), (7, 9), (20, 21)], strict=True):
        one[:, top : top + 3, left : left + 3] = mark
    here, near, far = fitted().logits(empty)[0]
    assert_close(here, near, rtol=1e-4, atol=1e-4)
    assert_close(here, far, rtol=1e-4, atol=1e-4)
    quiet = fitted().logits(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))[0][0]
    assert float((here - quiet).abs().max()) > 0.5


def test_mirror_images_are_judged_alike():
    image = given().images(32)[0][:8]
    for mirrored in (True, False):
        encoder = fitted(mirrored=mirrored)
        one, other = encoder.logits(image)[1], encoder.logits(image.flip(3))[1]
        assert torch.allclose(one, other, atol=1e-5) == mirrored


def test_probabilities_sum_to_one_and_are_those_of_the_row_s_own_fold():
    image, label = pictures()
    doubtful = np.where(np.random.default_rng(2).random(90) < 0.25, 1 - label, label)  # or all were certain
    encoder = fit(payload(image, doubtful))
    batch, every = encoder.embed(payload(image, doubtful)), encoder.logits(given().images(32)[0])[1]
    own = every[torch.arange(90), fold_key(given().images(32)[0]) % 3]
    assert_close(batch.prob.sum(1), torch.ones(90))
    assert_close(batch.prob, (encoder.scale * own).softmax(1), rtol=1e-4, atol=1e-5)
    assert 0.6 < float(batch.prob.max(1).values.mean()) < 0.95
    grid = np.logspace(-1, 2, 61)
    loss = [log_loss(doubtful, (own.double() * at).softmax(1)) for at in grid]
    assert encoder.scale == pytest.approx(grid[np.argmin(loss)], rel=1e-4)


@pytest.mark.parametrize("rows", [1000, 45])
def test_each_fold_is_judged_by_a_ridge_over_the_sampled_rows_of_the_others(rows):
    encoder, image = fitted(mirrored=False, rows=rows), given().images(32)[0]
    key, label = fold_key(image), pictures()[1]
    value = responses(image, encoder.bank, BANK).double().numpy()
    for k in range(3):
        used = ((key % 3 != k) & (key < 2**62 * min(1.0, rows / 90))).numpy()
        assert 20 < used.sum() < (90 if rows > 90 else 60)
        mean, spread = value[used].mean(0), value[used].std(0)
        ridge = Ridge(alpha=0.01 * used.sum()).fit((value[used] - mean) / spread, np.eye(2)[label[used]])
        got = encoder.logits(image)[1][:, k]
        np.testing.assert_allclose(got, ridge.predict((value - mean) / spread), atol=2e-3)


def test_a_row_s_label_has_no_say_in_its_own_probability():
    image, label = pictures()
    fold = fold_key(given().images(32)[0]) % 3
    for row in (0, 41):
        changed = label.copy()
        changed[row] = 1 - label[row]
        one, other = fitted(), fit(payload(image, changed))
        mine, others = int(fold[row]), [k for k in range(3) if k != int(fold[row])]
        assert torch.equal(one.bank, other.bank)
        assert torch.equal(one.weight[mine], other.weight[mine])
        assert torch.equal(one.offset[mine], other.offset[mine])
        assert all(float((one.weight[k] - other.weight[k]).abs().max()) > 1e-4 for k in others)
        alike = replace(other, scale=one.scale)  # of all that is learned from labels, only the scale sees its own
        assert_close(one.embed(given()).prob[row], alike.embed(given()).prob[row])


def together(*groups):
    out = torch.full((90,), -1)
    for number, rows in enumerate(groups):
        out[rows] = number
    return out


def test_rows_kept_together_are_judged_by_a_model_that_saw_none_of_them():
    image, label = pictures()
    rows, others = torch.arange(0, 24, 2), torch.arange(25, 40)
    groups = together(rows, others)
    changed = label.copy()
    changed[rows] = 1 - label[rows]
    one, other = fit(given(), groups=groups), fit(payload(image, changed), groups=groups)
    assert set(one.folds.of(fold_key(given().images(32)[0]))[rows].tolist()) == {0}
    assert set(one.folds.of(fold_key(given().images(32)[0]))[others].tolist()) == {1}
    alike = replace(other, scale=one.scale)
    assert_close(one.embed(given()).prob[rows], alike.embed(given()).prob[rows])
    apart = fit(payload(image, changed))  # each in a fold of its own they speak for each other
    alike = replace(apart, scale=one.scale)
    assert float((fitted().embed(given()).prob - alike.embed(given()).prob)[rows].abs().max()) > 0.01


def test_without_groups_every_row_is_in_the_fold_of_its_content():
    plain, none = fitted(), fit(given(), groups=together())
    assert plain.digest == none.digest
    assert plain.digest != fit(given(), groups=together(torch.arange(5))).digest
    key = fold_key(given().images(32)[0])
    assert torch.equal(plain.folds.of(key), key % 3)


def test_a_copy_goes_where_its_twin_is_kept():
    image, label = pictures()
    twice = payload(np.concatenate([image, image[:, :, ::-1]]), np.concatenate([label, label]))
    groups = torch.cat([together(torch.arange(0, 20)), together()])
    encoder = fit(twice, groups=groups)
    fold = encoder.folds.of(fold_key(twice.images(32)[0]))
    assert torch.equal(fold[90:], fold[:90])
    assert set(fold[:20].tolist()) == {0}


def test_copies_share_a_fold_so_nobody_has_seen_their_twin():
    image, label = pictures()
    batch = fit(payload(np.concatenate([image, image]), np.concatenate([label, 1 - label]))).embed(
        payload(np.concatenate([image, image]), np.concatenate([label, label]))
    )
    assert_close(batch.prob[90:], batch.prob[:90])


def test_a_mirrored_copy_tells_nothing_of_a_row_s_label():
    image, label = pictures(60)[0], np.random.default_rng(1).integers(0, 2, 60)
    both = payload(np.concatenate([image, image[:, :, ::-1]]), np.concatenate([label, label]))
    prob = fit(both, filters=40).embed(both).prob
    assert 0.4 < float(prob[torch.arange(120), both.label].mean()) < 0.6


def test_probabilities_are_honest_about_labels_that_cannot_be_known():
    image, _ = pictures()
    label = np.random.default_rng(5).integers(0, 2, 90)
    prob = fit(payload(image, label)).embed(payload(image, label)).prob
    assert 0.4 < float(prob[torch.arange(90), torch.from_numpy(label)].mean()) < 0.6


@cache
def digits():
    dataset = open_dataset([str(DATA / "digits.parquet")])
    return dataset, list(payloads(dataset, rows=1000))


def test_digits_are_told_apart_by_classifiers_that_never_saw_them():
    dataset, parts = digits()
    encoder = Patches(filters=40, rows=800).fit(parts, dataset, CPU)
    batch = encoder.embed(parts[0])
    assert batch.prob.shape == (len(parts[0]), 10)
    assert float((batch.prob.argmax(1) == batch.label).float().mean()) > 0.9
    confidence = batch.prob.max(1).values
    assert abs(float(confidence.mean()) - float((batch.prob.argmax(1) == batch.label).float().mean())) < 0.06


def test_the_fit_does_not_depend_on_order_or_sharding():
    image, label = pictures()
    order = np.random.default_rng(1).permutation(90)
    other = fit(*[payload(image[at], label[at]) for at in np.array_split(order, 5)])
    one, two = (encoder.embed(given()) for encoder in (fitted(), other))
    assert_close(one.embedding, two.embedding, rtol=1e-4, atol=1e-4)
    assert_close(one.prob, two.prob, rtol=1e-4, atol=1e-4)


def test_rows_without_a_label_are_embedded_but_not_learned_from():
    image, label = pictures()
    label = label.copy()
    label[::5] = -1
    known = label >= 0
    whole, part = fit(payload(image, label)), fit(payload(image[known], label[known]))
    assert torch.equal(whole.bank, part.bank)
    assert_close(whole.weight, part.weight, rtol=1e-3, atol=1e-4)
    batch = whole.embed(payload(image, label))
    assert len(batch) == 90
    assert bool(batch.prob.isfinite().all())


def test_pictures_that_do_not_decode_are_left_out_even_if_all_are():
    image, label = pictures()
    rows = payload([b"no picture", *image[1:]], label)
    batch = fit(rows).embed(rows)
    assert batch.row.tolist() == list(range(1, 90))
    none = fitted().embed(payload([b"no", b"picture"], [0, 1]))
    assert none.embedding.shape == (0, fitted().dim)
    assert none.prob.shape == (0, 2)


@pytest.mark.parametrize("lost", ["labels", "pictures"])
def test_a_row_group_without_anything_to_learn_from_is_passed_over(lost):
    image, label = pictures()
    idle = payload(image[:20], [-1] * 20) if lost == "labels" else payload([b"no picture"] * 20, label[:20])
    busy = payload(image[20:], label[20:], 20)
    assert_close(fit(idle, busy).weight, fit(busy).weight, rtol=1e-3, atol=1e-4)


def test_a_dataset_of_copies_is_no_reason_to_break():
    image, label = pictures()
    same = np.repeat(image[:1], 90, 0)
    same[::7, 3, 3] = 255  # two pictures that differ in a pixel
    prob = fit(payload(same, label)).embed(payload(same, label)).prob
    assert bool(prob.isfinite().all())


def test_pictures_of_nothing_are_embedded_all_the_same():
    image, label = pictures()
    image = image.copy()
    image[:20], image[20:30] = 0, 255
    batch = fit(payload(image, label)).embed(payload(image, label))
    assert bool(batch.embedding.isfinite().all())
    assert bool(batch.prob.isfinite().all())


def test_another_device_gives_nearly_the_same(device):
    one, other = (fit(given(), device=at).embed(given()) for at in (CPU, device))
    assert other.embedding.device == other.prob.device == CPU
    assert_close(one.embedding, other.embedding, rtol=1e-2, atol=1e-2)
    assert_close(one.prob, other.prob, rtol=5e-2, atol=5e-2)


def test_the_settings_and_the_rows_decide_the_digest():
    image, label = pictures()
    changes = [{}, {"seed": 1}, {"filters": 7}, {"size": 5}, {"folds": 2}, {"penalty": 0.1}, {"mirrored": False}]
    digests = [fitted(**change).digest for change in changes]
    digests += [fit(payload(image, 1 - label)).digest, fit(payload(*pictures(seed=1))).digest]
    assert len(set(digests)) == len(digests)
    assert fit(payload(image, label)).digest == digests[0]
    one = fitted()
    assert replace(one, scale=one.scale * 2).digest != one.digest


def test_the_users_own_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit(given())
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    "change",
    [{"filters": 0}, {"size": 1}, {"size": 17}, {"folds": 1}, {"rows": 0}, {"penalty": 0.0}, {"penalty": -1.0}],
    ids=str,
)
def test_refuses_settings_that_cannot_be(change):
    with pytest.raises(PlanError, match=f"patches need .*{next(iter(change.values()))}"):
        Patches(**change)


def test_says_where_it_does_not_apply():
    image, label = pictures()
    with pytest.raises(NotApplicable, match="two classes"):
        fit(payload(image, np.zeros(90, dtype=np.int64)))
    with pytest.raises(NotApplicable, match="two classes"):
        Patches().fit([given()], Dataset("", (), (), ROLES, (), (), Digest("a", "b")), CPU)
    with pytest.raises(NotApplicable, match="3 folds need at least 30 readable rows, got 29"):
        fit(payload(image[:29], label[:29]))
    with pytest.raises(NotApplicable, match="got 0"):
        fit(payload([b"none"] * 40, label[:40]))
