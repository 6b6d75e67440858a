"""Cross-fitting in groups: rows that may share a planted pattern are held out together, in one fold.

A few rows with a pattern of their own suffice for a model to learn their label. If it was fitted on some of them, its
out-of-fold probabilities for the others are no evidence about their labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import torch
from torch import Tensor

from foretaste.cache import Store
from foretaste.decide import significance
from foretaste.decide.natural_clusters import Candidate, natural
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
    """Fit all embedders and store all embeddings; returns the encoders, unreadable rows and the preliminary sweep.

    If the embedder of the beliefs can be cross-fitted in groups, it is fitted last: a preliminary sweep over the
    vectors of the other embedders determines the rows that must share a fold.
    """
    plan = job.plan
    last = [
        name
        for name, (_, settings) in plan.embedders.items()
        if name == plan.decide.beliefs and isinstance(settings, GroupedCrossFit)
    ]
    encoders = train(job, [name for name in plan.embedders if name not in last])
    preliminary = Swept({}, {}, {})
    if last:
        embed(job, encoders)
        preliminary = preliminary_sweep(job, encoders)
        encoders |= train(job, last, fold_groups(job, preliminary, encoders))
    return encoders, embed(job, encoders), preliminary


def preliminary_sweep(job: Job, encoders: Encoders) -> Swept:
    """Sweep for the runs that separate rows without class probabilities.

    Vectors that include those of the beliefs' embedder are left out: rows that stand out in them are a natural kind of
    content, and a model that had not seen any of them would doubt their labels.
    """
    kind, _ = job.plan.embedders[job.plan.decide.beliefs]

    def separate(name: str) -> bool:
        settings = job.plan.embedders[name][1]
        return not (isinstance(settings, Composite) and kind in settings.parts)

    plain = {
        name: encoder
        for name, encoder in fitted(encoders).items()
        if not isinstance(encoder, EstimatesClasses) and separate(name)
    }
    live, _ = begin(job, plain, believed=False)
    swept = finish(job, live, "split", beliefs="")
    scorers = {run: scorer for run, scorer in swept.scorers.items() if isinstance(scorer, SeparatesRows)}
    return Swept(scorers, {}, {run: swept.seconds[run] for run in scorers})


class Apart(NamedTuple):
    """The outlying rows of a class, and rows of other classes that lie as far out in the same direction (`alike`)."""

    label: int
    p_value: float
    rows: Tensor
    alike: Tensor


def fold_groups(job: Job, preliminary: Swept, encoders: Encoders) -> Tensor:
    """The number of the group that each row must share a fold with, [N] int64; -1 for none.

    A group is the outlying rows of one class in one run. Rows that stand out by chance and natural clusters form no
    group: a model fitted without them would doubt their labels as well, and clean datasets would fail. For the same
    reason a group includes rows of other classes that lie as far out in the same direction: a model that has seen red
    lorries but no red car takes every red car for a lorry. A row of several groups is in the most significant one, and
    in one of its own class before one of another.
    """
    found = outlying(job, preliminary)
    near = neighbour_shares(
        job, {at: Candidate(group.label, tuple(group.rows.tolist())) for at, group in enumerate(found)}, encoders
    )
    kept = [group for at, group in enumerate(found) if not natural(near.get(at, ()), job.plan.decide.natural)]
    kept.sort(key=lambda group: -group.p_value)
    number = torch.full((job.dataset.rows,), -1)
    for at, group in enumerate(kept):
        number[group.alike] = at
    for at, group in enumerate(kept):
        number[group.rows] = at
    return number


def outlying(job: Job, preliminary: Swept) -> list[Apart]:
    """The outlying rows, by run, of the classes whose combined p-value (Simes) is at most `watch`.

    The p-values are not corrected over classes: nothing is accused yet.
    """
    watch = job.plan.decide.watch
    scorers = {run: scorer for run, scorer in preliminary.scorers.items() if isinstance(scorer, SeparatesRows)}
    tested = significance.significance(tests(job.plan, scorers), job.plan.decide)
    odd = significance.jointly(tested, "label").filter(pl.col("p_class") <= watch).select("label")
    odd = tested.filter(pl.col("label") >= 0, pl.col("p_value") <= watch).join(
        odd, on="label", how="semi", maintain_order="left"
    )
    by_run = {run: odd.filter(pl.col("detector") == run.check, pl.col("embedder") == run.embedder) for run in scorers}
    groups = {run: part["group"].to_list() for run, part in by_run.items() if len(part)}
    place: dict[str, Any] = {"dataset": job.dataset, "folder": job.store, "device": job.device}
    work = partial(outlying_shard, scorers=scorers, groups=groups, **place)
    parts: dict[RunKey, list[Tensor]] = {run: [] for run in groups}
    for shard in over_shards(job, "fold", work) if groups else ():
        for run, found in shard.items():
            parts[run].append(found)
    out = []
    for run, tensors in parts.items():
        row, group, label = torch.cat(tensors).unbind(1)
        for at, (known, p_value) in enumerate(by_run[run].select("label", "p_value").iter_rows()):
            inside, own = group == at, label == known
            if bool((inside & own).any()):
                out.append(Apart(known, p_value, row[inside & own], row[inside & ~own]))
    return out


def outlying_shard(
    shard: Shard,
    *,
    scorers: Mapping[RunKey, SeparatesRows],
    groups: Mapping[RunKey, Sequence[int]],
    dataset: Dataset,
    folder: Store,
    device: torch.device,
) -> dict[RunKey, Tensor]:
    """The outlying rows of a shard in these groups of each run: row, position in `groups`, and label, [R, 3].

    A row may occur in several groups. A run that fails has none; it will fail again in the main sweep.
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
