"""The contract of detectors, as checks: one answer however rows come, poison found, clean data left alone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol, get_args

import torch
from safetensors.torch import load, save

from foretaste.detectors.contract import Aggregator, Claim, Detector, GroupFacts, Scorer, State
from foretaste.detectors.states import restored
from foretaste.errors import NotApplicable
from foretaste.testing.assertions import (
    Check,
    ensure,
    ensure_alike,
    ensure_close,
    ensure_same_state,
    run_all,
    taken_apart,
    varied,
)
from foretaste.testing.components import ensure_frozen_settings, ensure_one_sentence, ensure_strict_settings
from foretaste.testing.worlds import (
    CLASSES,
    TARGET,
    Direction,
    World,
    auroc,
    backdoored,
    chain,
    clean,
    folded,
    learned,
    schema_of,
    shards,
)
from foretaste.types.batch import Batch, Scores
from foretaste.types.dataset import Schema

SIGNIFICANT = 0.01  # the p-value below which a group is suspected
# How a dataset comes: in shards, in small batches, in another order.
CUTS = ({"count": 4}, {"rows": 41}, {"seed": 7}, {"count": 3, "rows": 17, "seed": 8})
CLASS_NAMES = tuple("abcdef")


class Poison(Protocol):
    """Makes what a detector must find, in class TARGET of CLASSES classes.

    `direction` is where a trigger moves its rows; a maker to which that means nothing takes it and ignores it.
    """

    def __call__(self, seed: int = 0, *, direction: Direction = "random") -> World: ...


@dataclass(frozen=True, eq=False)
class DetectorUnderTest:
    """A detector, and the poison that it must find.

    What it learns of the first world of `poison`, from one shard in one batch, is learned once for all checks.
    """

    detector: Detector
    poison: Poison = backdoored

    @cached_property
    def world(self) -> World:
        """The poisoned world whose answers are compared."""
        return self.poison(0)

    @cached_property
    def chain(self) -> tuple[list[tuple[Aggregator, State]], Scorer]:
        """Every aggregator with its state after that world, and the scorer at the end."""
        return chain(self.detector, shards(self.world.batch), schema_of(self.world.batch))

    @property
    def steps(self) -> list[tuple[Aggregator, State]]:
        """The aggregators with their states."""
        return self.chain[0]

    @property
    def scorer(self) -> Scorer:
        """What was learned."""
        return self.chain[1]


def check_detector(detector: Detector, *, poison: Poison = backdoored) -> dict[str, str]:
    """Run every check on a detector: why those that have nothing to look at in it do not apply, by name.

    `poison` makes what the detector must find; by default rows of another class that were all moved in one direction.

    Raises AssertionError where the contract is broken, and whatever the detector raises where it should not.
    """
    return run_all(DETECTOR_CHECKS, DetectorUnderTest(detector, poison), type(detector).__name__)


# What it is


def is_a_frozen_dataclass_that_says_what_it_claims(it: DetectorUnderTest) -> None:
    """Raises AssertionError unless the class is a frozen dataclass with a claim and a sentence about itself."""
    ensure_frozen_settings(it.detector)
    claim = getattr(it.detector, "claim", None)
    ensure(isinstance(claim, Claim), f"`claim` must be a Claim, got {claim!r}")
    ensure(it.detector.claim.family.name, "the family of the claim must have a name")
    ensure_one_sentence(type(it.detector))


def refuses_unknown_settings(it: DetectorUnderTest) -> None:
    """Raises AssertionError unless a plan that sets what does not exist is refused with the nearest that does."""
    ensure_strict_settings(type(it.detector))


# One answer, however rows come


def answers_the_same_however_rows_come(it: DetectorUnderTest, **cut: int) -> None:
    """Raises AssertionError where groups or scores depend on shards, batches or order; `cut` as in `shards`."""
    batch = it.world.batch
    other = learned(it.detector, batch, count=cut.get("count", 1), rows=cut.get("rows", 10_000), seed=cut.get("seed"))
    ensure_alike(other.groups, it.scorer.groups, "the groups depend on how rows come")
    ensure_alike(other.score(batch), it.scorer.score(batch), "the scores depend on how rows come")


def scores_a_row_alone_as_in_any_batch(it: DetectorUnderTest) -> None:
    """Raises AssertionError where the scores of a row depend on the other rows of its batch."""
    batch = it.world.batch
    together = it.scorer.score(batch)
    for row in range(0, len(batch), 53):
        at = slice(row, row + 1)
        evidence = {name: value[at] for name, value in together.evidence.items()}
        within = Scores(together.value[at], together.p_value[at], together.posterior[at], together.group[at], evidence)
        ensure_alike(it.scorer.score(batch[at]), within, f"row {row} alone scores otherwise than in a batch")


def scores_identical_rows_the_same(it: DetectorUnderTest) -> None:
    """Raises AssertionError where a row that comes twice has two scores."""
    value = it.scorer.score(it.world.batch[torch.tensor([3, 4, 5, 3, 4, 5])]).value
    ensure_close(value[3:], value[:3], "identical rows score differently")


def gives_no_scores_for_no_rows(it: DetectorUnderTest) -> None:
    """Raises AssertionError where a batch without rows is not scored as such."""
    value = it.scorer.score(it.world.batch[:0]).value
    ensure(value.shape == (0,), f"a batch without rows must have no scores, got {tuple(value.shape)}")


def learns_nothing_from_empty_shards(it: DetectorUnderTest) -> None:
    """Raises AssertionError where shards or batches without rows change what is learned."""
    batch = it.world.batch
    step: Aggregator | Scorer = it.detector.begin(schema_of(batch))
    while not isinstance(step, Scorer):
        step = step.finish(folded(step, [[], [batch], [batch[:0]], []]))
    ensure_alike(step.groups, it.scorer.groups, "a shard without rows changes the groups")


# The algebra of states


def leaves_its_arguments_alone(it: DetectorUnderTest) -> None:
    """Raises AssertionError where `reduce`, `merge` or `finish` change a state that they were given."""
    batch = it.world.batch
    half = len(batch) // 2
    for step, _ in it.steps:
        zero = step.zero()
        empty = _snapshot(zero)
        left, right = step.reduce(zero, batch[:half]), step.reduce(step.zero(), batch[half:])
        kept = _snapshot(left), _snapshot(right)
        step.reduce(left, batch[:9])
        step.merge(zero, left)  # two merged into an empty one must not fill it, nor share memory with it
        step.merge(step.merge(zero, left), right)
        step.finish(step.merge(left, right))
        who = type(step).__name__
        ensure_same_state(zero, empty, f"{who} changed its empty state", rtol=0, atol=0)
        for state, before in zip((left, right), kept, strict=True):
            ensure_same_state(state, before, f"{who} changed a state it was given", rtol=0, atol=0)


def merges_in_any_grouping_with_zero_as_nothing(it: DetectorUnderTest) -> None:
    """Raises AssertionError unless `merge` is associative and `zero` its identity on either side."""
    parts = [part[0] for part in shards(it.world.batch, count=3)]
    for step, _ in it.steps:
        who = type(step).__name__
        a, b, c = (step.reduce(step.zero(), part) for part in parts)
        ensure_same_state(
            step.merge(a, step.merge(b, c)),
            step.merge(step.merge(a, b), c),
            f"{who} merges otherwise from the right than from the left",
            rtol=1e-9,
            atol=1e-9,
        )
        for merged in (step.merge(step.zero(), a), step.merge(a, step.zero())):
            ensure_same_state(merged, a, f"{who} takes zero for something", rtol=1e-12, atol=1e-12)


def has_states_that_can_be_stored(it: DetectorUnderTest) -> str | None:
    """Raises AssertionError where a state comes back from a file as another, or leads to another scorer."""
    if not it.steps:
        return "it sweeps over nothing"
    back: State = None
    for step, state in it.steps:
        who = type(step).__name__
        back = restored(state, load(save(taken_apart(state))))
        ensure(type(back) is type(state), f"{who}: a {type(state).__name__} came back as {type(back).__name__}")
        ensure_same_state(back, state, f"the state of {who} came back as another", rtol=0, atol=0)
    after = it.steps[-1][0].finish(back)
    if not isinstance(after, Scorer):
        raise AssertionError(f"a stored state led to a {type(after).__name__} instead of a scorer")
    ensure_alike(after.groups, it.scorer.groups, "a stored state led to other groups", rtol=0, atol=0)
    return None


# What it finds


def finds_planted_poison(it: DetectorUnderTest, *, seed: int, direction: Direction) -> None:
    """Raises AssertionError unless the planted rows score above the rest of their class, which alone is suspected."""
    world = it.poison(seed, direction=direction)
    scorer = learned(it.detector, world.batch)
    inside = world.batch.label == TARGET
    found = auroc(scorer.score(world.batch).value[inside], world.planted[inside])
    ensure(found > 0.95, f"planted rows must score above the rest of their class: AUROC {found:.3f}, not over 0.95")
    of_class = scorer.groups.label >= 0
    if not bool(of_class.any()):
        least = scorer.groups.p_value.min()
        ensure(least < SIGNIFICANT, f"a group must have a p-value below {SIGNIFICANT}, the least is {least:.2g}")
        return
    label, p_value = scorer.groups.label[of_class], scorer.groups.p_value[of_class]
    suspected = sorted(set(label[p_value < SIGNIFICANT].tolist()))
    ensure(
        suspected == [TARGET],
        f"of all classes {TARGET}, which is poisoned, must have a p-value below {SIGNIFICANT}, but {suspected} have; "
        f"they are {_listed(label, p_value)}",
    )


def leaves_clean_data_alone(it: DetectorUnderTest, *, seed: int) -> None:
    """Raises AssertionError where a group of clean data is suspected."""
    groups = learned(it.detector, clean(seed).batch).groups
    ensure(
        (groups.p_value > SIGNIFICANT).all(),
        f"clean data must leave every p-value above {SIGNIFICANT}; they are {_listed(groups.label, groups.p_value)}",
    )


# Data as it comes


ODD: Mapping[str, Callable[[Batch], Batch]] = {
    "an empty class": lambda world: world[world.label != 3],
    "a class of one": lambda world: world[(world.label != 3) | (world.row == world.row[world.label == 3][0])],
    "a class of identical rows": lambda world: replace(
        world, embedding=torch.where(world.label[:, None] == 3, world.embedding[0], world.embedding)
    ),
    "a constant column": lambda world: replace(
        world, embedding=torch.where(torch.arange(world.embedding.shape[1]) == 5, 7.0, world.embedding)
    ),
    "a large offset": lambda world: replace(world, embedding=world.embedding + 1e4),
    "missing labels": lambda world: replace(
        world, label=torch.where(torch.arange(len(world)) % 7 == 0, -1, world.label)
    ),
    "only one class with rows": lambda world: world[world.label == 1],
}
NOTHING_TO_SEE = ("an empty class", "a class of one", "a class of identical rows")  # in class 3


def gives_finite_scores_on_odd_data(it: DetectorUnderTest, *, odd: str) -> None:
    """Raises AssertionError where scores on `odd` data are no scores, depend on batches, or accuse unlabelled rows.

    Only where a single class has rows may the detector say that it does not apply.
    """
    batch = ODD[odd](clean(3, rows=60).batch)
    try:
        scorer, other = learned(it.detector, batch), learned(it.detector, batch, count=3, rows=19, seed=2)
    except NotApplicable as error:
        if odd == "only one class with rows":
            return
        raise AssertionError(f"data with {odd} must be looked at, got not applicable: {error}") from error
    scores, unlabelled = scorer.score(batch), batch.label < 0
    # Scores and GroupTests themselves refuse what is not finite.
    ensure(scores.value.shape == batch.label.shape, f"{len(batch)} rows must have as many scores")
    ensure((scores.group[unlabelled] == -1).all(), "a row without a label must belong to no group")
    ensure((scores.posterior[unlabelled] == 0).all(), "a row without a label must have a posterior of 0")
    for name, column in (("p_value", scores.p_value), ("posterior", scores.posterior)):
        ensure(((column >= 0) & (column <= 1)).all(), f"{name} must lie in [0, 1], got {_span(column)}")
    count = len(scorer.groups.label)
    ensure(
        ((scores.group >= -1) & (scores.group < count)).all(),
        f"rows belong to groups 0 to {count - 1} or to none, got {_span(scores.group)}",
    )
    ensure_alike(other.groups, scorer.groups, f"with {odd} the groups depend on how rows come", rtol=0.02, atol=1e-3)
    if odd != "a class of identical rows":  # there the rounding of a mean is all that tells rows apart
        what = f"with {odd} the scores depend on how rows come"
        ensure_alike(other.score(batch), scores, what, rtol=0.02, atol=1e-3)


def suspects_no_class_with_nothing_to_see(it: DetectorUnderTest, *, odd: str) -> str | None:
    """Raises AssertionError where a class without rows, of one row or of identical rows is suspected."""
    groups = learned(it.detector, ODD[odd](clean(3, rows=60).batch)).groups
    p_value = groups.p_value[groups.label == 3]
    if not len(p_value):
        return f"it has no group of a class like {odd}"
    ensure((p_value > SIGNIFICANT).all(), f"{odd} must not be suspected, and has a p-value of {p_value.min():.2g}")
    return None


LACKING: Mapping[str, Mapping[str, Any]] = {
    "one class": {"classes": 1, "labelled": False, "probs": False},
    "no probabilities": {"probs": False},
    "few rows": {"rows": 5},
}


def survives_what_data_lacks(it: DetectorUnderTest, *, lack: str) -> None:
    """Raises whatever the detector raises but NotApplicable, on data with one class, without probabilities or rows."""
    schema = replace(Schema(dim=32, classes=CLASSES, labelled=True, probs=True, rows=900), **LACKING[lack])
    batch = clean(rows=min(150, schema.rows)).batch[: schema.rows]
    if not schema.probs:
        batch = replace(batch, prob=None)
    if schema.classes == 1:
        batch = replace(batch, label=torch.zeros_like(batch.label))
    with contextlib.suppress(NotApplicable):
        learned(it.detector, batch, schema).score(batch)


def suspects_nobody_where_rows_or_labels_are_absent(it: DetectorUnderTest) -> None:
    """Raises AssertionError where a group is suspected though every label is missing, or every row."""
    world = clean().batch
    unlabelled = replace(world, label=torch.full_like(world.label, -1))
    for what, batch in (("without any label", unlabelled), ("without any row", world[:0])):
        try:
            scorer = learned(it.detector, batch, schema_of(world))
        except NotApplicable:
            continue
        p_value = scorer.groups.p_value
        ensure((p_value > SIGNIFICANT).all(), f"{what} nobody can be suspected, and a group has {p_value.min():.2g}")
        scorer.score(batch)


# What it says of groups


def has_the_evidence_it_is_drawn_by(it: DetectorUnderTest) -> None:
    """Raises AssertionError unless the groups have the evidence that the claim's unit names, finite numbers."""
    unit, evidence = it.detector.claim.unit.evidence, it.scorer.groups.evidence
    if unit:
        ensure(unit in evidence, f"the claim counts {unit!r}, and the groups have {', '.join(evidence) or 'nothing'}")
        ensure(evidence[unit].isfinite().all(), f"{unit!r} of the groups must be finite, got {evidence[unit].tolist()}")


