"""Whatever a detector or embedder does wrong, its run fails, the others go on, and nothing is called clean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from worlds import TARGET, World, backdoored, vectors

from foretaste import audit
from foretaste.dataset.roles import Request
from foretaste.detectors.contract import DETECTORS, Claim, Family, Unit
from foretaste.embedders.contract import EMBEDDERS
from foretaste.errors import NotApplicable
from foretaste.pipeline import plan
from foretaste.types.batch import Batch, GroupTests
from foretaste.types.dataset import Modality
from foretaste.types.findings import Kind, Status, Verdict

VERBS = ("begin", "zero", "reduce", "finish", "groups", "nan", "unit", "describe", "score")
ERROR: dict[str, Exception] = {}


@dataclass(frozen=True)
class Breaking:
    """A detector that breaks at one of its verbs, and is its own aggregator and scorer."""

    at: str = ""
    done: bool = False

    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, Family("broken"), Unit("odd", "oddities"))

    def _maybe(self, verb):
        if verb == self.at:
            raise ERROR.get("raise", ValueError("odd"))

    def begin(self, schema):
        del schema
        self._maybe("begin")
        return Sweeping(self.at)

    def describe(self, group):
        return f"{group.counted} are odd: {group.evidence['never said' if self.at == 'describe' else 'odd']}"


@dataclass(frozen=True)
class Sum:
    rows: torch.Tensor


class Sweeping(Breaking):
    def zero(self):
        self._maybe("zero")
        return Sum(torch.zeros(1))

    def reduce(self, state, batch):
        self._maybe("reduce")
        return Sum(state.rows + len(batch))

    def merge(self, left, right):
        return Sum(left.rows + right.rows)

    def finish(self, state):
        del state
        self._maybe("finish")
        return Scoring(self.at)


class Scoring(Breaking):
    @property
    def groups(self):
        self._maybe("groups")
        p_value = torch.tensor([torch.nan if self.at == "nan" else 1.0])
        evidence = {} if self.at == "unit" else {"odd": torch.ones(1)}
        return GroupTests(torch.tensor([0]), torch.zeros(1), p_value, evidence)

    def score(self, batch):
        self._maybe("score")
        raise AssertionError(len(batch))


@pytest.fixture
def dataset(tmp_path):
    vectors(tmp_path / "train.parquet", backdoored(0, rows=60, poison=24).batch, group=100)
    return str(tmp_path / "train.parquet")


def audited(dataset, tmp_path, chosen):
    request = Request(embedding="vector", label="label")
    return audit(dataset, request=request, plan=plan.parse(chosen), out=str(tmp_path / "audit"))


@pytest.mark.parametrize("verb", VERBS)
def test_a_detector_that_breaks_fails_its_run_alone(dataset, tmp_path, monkeypatch, verb):
    monkeypatch.setitem(DETECTORS.components, "breaking", Breaking)
    chosen = {"embedders": {"column": {}}, "detectors": {"breaking": {"at": verb}, "spectral-signature": {}}}
    report = audited(dataset, tmp_path, chosen)
    broken, good = report.runs
    assert broken.status is Status.FAILED
    assert broken.reason
    assert good.status is Status.COMPLETED
    assert report.verdict is Verdict.FAILED
    assert any(group.kind is Kind.BACKDOOR and group.label == "1" for group in report.groups)


@pytest.mark.parametrize("verb", ["begin", "finish"])
def test_what_does_not_apply_is_said_and_never_clean(dataset, tmp_path, monkeypatch, verb):
    monkeypatch.setitem(DETECTORS.components, "breaking", Breaking)
    monkeypatch.setitem(ERROR, "raise", NotApplicable("nothing to see"))
    report = audited(dataset, tmp_path, {"embedders": {"column": {}}, "detectors": {"breaking": {"at": verb}}})
    (run,) = report.runs
    assert (run.status, run.reason) == (Status.NOT_APPLICABLE, "nothing to see")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "nothing can be said" in report.reason


@dataclass(frozen=True)
class Crashing:
    """An embedder that crashes."""

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.EMBEDDING})
    plain: ClassVar[bool] = False

    def fit(self, payloads, dataset, device):
        raise RuntimeError(f"no weights for {dataset.rows} rows of {payloads} on {device}")


@dataclass(frozen=True)
class Folding:
    """An embedder that cross-fits and tells which rows it was to keep together, and otherwise believes in nothing."""

    modalities: ClassVar[frozenset[Modality]] = frozenset({Modality.EMBEDDING})
    plain: ClassVar[bool] = False
    told: ClassVar[list[torch.Tensor]] = []

    def fit(self, payloads, dataset, device):
        raise AssertionError(f"{payloads}, {dataset} and {device} without groups")

    def fit_folded(self, payloads, dataset, device, groups):
        del payloads, device
        self.told.append(groups)
        return Unsure(len(dataset.classes))


@dataclass(frozen=True)
class Unsure:
    classes: int
    dim: int = 1
    digest: str = "unsure"

    def embed(self, payload):
        even = torch.full((len(payload), self.classes), 1 / self.classes)
        return Batch(payload.row, payload.label, torch.zeros(len(payload), 1), even)


def also_elsewhere(world, label, *, rows, seed=3):
    """The world in which a few rows of another class lie farther out in the way of the planted ones, and which."""
    value = world.batch.embedding.clone()
    way = value[world.planted].mean(0) - value[(world.batch.label == TARGET) & ~world.planted].mean(0)
    inside = (world.batch.label == label).nonzero()[:, 0]
    some = inside[torch.randperm(len(inside), generator=torch.Generator().manual_seed(seed))[:rows]]
    value[some] += 1.5 * way
    return World(Batch(world.batch.row, world.batch.label, value), world.planted), some


def held_together(world, tmp_path, monkeypatch, **decide):
    """The audit's report, and which rows were to be kept together."""
    vectors(tmp_path / "train.parquet", world.batch, group=100)
    monkeypatch.setitem(EMBEDDERS.components, "folding", Folding)
    monkeypatch.setattr(Folding, "told", [])
    chosen = {
        "embedders": {"column": {}, "folding": {}},
        "detectors": {"spectral-signature": {"on": ["column"]}, "doubted-signature": {"on": ["column"]}},
        "decide": {"beliefs": "folding", **decide},
    }
    report = audited(str(tmp_path / "train.parquet"), tmp_path, chosen)
    (together,) = Folding.told
    assert len(together) == len(world.planted)
    return report, together


