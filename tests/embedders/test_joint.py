"""Joint: what pixels and patches say, side by side and in one unit."""

import pytest
import torch
from embedders.test_patches import ROLES, payload, pictures
from torch.testing import assert_close

from foretaste.embedders.joint import Joint
from foretaste.embedders.patches import Patches
from foretaste.embedders.pixels import Pixels
from foretaste.errors import NotApplicable, PlanError
from foretaste.types.dataset import Dataset, File
from foretaste.types.digests import Digest

CPU = torch.device("cpu")


def dataset(one):
    counts = one.label.clamp_min(0).bincount(minlength=2).tolist()
    files = (File("f", "f", len(one), 0, Digest("a", "b")),)
    return Dataset("", files, (), ROLES, ("0", "1"), tuple(counts), Digest("a", "b"))


def test_both_views_are_there_in_one_unit():
    given = payload(*pictures())
    encoder = Joint(grid=16, colour="rgb", filters=6, seed=3).fit([given], dataset(given), CPU)
    found = encoder.embed(given)
    assert found.embedding.shape == (len(given), 3 * 16 * 16 + 12) == (len(given), encoder.dim)
    alone = [
        one.fit([given], dataset(given), CPU).embed(given).embedding
        for one in (Pixels(grid=16, colour="rgb"), Patches(filters=6, seed=3))
    ]
    for part, whole in zip(found.embedding.split([768, 12], 1), alone, strict=True):
        assert_close((part - part.mean(0)).square().mean(), torch.tensor(1.0), rtol=1e-3, atol=0)
        assert_close(part / part.norm(), whole / whole.norm(), rtol=1e-4, atol=1e-6)
    assert found.prob is None  # it is no witness of labels, and can look before there are any


def test_units_come_from_rows_that_can_be_read():
    image, label = pictures()
    broken, given = payload([b"no picture"] * 3, [0, 1, 0]), payload(image, label, first=3)
    encoder = Joint(filters=6).fit([broken, given], dataset(given), CPU)
    assert encoder.unit == Joint(filters=6).fit([given], dataset(given), CPU).unit
    assert len(encoder.embed(broken)) == 0


def test_without_labels_it_does_not_apply():
    given = payload(pictures()[0], [-1] * 90)
    with pytest.raises(NotApplicable, match="label"):
        Joint(filters=6).fit([given], dataset(given), CPU)


@pytest.mark.parametrize("wrong", [{"filters": 0}, {"size": 1}, {"size": 17}])
def test_settings_that_cut_no_patch_are_refused(wrong):
    with pytest.raises(PlanError, match="joint needs a filter"):
        Joint(**wrong)