def describes_every_group(it: DetectorUnderTest) -> str | None:
    """Raises AssertionError unless `describe` says one sentence on one line of every group, with no number missing."""
    if not len(it.scorer.groups.label):
        return "it tests no groups"
    for facts in facts_of(it.scorer):
        told = it.detector.describe(facts)
        ensure(isinstance(told, str) and told.strip(), f"of {facts.who} nothing is said, got {told!r}")
        ensure("\n" not in told, f"what is said of {facts.who} must be one line, got {told!r}")
        ensure(
            not re.search(r"\b(nan|inf)\b", told, re.IGNORECASE),
            f"what is said of {facts.who} must hold no number that is none, got {told!r}",
        )
    return None


def facts_of(scorer: Scorer) -> Iterator[GroupFacts]:
    """Every group as a run tries it, with no row accused yet, and as a report puts it: of rows that were.

    Both of prompts with responses and of rows that are none.
    """
    groups = scorer.groups
    evidence = {name: value.double().tolist() for name, value in groups.evidence.items()}
    for at, label in enumerate(groups.label.tolist()):
        for rows, views in ((0, ""), (12, "grey32, rgb16")):
            for answered in (False, True):
                yield GroupFacts(
                    rows=rows,
                    of=150,
                    label=CLASS_NAMES[label] if label >= 0 else None,
                    views=views,
                    evidence={name: value[at] for name, value in evidence.items()},
                    classes=CLASS_NAMES,
                    answered=answered,
                )


