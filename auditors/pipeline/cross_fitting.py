"""From rows to vectors: embedders are fitted, every row is stored, and rows that stand apart alike share a fold."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import polars as pl
import torch

from foretaste.decide import natural_clusters, significance
from foretaste.embedders.contract import Composite, Encoder, GroupedCrossFit, SeparatesRows
from foretaste.pipeline.runs import Swept, tested
from foretaste.pipeline.stages import Stages
from foretaste.pipeline.sweep import Outcome, RunKey, apart_shard


def encode(stages: Stages) -> tuple[dict[str, Encoder | Outcome], dict[int, str], Swept]:
    """Fit all embedders and store all embeddings; the rows that cannot be read, and the looks that went before.

    The folds of the embedder whose probabilities are the beliefs wait for what the others' vectors show, if it is
    Folded.
    """
    plan = stages.plan
    folded = [
        name
        for name, (_, one) in plan.embedders.items()
        if name == plan.decide.beliefs and isinstance(one, GroupedCrossFit)
    ]
    encoders = stages.train([name for name in plan.embedders if name not in folded])
    seen = Swept({}, {}, {})
    if folded:
        stages.embed(encoders)
        seen = split(stages, encoders)
        encoders |= stages.train(folded, together(stages, seen, encoders))
    return encoders, stages.embed(encoders), seen


def split(stages: Stages, encoders: Mapping[str, Encoder | Outcome]) -> Swept:
    """Sweep for the looks that can do without class probabilities and say which rows stand apart most.

    None of them looks at what the beliefs are made of: rows that stand apart there are a kind of content that a
    model has to have seen, and would doubt once they are held out.
    """
    kind, _ = stages.plan.embedders[stages.plan.decide.beliefs]

    def apart(name: str) -> bool:
        settings = stages.plan.embedders[name][1]
        return not (isinstance(settings, Composite) and kind in settings.parts)

    plain = {name: one for name, one in encoders.items() if not getattr(one, "classes", 0) and apart(name)}
    live, _ = stages.begun(plain, believed=False)
    swept = stages.swept(live, "split", beliefs="")
    scorers = {look: one for look, one in swept.scorers.items() if isinstance(one, SeparatesRows)}
    return Swept(scorers, {}, {look: swept.seconds[look] for look in scorers})


class Apart(NamedTuple):
    """Rows that stand apart, and those of other classes that lie as far out in the same way."""

    label: int
    p_value: float
    rows: torch.Tensor
    alike: torch.Tensor


def together(stages: Stages, seen: Swept, encoders: Mapping[str, Encoder | Outcome]) -> torch.Tensor:
    """The rows that stand apart, in groups by look and class [N] int64; -1 is none.

    What chance makes, and natural clusters, are none: a model that saw none of them would doubt them for no better
    reason, and clean datasets would fail. For the same reason rows of other classes that lie as far out in the same way
    go with a group: a model that has seen red lorries, but no red car, takes every red car for a lorry.
    A row that several looks mean is in the group that is the least likely by chance, a row of another class in its own.
    """
    met = apart(stages, seen)
    company = stages.company(
        {at: natural_clusters.Candidate(one.label, tuple(one.rows.tolist())) for at, one in enumerate(met)}, encoders
    )
    kept = [one for at, one in enumerate(met) if at not in company or not company[at].natural]
    kept.sort(key=lambda one: -one.p_value)
    number = torch.full((stages.dataset.rows,), -1)
    for at, one in enumerate(kept):
        number[one.alike] = at
    for at, one in enumerate(kept):
        number[one.rows] = at
    return number


def apart(stages: Stages, seen: Swept) -> list[Apart]:
    """The rows that stand apart in classes that all looks together (Simes) find worth a look (`watch`).

    Each class counts by itself: nobody is accused yet.
    """
    plan = stages.plan
    scorers = {look: one for look, one in seen.scorers.items() if isinstance(one, SeparatesRows)}
    looked = significance.significance([tested(look, one, plan) for look, one in scorers.items()], plan.decide)
    odd = looked.filter(
        pl.col("label") >= 0,
        pl.col("p_value") <= plan.decide.watch,
        significance.simes(pl.col("p_value")).over("label") <= plan.decide.watch,
    )
    meant = {
        look: odd.filter(pl.col("detector") == look.detector, pl.col("embedder") == look.embedder) for look in scorers
    }
    groups = {look: one["group"].to_list() for look, one in meant.items() if len(one)}
    place: dict[str, Any] = {"dataset": stages.dataset, "folder": stages.cache, "device": stages.device}
    work = partial(apart_shard, scorers=scorers, groups=groups, **place)
    parts: dict[RunKey, list[torch.Tensor]] = {look: [] for look in groups}
    for shard in stages.shards("fold", work) if groups else ():
        for look, found in shard.items():
            parts[look].append(found)
    met = []
    for look, some in parts.items():
        row, group, label = torch.cat(some).unbind(1)
        for at, (known, p_value) in enumerate(meant[look].select("label", "p_value").iter_rows()):
            there, own = group == at, label == known
            if bool((there & own).any()):
                met.append(Apart(known, p_value, row[there & own], row[there & ~own]))
    return met