def test_rows_that_chance_may_make_are_not_held_out_together(tmp_path, monkeypatch):
    world = backdoored(0, rows=80, poison=24)
    report, together = held_together(world, tmp_path, monkeypatch, fdr=1e-31, watch=1e-30)
    assert report.verdict is Verdict.PASSED
    assert together.tolist() == [-1] * len(together)


def test_rows_that_stand_apart_in_what_the_beliefs_are_made_of_are_not_held_out_together(tmp_path, monkeypatch):
    monkeypatch.setattr(EMBEDDERS["column"], "parts", frozenset({"folding"}), raising=False)
    world = backdoored(0, rows=80, poison=24)
    report, together = held_together(world, tmp_path, monkeypatch)
    assert report.verdict is Verdict.FAILED
    assert together.tolist() == [-1] * len(together)


def test_rows_that_stand_apart_are_judged_by_beliefs_that_saw_none_of_them(tmp_path, monkeypatch):
    world = backdoored(0, rows=80, poison=24)
    report, together = held_together(world, tmp_path, monkeypatch)
    mine = together[world.planted]
    number = mine.mode().values
    assert int(number) >= 0
    assert float((mine == number).double().mean()) > 0.9
    assert int(((together == number) & ~world.planted).sum()) <= 2
    for one in together[together >= 0].unique():
        assert len(world.batch.label[together == one].unique()) == 1
    assert {run.detector: run.status for run in report.runs}["spectral-signature"] is Status.COMPLETED
    assert any(group.label == "1" for group in report.groups)


def test_rows_of_other_classes_that_lie_as_far_out_are_held_out_with_them(tmp_path, monkeypatch):
    """A model that saw these and none of the class would take all rows of the class for theirs."""
    world, also = also_elsewhere(backdoored(0, rows=200, poison=24), 4, rows=3)
    report, together = held_together(world, tmp_path, monkeypatch)
    number = together[world.planted].mode().values
    assert int(number) >= 0
    assert together[also].tolist() == [int(number)] * len(also)
    assert int(((together == number) & ~world.planted).sum()) <= len(also) + 2
    assert any(group.label == "1" for group in report.groups)


def test_an_embedder_that_breaks_fails_the_runs_on_it(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(EMBEDDERS.components, "crashing", Crashing)
    chosen = {"embedders": {"column": {}, "crashing": {}}, "detectors": {"spectral-signature": {}}}
    report = audited(dataset, tmp_path, chosen)
    statuses = {run.embedder: run.status for run in report.runs}
    assert statuses == {"column": Status.COMPLETED, "crashing": Status.FAILED}
    assert report.verdict is Verdict.FAILED