def _snapshot(state: State) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in taken_apart(state).items()}


def _listed(label: torch.Tensor, p_value: torch.Tensor) -> str:
    return ", ".join(f"{at}: {p:.2g}" for at, p in zip(label.tolist(), p_value.tolist(), strict=True)) or "none"


def _span(column: torch.Tensor) -> str:
    return f"{column.min().item():.3g} to {column.max().item():.3g}" if len(column) else "none"


DETECTOR_CHECKS: Mapping[str, Check[DetectorUnderTest]] = {
    **varied(is_a_frozen_dataclass_that_says_what_it_claims),
    **varied(refuses_unknown_settings),
    **varied(answers_the_same_however_rows_come, *CUTS),
    **varied(scores_a_row_alone_as_in_any_batch),
    **varied(scores_identical_rows_the_same),
    **varied(gives_no_scores_for_no_rows),
    **varied(learns_nothing_from_empty_shards),
    **varied(leaves_its_arguments_alone),
    **varied(merges_in_any_grouping_with_zero_as_nothing),
    **varied(has_states_that_can_be_stored),
    **varied(
        finds_planted_poison,
        *({"direction": direction, "seed": seed} for direction in get_args(Direction) for seed in range(2)),
    ),
    **varied(leaves_clean_data_alone, *({"seed": seed} for seed in range(3))),
    **varied(gives_finite_scores_on_odd_data, *({"odd": odd} for odd in ODD)),
    **varied(suspects_no_class_with_nothing_to_see, *({"odd": odd} for odd in NOTHING_TO_SEE)),
    **varied(survives_what_data_lacks, *({"lack": lack} for lack in LACKING)),
    **varied(suspects_nobody_where_rows_or_labels_are_absent),
    **varied(has_the_evidence_it_is_drawn_by),
    **varied(describes_every_group),
}
