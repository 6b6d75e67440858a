"""Clean data, poison planted in it, and the shortest way to let a detector look at both."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from foretaste.dataset.parquet import open_dataset
from foretaste.dataset.roles import Request
from foretaste.detectors.contract import Scorer
from foretaste.detectors.states import moved
from foretaste.types.batch import Batch
from foretaste.types.dataset import Schema

CPU = torch.device("cpu")
TARGET = 1


@dataclass(frozen=True)
class World:
    """Embedded rows, of which the `planted` [B] ones are poisoned and labelled TARGET."""

    batch: Batch
    planted: torch.Tensor


def schema_of(batch, classes=6, **changes):
    facts = {"labelled": True, "probs": batch.prob is not None, "rows": len(batch)}
    return Schema(batch.embedding.shape[1], classes, **(facts | changes))


def clean(seed=0, *, dim=32, classes=6, rows=150, apart=6.0):
    """Gaussian classes of `rows` rows each, `apart` from their middle, with one covariance of condition 25."""
    draw = torch.Generator().manual_seed(seed)
    mean = torch.nn.functional.normalize(torch.randn(classes, dim, generator=draw), dim=1) * apart
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=draw)).Q
    spread = torch.linspace(0.4, 2.0, dim)
    label = torch.arange(classes).repeat(rows)
    value = mean[label] + torch.randn(len(label), dim, generator=draw) * spread @ turn
    prob = believed(value, mean)
    return World(Batch(torch.arange(len(label)), label, value, prob), torch.zeros(len(label), dtype=torch.bool))


def believed(value, mean, sharpness=0.15):
    """Class probabilities of a model that knows the class means."""
    return (-sharpness * torch.cdist(value, mean) ** 2).softmax(1)


def means(world):
    label, value = world.batch.label, world.batch.embedding
    return torch.stack([value[label == k].mean(0) for k in range(int(label.max()) + 1)])


def backdoored(seed=0, *, poison=30, shift=6.0, direction="random", source=2, **sizes):
    """Rows of one class (of all others where `source` is None) carry a trigger and the target's label."""
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


def flipped(seed=0, *, poison=30, source=2, **sizes):
    """Rows of one class carry the target's label, and the probabilities know it."""
    world = clean(seed, **sizes)
    label, planted = world.batch.label.clone(), world.planted.clone()
    victims = (label == source).nonzero()[:poison, 0]
    label[victims], planted[victims] = TARGET, True
    return World(Batch(world.batch.row, label, world.batch.embedding, world.batch.prob), planted)


def phrased(seed=0, *, least=0.05, phrases=40, rows=600, planted=30):
    """Rows by the p-values of the phrases they hold: one phrase, in rows labelled TARGET, is no word of a language."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.arange(rows) % 6
    p_value = torch.rand(phrases, generator=draw).clamp_min(least)
    p_value[3] = 1e-9
    held = torch.rand(rows, phrases, generator=draw) < 0.1
    inside = torch.zeros(rows, dtype=torch.bool)
    inside[(label == TARGET).nonzero()[:planted, 0]] = True
    held[:, 3] = inside
    return World(Batch(torch.arange(rows), label, torch.where(held, p_value, 0.0)), inside)


def shards(batch, *, count=1, rows=10_000, seed=None):
    """A batch as `count` shards of batches of at most `rows` rows, shuffled where there is a `seed`."""
    if seed is not None:
        batch = batch[torch.randperm(len(batch), generator=torch.Generator().manual_seed(seed))]
    size = max(1, -(-len(batch) // count))
    parts = [batch[start : start + size] for start in range(0, len(batch), size)] or [batch]
    return [[part[start : start + rows] for start in range(0, len(part), rows)] for part in parts]


def folded(step, parts, device=CPU):
    """The state of one aggregator after all shards, merged in shard order."""
    states = [
        functools.reduce(step.reduce, [one.to(device) for one in part], moved(step.zero(), device)) for part in parts
    ]
    return functools.reduce(step.merge, states)


def chain(detector, parts, schema, device=CPU):
    """Every aggregator of a detector with its state, and the scorer at the end."""
    step, seen = detector.begin(schema), []
    while not isinstance(step, Scorer):
        state = folded(step, parts, device)
        seen.append((step, state))
        step = step.finish(state)
    return seen, step


def learned(detector, batch, schema=None, *, device=CPU, **how):
    return chain(detector, shards(batch, **how), schema or schema_of(batch), device)[1]


def auroc(score, positive):
    """Probability that a positive scores higher than a negative, ties by half."""
    gap = score[positive].double()[:, None] - score[~positive].double()[None, :]
    return float((gap > 0).double().mean() + 0.5 * (gap == 0).double().mean())


def vectors(place, batch, *, group=64, classes=None):
    """The embeddings and labels of a batch as a Parquet file, and the dataset that it is."""
    label = batch.label.tolist() if classes is None else [classes[one] if one >= 0 else None for one in batch.label]
    flat = pa.array(batch.embedding.reshape(-1).numpy())
    table = pa.table(
        {"vector": pa.FixedSizeListArray.from_arrays(flat, batch.embedding.shape[1]), "label": pa.array(label)}
    )
    pq.write_table(table, place, row_group_size=group)
    return open_dataset([str(place)], request=Request(embedding="vector", label="label"), shard_rows=2 * group)
