"""Rows that stand apart alike share a fold, so that no model judges one of them having seen another.

Few rows with a pattern of their own teach a model their label. What it then says of them is no witness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from foretaste.decide import significance
from foretaste.decide.natural_clusters import Candidate
from foretaste.detectors.contract import SeparatesRows
from foretaste.embedders.contract import Composite, Encoder, EstimatesClasses, GroupedCrossFit
from foretaste.embedders.store import read_shard, stored
from foretaste.pipeline.decision import neighbour_shares, tests
from foretaste.pipeline.engine import Job, over_shards
from foretaste.pipeline.fit import Encoders, embed, fitted, train
from foretaste.pipeline.sweep import Swept, attempt, begin, finish
from foretaste.types.dataset import Dataset, Shard
from foretaste.types.runs import Outcome, RunKey


def encode(job: Job) -> tuple[dict[str, Encoder | Outcome], dict[int, str], Swept]:
    """Fit all embedders and store all embeddings; the rows that cannot be read, and the runs that went before.

    The folds of the embedder whose probabilities are the beliefs wait for what the others' vectors show, if it is one
    that cross-fits in groups.
    """
    plan = job.plan
    waiting = [
        name
        for name, (_, one) in plan.embedders.items()
        if name == plan.decide.beliefs and isinstance(one, GroupedCrossFit)
    ]
    encoders = train(job, [name for name in plan.embedders if name not in waiting])
    seen = Swept({}, {}, {})
    if waiting:
        embed(job, encoders)
        seen = first_look(job, encoders)
        encoders |= train(job, waiting, fold_groups(job, seen, encoders))
    return encoders, embed(job, encoders), seen


def first_look(job: Job, encoders: Encoders) -> Swept:
    """Sweep for the runs that can do without class probabilities and say which rows stand apart most.

    None of them looks at what the beliefs are made of: rows that stand apart there are a kind of content that a
    model has to have seen, and would doubt once they are held out.
    """
    kind, _ = job.plan.embedders[job.plan.decide.beliefs]

    def apart(name: str) -> bool:
        settings = job.plan.embedders[name][1]
        return not (isinstance(settings, Composite) and kind in settings.parts)

    plain = {
        name: one for name, one in fitted(encoders).items() if not isinstance(one, EstimatesClasses) and apart(name)
    }
    live, _ = begin(job, plain, believed=False)
    swept = finish(job, live, "split", beliefs="")
    scorers = {run: one for run, one in swept.scorers.items() if isinstance(one, SeparatesRows)}
    return Swept(scorers, {}, {run: swept.seconds[run] for run in scorers})


class Apart(NamedTuple):
    """Rows that stand apart, and those of other classes that lie as far out in the same way."""

    label: int
    p_value: float
    rows: Tensor
    alike: Tensor


def fold_groups(job: Job, seen: Swept, encoders: Encoders) -> Tensor:
    """The rows that stand apart, in groups by run and class [N] int64; -1 is none.

    What chance makes, and natural clusters, are none: a model that saw none of them would doubt them for no better
    reason, and clean datasets would fail. For the same reason rows of other classes that lie as far out in the same way
    go with a group: a model that has seen red lorries, but no red car, takes every red car for a lorry.
    A row that several runs mean is in the group that is the least likely by chance, a row of another class in its own.
    """
    met = standing_apart(job, seen)
    near = neighbour_shares(
        job, {at: Candidate(one.label, tuple(one.rows.tolist())) for at, one in enumerate(met)}, encoders
    )
    natural = job.plan.decide.natural
    kept = [one for at, one in enumerate(met) if at not in near or not near[at].natural(natural)]
    kept.sort(key=lambda one: -one.p_value)
    number = torch.full((job.dataset.rows,), -1)
    for at, one in enumerate(kept):
        number[one.alike] = at
    for at, one in enumerate(kept):
        number[one.rows] = at
    return number


def standing_apart(job: Job, seen: Swept) -> list[Apart]:
    """The rows that stand apart in classes that all runs together (Simes) find worth a look (`watch`).

    Each class counts by itself: nobody is accused yet.
    """
    watch = job.plan.decide.watch
    scorers = {run: one for run, one in seen.scorers.items() if isinstance(one, SeparatesRows)}
    tested = significance.significance(tests(job.plan, scorers), job.plan.decide)
    odd = significance.jointly(tested, "label").filter(pl.col("p_class") <= watch).select("label")
    odd = tested.filter(pl.col("label") >= 0, pl.col("p_value") <= watch).join(
        odd, on="label", how="semi", maintain_order="left"
    )
    meant = {run: odd.filter(pl.col("detector") == run.check, pl.col("embedder") == run.embedder) for run in scorers}
    groups = {run: one["group"].to_list() for run, one in meant.items() if len(one)}
    place: dict[str, Any] = {"dataset": job.dataset, "folder": job.store, "device": job.device}
    work = partial(apart_shard, scorers=scorers, groups=groups, **place)
    parts: dict[RunKey, list[Tensor]] = {run: [] for run in groups}
    for shard in over_shards(job, "fold", work) if groups else ():
        for run, found in shard.items():
            parts[run].append(found)
    met = []
    for run, some in parts.items():
        row, group, label = torch.cat(some).unbind(1)
        for at, (known, p_value) in enumerate(meant[run].select("label", "p_value").iter_rows()):
            there, own = group == at, label == known
            if bool((there & own).any()):
                met.append(Apart(known, p_value, row[there & own], row[there & ~own]))
    return met


def apart_shard(
    shard: Shard,
    *,
    scorers: Mapping[RunKey, SeparatesRows],
    groups: Mapping[RunKey, Sequence[int]],
    dataset: Dataset,
    folder: str,
    device: torch.device,
) -> dict[RunKey, Tensor]:
    """Rows of a shard that stand apart in these groups of each run, in which of them (by place), and labels [R, 3].

    A row that stands apart in several groups comes as often; a run that breaks has none, and will break again.
    """
    out: dict[RunKey, Tensor] = {}
    for run, wanted in groups.items():
        parts = [torch.zeros(0, 3, dtype=torch.int64)]
        for batch in read_shard(stored(folder, dataset, shard, run.digest), shard, device=device):
            apart = attempt(scorers[run].apart, batch)
            if not isinstance(apart, Outcome):
                at, group = apart[:, list(wanted)].nonzero(as_tuple=True)
                parts.append(torch.stack([batch.row[at], group, batch.label[at]], 1).cpu())
        out[run] = torch.cat(parts)
    return out
