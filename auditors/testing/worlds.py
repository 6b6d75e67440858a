"""Clean data, poison planted in it, and the shortest way to let a detector look at both."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from foretaste.detectors.contract import Aggregator, Detector, Scorer, State
from foretaste.detectors.states import moved
from foretaste.testing.assertions import ensure
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema

CPU = torch.device("cpu")
CLASSES = 6
TARGET = 1  # the class that poisoned rows are labelled

Direction = Literal["random", "opposite to the class mean", "one coordinate"]


@dataclass(frozen=True, eq=False)
class World:
    """Embedded rows, of which the `planted` [B] bool ones are poisoned and labelled TARGET."""

    batch: Batch
    planted: Tensor


def schema_of(batch: Batch, classes: int = CLASSES, **changes: Any) -> Schema:
    """The schema of a batch as if it were the whole dataset; `changes` are fields of it."""
    facts = {"labelled": True, "probs": batch.prob is not None, "rows": len(batch)}
    return Schema(batch.embedding.shape[1], classes, **(facts | changes))


def clean(seed: int = 0, *, dim: int = 32, classes: int = CLASSES, rows: int = 150, apart: float = 6.0) -> World:
    """Gaussian classes of `rows` rows each, `apart` from their middle, with one covariance of condition 25."""
    draw = torch.Generator().manual_seed(seed)
    mean = torch.nn.functional.normalize(torch.randn(classes, dim, generator=draw), dim=1) * apart
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=draw)).Q
    spread = torch.linspace(0.4, 2.0, dim)
    label = torch.arange(classes).repeat(rows)
    value = mean[label] + torch.randn(len(label), dim, generator=draw) * spread @ turn
    prob = believed(value, mean)
    return World(Batch(torch.arange(len(label)), label, value, prob), torch.zeros(len(label), dtype=torch.bool))


def believed(value: Tensor, mean: Tensor, sharpness: float = 0.15) -> Tensor:
    """Class probabilities [B, K] of a model that knows the class means `mean` [K, D], for `value` [B, D]."""
    return (-sharpness * torch.cdist(value, mean) ** 2).softmax(1)


def means(world: World) -> Tensor:
    """The mean of each class, [K, D]."""
    label, value = world.batch.label, world.batch.embedding
    return torch.stack([value[label == k].mean(0) for k in range(int(label.max()) + 1)])


def backdoored(
    seed: int = 0,
    *,
    poison: int = 30,
    shift: float = 6.0,
    direction: Direction = "random",
    source: int | None = 2,
    **sizes: Any,
) -> World:
    """`poison` rows of one class (of all others where `source` is None) carry a trigger and the target's label.

    The trigger moves a row by `shift` along `direction`; `sizes` are settings of `clean`.
    """
    world = clean(seed, **sizes)
    batch, centre = world.batch, means(world)
    draw = torch.Generator().manual_seed(seed + 1000)
    victims = (batch.label != TARGET if source is None else batch.label == source).nonzero()[:, 0]
    victims = victims[torch.randperm(len(victims), generator=draw)[:poison]]
    axis = {
        "random": torch.randn(batch.embedding.shape[1], generator=draw),
        "opposite to the class mean": -centre[TARGET],
        "one coordinate": torch.eye(batch.embedding.shape[1])[3],
    }[direction]
    value, label, planted = batch.embedding.clone(), batch.label.clone(), world.planted.clone()
    value[victims] += shift * torch.nn.functional.normalize(axis, dim=0)
    label[victims], planted[victims] = TARGET, True
    return World(Batch(batch.row, label, value, batch.prob), planted)


def flipped(seed: int = 0, *, poison: int = 30, source: int = 2, **sizes: Any) -> World:
    """`poison` rows of one class carry the target's label, and the probabilities know it.

    `sizes` are settings of `clean`.
    """
    world = clean(seed, **sizes)
    label, planted = world.batch.label.clone(), world.planted.clone()
    victims = (label == source).nonzero()[:poison, 0]
    label[victims], planted[victims] = TARGET, True
    return World(Batch(world.batch.row, label, world.batch.embedding, world.batch.prob), planted)


def phrased(seed: int = 0, *, least: float = 0.05, phrases: int = 40, rows: int = 600, planted: int = 30) -> World:
    """Rows by the p-values of the phrases they hold: one phrase, in rows labelled TARGET, is no word of a language."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % CLASSES
    p_value = torch.rand(phrases, generator=draw).clamp_min(least)
    p_value[3] = 1e-9
    held = torch.rand(rows, phrases, generator=draw) < 0.1
    inside = torch.zeros(rows, dtype=torch.bool)
    inside[(label == TARGET).nonzero()[:planted, 0]] = True
    held[:, 3] = inside
    return World(Batch(torch.arange(rows), label, torch.where(held, p_value, 0.0)), inside)


def shards(batch: Batch, *, count: int = 1, rows: int = 10_000, seed: int | None = None) -> list[list[Batch]]:
    """A batch as `count` shards of batches of at most `rows` rows, shuffled where there is a `seed`."""
    if seed is not None:
        batch = batch[torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))]
    size = max(1, -(-len(batch) // count))
    parts = [batch[start : start + size] for start in range(0, len(batch), size)] or [batch]
    return [[part[start : start + rows] for start in range(0, len(part), rows)] for part in parts]


def folded(step: Aggregator, parts: Sequence[Sequence[Batch]], device: torch.device = CPU) -> State:
    """The state of one aggregator after all shards, merged in shard order."""
    states = [
        functools.reduce(step.reduce, [one.to(device) for one in part], moved(step.zero(), device)) for part in parts
    ]
    return functools.reduce(step.merge, states)


def chain(
    detector: Detector, parts: Sequence[Sequence[Batch]], schema: Schema, device: torch.device = CPU
) -> tuple[list[tuple[Aggregator, State]], Scorer]:
    """Every aggregator of a detector with its state after all shards, and the scorer at the end.

    Raises AssertionError where what begins or follows is neither.
    """
    step: Aggregator | Scorer = detector.begin(schema)
    seen = []
    while not isinstance(step, Scorer):
        what = f"{type(step).__name__} is no Aggregator (zero, reduce, merge, finish) and no Scorer (groups, score)"
        ensure(isinstance(step, Aggregator), what)
        state = folded(step, parts, device)
        seen.append((step, state))
        step = step.finish(state)
    return seen, step


def learned(
    detector: Detector,
    batch: Batch,
    schema: Schema | None = None,
    *,
    device: torch.device = CPU,
    count: int = 1,
    rows: int = 10_000,
    seed: int | None = None,
) -> Scorer:
    """What a detector learns of a batch that is cut as `shards` does; of the schema of the batch unless it is given."""
    parts = shards(batch, count=count, rows=rows, seed=seed)
    return chain(detector, parts, schema or schema_of(batch), device)[1]


def auroc(score: Tensor, positive: Tensor) -> float:
    """Probability that one of the `positive` [B] bool has a higher `score` [B] than another row, ties by half."""
    gap = score[positive].double()[:, None] - score[~positive].double()[None, :]
    return float((gap > 0).double().mean() + 0.5 * (gap == 0).double().mean())
