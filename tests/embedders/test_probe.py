"""The probe: folds by content, one fit for any order, and no row judged by a network that saw it."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch.testing import assert_close
from worlds import auroc

from foretaste.dataset.payload import Payload
from foretaste.embedders import probe
from foretaste.embedders.contract import EMBEDDERS
from foretaste.embedders.probe import Probe, gather
from foretaste.errors import NotApplicable
from foretaste.stats.sampling import content_key
from foretaste.types.dataset import Dataset, Modality, Roles
from foretaste.types.digests import Digest

CPU = torch.device("cpu")
EMBEDDERS.scan()  # the probe reads what another embedder makes of the rows
ROLES = Roles(Modality.EMBEDDING, ("vector",), "label")
TINY = {"width": 8, "epochs": 2}


def rows(count=200, seed=0, classes=2):
    """Vectors, of which the first coordinate tells the class."""
    draw = np.random.default_rng(seed)
    label = draw.integers(0, classes, count)
    value = draw.normal(size=(count, 6)).astype("f4")
    value[:, 0] += 4 * label
    return value, label


def payload(value, label, first=0):
    column = pa.FixedSizeListArray.from_arrays(pa.array(value.reshape(-1)), value.shape[1])
    row = torch.arange(first, first + len(label))
    return Payload(row, torch.from_numpy(np.asarray(label)), {"vector": column}, ROLES, "f, row group 0")


def pictures(count=120, seed=0):
    draw = np.random.default_rng(seed)
    label = draw.integers(0, 2, count)
    cells = []
    for one in label:
        file = io.BytesIO()
        Image.fromarray((draw.integers(0, 128, (8, 8, 3)) + 100 * one).astype(np.uint8)).save(file, "PNG")
        cells.append({"bytes": file.getvalue(), "path": None})
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    roles = Roles(Modality.IMAGE, ("image",), "label")
    return Payload(torch.arange(count), torch.from_numpy(label), {"image": pa.array(cells, kind)}, roles, "f, group 0")


def fit(*payloads, device=CPU, **settings):
    counts = torch.cat([one.label[one.label >= 0] for one in payloads]).bincount(minlength=2).tolist()
    classes = tuple(map(str, range(len(counts))))
    dataset = Dataset("", (), (), payloads[0].roles, classes, tuple(counts), Digest("a", "b"))
    return Probe(**(TINY | settings)).fit(payloads, dataset, device)


def test_the_fit_does_not_depend_on_order_or_sharding():
    value, label = rows()
    whole = fit(payload(value, label))
    order = np.random.default_rng(1).permutation(200)
    other = fit(*[payload(value[at], label[at]) for at in np.array_split(order, 7)])
    assert other.digest == whole.digest
    one, two = (encoder.embed(payload(value, label)) for encoder in (whole, other))
    assert torch.equal(one.embedding, two.embedding)
    assert torch.equal(one.prob, two.prob)


def test_only_the_sample_by_content_is_trained_on_and_all_rows_are_embedded():
    value, label = rows(400)
    order = np.random.default_rng(2).permutation(400)
    some = [fit(payload(value[at], label[at]), rows=120) for at in (np.arange(400), order)]
    assert some[0].digest == some[1].digest != fit(payload(value, label)).digest
    assert len(some[0].embed(payload(value, label))) == 400
    key, kept, _ = gather([payload(value[at], label[at]) for at in np.array_split(order, 9)], some[0].base, 120)
    assert torch.equal(key, content_key(torch.from_numpy(value)).sort().values[:120])
    assert torch.equal(content_key(kept), key)


@pytest.mark.parametrize("folds", [2, 3])
def test_no_row_is_judged_by_a_network_that_saw_it(folds, monkeypatch):
    seen = []
    train = probe.train
    monkeypatch.setattr(
        probe,
        "train",
        lambda network, value, *rest, **more: (seen.append(content_key(value)), train(network, value, *rest, **more))[
            1
        ],
    )
    value, label = rows()
    encoder = fit(payload(value, label), folds=folds)
    key = content_key(torch.from_numpy(value))
    batch = encoder.embed(payload(value, label))
    for held_out, network in enumerate(encoder.networks):
        mine = key % folds == held_out
        assert not bool(torch.isin(key[mine], seen[held_out]).any())
        assert bool(torch.isin(key[~mine], seen[held_out]).all())
        with torch.inference_mode():
            expected = (network(torch.from_numpy(value)[mine])[1] / encoder.temperature).softmax(1)
        assert_close(batch.prob[mine], expected, rtol=1e-4, atol=1e-5)


def test_copies_share_a_fold_so_nobody_has_seen_their_twin():
    value, label = rows(200)
    value[100:] = value[:100]
    batch = fit(payload(value, label)).embed(payload(value, label))
    assert_close(batch.prob[100:], batch.prob[:100])


def test_probabilities_are_honest_about_labels_that_cannot_be_known():
    """Random labels are learned by heart; out of fold nothing of it may show."""
    draw = np.random.default_rng(0)
    value, label = draw.normal(size=(300, 6)).astype("f4"), draw.integers(0, 2, 300)
    batch = fit(payload(value, label), epochs=20, width=64, rate=0.03).embed(payload(value, label))
    own = batch.prob[torch.arange(300), batch.label]
    assert 0.4 < float(own.mean()) < 0.6
    assert abs(auroc(batch.prob[:, 1], batch.label == 1) - 0.5) < 0.12


def test_probabilities_know_what_can_be_known():
    value, label = rows(400)
    batch = fit(payload(value, label), epochs=12).embed(payload(value, label))
    assert batch.prob.shape == (400, 2)
    assert_close(batch.prob.sum(1), torch.ones(400))
    assert auroc(batch.prob[:, 1], batch.label == 1) > 0.97
    assert batch.embedding.shape == (400, 16)


def test_rows_without_a_label_are_embedded_but_not_trained_on():
    value, label = rows(240)
    label[::4] = -1
    known = label >= 0
    whole, part = fit(payload(value, label)), fit(payload(value[known], label[known]))
    assert whole.digest == part.digest
    assert len(whole.embed(payload(value, label))) == 240


def test_pictures_train_a_convolutional_network(device):
    data = pictures()
    encoder = fit(data, device=device, epochs=1)
    batch = encoder.embed(data)
    assert batch.embedding.shape == (120, 16)
    assert batch.embedding.device == CPU
    assert bool(batch.prob.isfinite().all())
    if device == CPU:
        assert fit(pictures(), epochs=1).digest == encoder.digest


def test_pictures_that_do_not_decode_are_left_out_even_if_all_are():
    data = pictures()
    encoder = fit(data, epochs=1)
    cells = pa.array([{"bytes": b"no picture", "path": None}] * 3, data.columns["image"].type)
    broken = Payload(data.row[:3], data.label[:3], {"image": cells}, data.roles, "f, row group 0")
    batch = encoder.embed(broken)
    assert batch.embedding.shape == (0, encoder.dim)
    assert batch.prob.shape == (0, 2)


def test_another_device_gives_nearly_the_same(device):
    value, label = rows(300)
    one, other = (fit(payload(value, label), device=at, epochs=12).embed(payload(value, label)) for at in (CPU, device))
    # Training amplifies the order of sums, dropout is drawn elsewhere: what was learned agrees, weights need not.
    assert (one.prob.argmax(1) == other.prob.argmax(1)).float().mean() > 0.95


def test_the_seed_and_the_rows_decide_the_digest():
    value, label = rows()
    digests = {
        fit(payload(value, label)).digest,
        fit(payload(value, label), seed=1).digest,
        fit(payload(value, label), folds=3, rows=10_000).digest,
        fit(payload(*rows(seed=1))).digest,
        fit(payload(value, 1 - label)).digest,
    }
    assert len(digests) == 5


def test_the_users_own_random_numbers_are_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    fit(payload(*rows()))
    assert torch.equal(torch.rand(2), expected)


def test_says_where_it_does_not_apply():
    value, label = rows()
    with pytest.raises(NotApplicable, match="two classes"):
        fit(payload(value, np.zeros(200, dtype=np.int64)))
    with pytest.raises(NotApplicable, match="at least 100 rows, got 99"):
        fit(payload(value[:99], label[:99]))
