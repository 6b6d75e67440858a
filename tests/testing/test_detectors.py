"""The battery lets a detector of somebody else pass, and says of a broken one what is broken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from foretaste.detectors.contract import Claim, Family, Unit
from foretaste.errors import DetectorError, NotApplicable
from foretaste.stats.significance import binomial_tail
from foretaste.testing import DETECTOR_CHECKS, DetectorUnderTest, check_detector
from foretaste.testing.worlds import clean
from foretaste.types.batch import GroupTests, Scores
from foretaste.types.findings import Kind


@dataclass(frozen=True)
class Contradicted:
    """Rows whose label a network that never saw them contradicts.

    most  share of rows that are contradicted in innocent classes
    """

    claim: ClassVar[Claim] = Claim(Kind.BACKDOOR, Family("contradiction"), Unit("contradicted", "contradicted rows"))

    most: float = 0.05

    def begin(self, schema):
        if not schema.probs or not schema.labelled:
            raise NotApplicable("needs labels and class probabilities")
        return Counting(self.most, schema.classes)

    def describe(self, group):
        return f"{group.counted} have contradicted labels, {group.evidence['contradicted']:.0f} in all"


@dataclass(frozen=True)
class Counts:
    rows: Tensor  # [K] int64
    contradicted: Tensor  # [K] int64


def contradicted(batch):
    """Which rows [B] have a label that is not the most probable one."""
    return (batch.prob.argmax(1) != batch.label) & (batch.label >= 0)


@dataclass(frozen=True)
class Counting:
    most: float
    classes: int

    def zero(self):
        return Counts(torch.zeros(self.classes, dtype=torch.int64), torch.zeros(self.classes, dtype=torch.int64))

    def reduce(self, state, batch):
        known, against = batch.label[batch.label >= 0], batch.label[contradicted(batch)]
        return Counts(
            state.rows + known.bincount(minlength=self.classes),
            state.contradicted + against.bincount(minlength=self.classes),
        )

    def merge(self, left, right):
        return Counts(left.rows + right.rows, left.contradicted + right.contradicted)

    def finish(self, state):
        p_value = binomial_tail(state.contradicted, state.rows, torch.full(state.rows.shape, self.most).double())
        return Contradiction(p_value.clamp(0, 1), state.contradicted)


@dataclass(frozen=True)
class Contradiction:
    p_value: Tensor  # [K]
    contradicted: Tensor  # [K]

    @property
    def groups(self):
        count = self.contradicted.double()
        return GroupTests(torch.arange(len(count)), count, self.p_value, {"contradicted": count})

    def score(self, batch):
        own = batch.prob.gather(1, batch.label.clamp_min(0)[:, None])[:, 0]
        against = contradicted(batch)
        return Scores(
            value=batch.prob.amax(1) - own,
            p_value=own.double(),
            posterior=torch.where(against, 1 - own, 0.0),
            group=batch.label,
        )


def test_a_plug_in_that_keeps_the_contract_passes():
    assert check_detector(Contradicted()) == {}


def test_what_a_check_raises_says_which_check_of_whom_it_was():
    with pytest.raises(AssertionError, match="must have a p-value below") as raised:
        check_detector(Contradicted(most=1e-4))
    assert raised.value.__notes__ == ["Contradicted: finds planted poison, random, seed 1"]


def step(**verbs):
    """The detector with other verbs of its aggregator: functions of the right one and what it is given."""

    class Broken(Contradicted):
        def begin(self, schema):
            right = Contradicted.begin(self, schema)
            names = ("zero", "reduce", "merge", "finish")
            held = {name: getattr(right, name) for name in names}
            return SimpleNamespace(
                **held | {name: lambda *given, verb=verb: verb(right, *given) for name, verb in verbs.items()}
            )

    return Broken()


def scorer(**changes):
    """The detector with a scorer that changes the groups, or the scores of a batch."""

    def finish(right, state):
        made = right.finish(state)
        groups, score = changes.get("groups", lambda one: one), changes.get("score", lambda one, _: one)
        return SimpleNamespace(groups=groups(made.groups), score=lambda batch: score(made.score(batch), batch))

    return step(finish=finish)


def told(words):
    """The detector with another description."""

    class Broken(Contradicted):
        def describe(self, group):
            return words.format(missing=float("nan"), who=group.who)

    return Broken()


def described(text):
    """The detector with another docstring."""
    return dataclass(frozen=True)(type("Broken", (Contradicted,), {"__doc__": text}))()


@dataclass
class Thawed:
    """One that can be changed after it was made."""

    claim: ClassVar[Claim] = Contradicted.claim


@dataclass(frozen=True)
class Claimless:
    """One that says nothing of what it finds."""


def in_place(right, state, batch):
    state.rows.add_(right.reduce(right.zero(), batch).rows)
    return right.reduce(replace(state, rows=state.rows.clone()), batch)


def refused_without_probabilities(right, state, batch):
    if batch.prob is None or not len(batch):
        raise ValueError("there is nothing to see")
    return right.reduce(state, batch)


def from_nothing(right, _state):
    return right.finish(right.zero())


class Careless(Contradicted):
    def begin(self, schema):
        return Counting(self.most, schema.classes)


def suspected(groups, label, p_value=1e-4):
    """The groups with another p-value for one class."""
    return replace(groups, p_value=torch.where(groups.label == label, p_value, groups.p_value))


BROKEN = {
    "is a frozen": [
        (Thawed(), "must be frozen"),
        (Claimless(), "must be a Claim, got None"),
        (described(None), "must have a docstring"),
        (described("Rows. And more."), "one sentence"),
    ],
    "answers the same however rows come, rows 41": [
        (step(reduce=lambda right, state, batch: right.reduce(state, batch[:7])), "groups depend on how rows come"),
    ],
    "scores a row alone": [
        (
            scorer(score=lambda scores, _: replace(scores, value=scores.value - scores.value.mean())),
            "row 0 alone scores otherwise than in a batch: value",
        ),
        (
            scorer(score=lambda scores, batch: replace(scores, evidence={"a": scores.value} if batch.row[0] else {})),
            "evidence is a and was none",
        ),
    ],
    "scores identical rows": [
        (scorer(score=lambda scores, _: replace(scores, value=scores.value + torch.arange(len(scores.value)))), None)
    ],
    "gives no scores": [
        (scorer(score=lambda scores, batch: scores if len(batch) else SimpleNamespace(value=torch.ones(1))), r"\(1,\)")
    ],
    "learns nothing from empty": [
        (
            step(reduce=lambda right, state, batch: replace(right.reduce(state, batch), rows=state.rows + 1)),
            "changes the groups",
        )
    ],
    "leaves its arguments": [(step(reduce=in_place), "changed its empty state: rows")],
    "merges": [
        (step(merge=lambda right, a, b: right.merge(right.merge(a, a), b)), "from the right than from the left"),
        (step(zero=lambda right: Counts(right.zero().rows + 1, right.zero().rows)), "takes zero for something"),
    ],
    "has states": [
        (step(zero=lambda _: 0, reduce=lambda *_: 0, merge=lambda *_: 0, finish=from_nothing), "a tensor or a frozen"),
        (step(finish=lambda *_: None), "NoneType is no Aggregator"),
    ],
    "finds planted poison, random, seed 0": [
        (scorer(groups=lambda groups: replace(groups, p_value=groups.p_value.clamp_min(0.5))), r"but \[\] have"),
        (scorer(groups=lambda groups: suspected(groups, 4)), r"but \[1, 4\] have"),
        (scorer(score=lambda scores, _: replace(scores, value=-scores.value)), "AUROC 0"),
    ],
    "leaves clean data alone, seed 1": [(scorer(groups=lambda groups: suspected(groups, 2)), "2: 0.0001")],
    "gives finite scores on odd data, missing labels": [
        (scorer(score=lambda scores, _: replace(scores, group=scores.group.abs())), "belong to no group"),
        (scorer(score=lambda scores, _: replace(scores, posterior=scores.posterior + 0.1)), "posterior of 0"),
        (scorer(score=lambda scores, _: replace(scores, p_value=scores.p_value - 1)), r"p_value must lie in \[0, 1\]"),
        (
            scorer(score=lambda scores, _: replace(scores, group=torch.where(scores.group > 0, 7, -1))),
            "groups 0 to 5 or to none",
        ),
    ],
    "suspects no class with nothing to see, a class of one": [
        (scorer(groups=lambda groups: suspected(groups, 3)), "a class of one must not be suspected")
    ],
    "suspects nobody where": [(scorer(groups=lambda groups: suspected(groups, 2)), "without any label nobody can be")],
    "has the evidence": [
        (scorer(groups=lambda groups: replace(groups, evidence={})), "counts 'contradicted', and the groups have noth"),
        (
            scorer(groups=lambda groups: replace(groups, evidence={"contradicted": groups.statistic / 0})),
            "must be finite",
        ),
    ],
    "describes": [
        (told(" "), "of class a nothing is said"),
        (told("{who}\nis odd"), "must be one line"),
        (told("{who} is {missing} times larger"), "must hold no number that is none"),
    ],
}


@pytest.mark.parametrize(
    ("check", "broken", "message"),
    [
        pytest.param(check, broken, message, id=f"{check}-{at}")
        for check, cases in BROKEN.items()
        for at, (broken, message) in enumerate(cases)
    ],
)
def test_what_is_broken_is_found_by_its_check(check, broken, message):
    name = next(name for name in DETECTOR_CHECKS if name.startswith(check))
    with pytest.raises(AssertionError, match=message):
        DETECTOR_CHECKS[name](DetectorUnderTest(broken))


def test_what_a_detector_raises_itself_comes_through():
    unfinite = scorer(score=lambda scores, _: replace(scores, value=scores.value / 0))
    with pytest.raises(DetectorError, match="not finite"):
        DETECTOR_CHECKS["gives finite scores on odd data, a constant column"](DetectorUnderTest(unfinite))
    with pytest.raises(ValueError, match="nothing to see"):
        DETECTOR_CHECKS["learns nothing from empty shards"](
            DetectorUnderTest(step(reduce=refused_without_probabilities))
        )
    with pytest.raises(AttributeError):
        DETECTOR_CHECKS["survives what data lacks, no probabilities"](DetectorUnderTest(Careless()))


def test_data_that_can_be_looked_at_must_not_be_called_inapplicable():
    def finish(_right, _state):
        raise NotApplicable("not today")

    it = DetectorUnderTest(step(finish=finish))
    with pytest.raises(AssertionError, match="data with missing labels must be looked at, got not applicable: not to"):
        DETECTOR_CHECKS["gives finite scores on odd data, missing labels"](it)
    DETECTOR_CHECKS["gives finite scores on odd data, only one class with rows"](it)


def test_groups_without_a_class_count_where_there_are_no_others():
    def whole(groups):
        least = groups.p_value.min()[None]
        return GroupTests(torch.tensor([-1]), torch.ones(1).double(), least, {"contradicted": torch.ones(1).double()})

    it = DetectorUnderTest(scorer(groups=whole))
    assert DETECTOR_CHECKS["finds planted poison, random, seed 0"](it) is None
    assert "no group of a class" in DETECTOR_CHECKS["suspects no class with nothing to see, an empty class"](it)
    nothing = DetectorUnderTest(scorer(groups=whole), lambda seed=0, **_: clean(seed))
    with pytest.raises(AssertionError):
        DETECTOR_CHECKS["finds planted poison, random, seed 0"](nothing)
