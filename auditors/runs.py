"""How the looks of a plan ended: what they tested, and whether they came to a result at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from auditors.contract import DETECTORS, Encoder, Scorer
from auditors.plan import Plan
from auditors.suspects import Tested
from auditors.sweep import Ended, Look
from auditors.values import Run, Status


class Swept(NamedTuple):
    """What came of sweeps: the Scorers, the looks that ended without, and the seconds of each."""

    scorers: Mapping[Look, Scorer]
    stopped: Mapping[Look, Ended]
    seconds: Mapping[Look, float]


def tested(look: Look, scorer: Scorer, plan: Plan) -> Tested:
    """The groups a look tested, with what it says of them."""
    kind = DETECTORS[next(one.detector for one in plan.looks if one.name == look.detector)]
    return Tested(look.detector, look.embedder, kind.kind, kind.family, scorer.groups)


def ran(
    plan: Plan,
    encoders: Mapping[str, Encoder | Ended],
    stopped: Mapping[Look, Ended],
    scorers: Mapping[Look, Scorer],
    seconds: Mapping[Look, float],
) -> tuple[Run, ...]:
    """How every look of the plan ended, in the plan's order."""
    runs = []
    for one in plan.looks:
        for name in one.on:
            encoder = encoders[name]
            look = Look(one.name, name, "" if isinstance(encoder, Ended) else encoder.digest)
            end = stopped.get(look) or (None if look in scorers else Ended(Status.FAILED, "it never finished"))
            status, reason = (Status.COMPLETED, "") if end is None else (end.status, end.reason)
            runs.append(Run(one.name, name, status, reason, round(seconds.get(look, 0.0), 3)))
    return tuple(runs)
