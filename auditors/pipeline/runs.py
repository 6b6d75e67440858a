"""How the looks of a plan ended: what they tested, and whether they came to a result at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from foretaste.decide.significance import RunTests
from foretaste.embedders.contract import DETECTORS, Encoder, Scorer
from foretaste.pipeline.plan import Plan
from foretaste.pipeline.sweep import Outcome, RunKey
from foretaste.types.findings import Run, Status


class Swept(NamedTuple):
    """What came of sweeps: the Scorers, the looks that ended without, and the seconds of each."""

    scorers: Mapping[RunKey, Scorer]
    stopped: Mapping[RunKey, Outcome]
    seconds: Mapping[RunKey, float]


def tested(look: RunKey, scorer: Scorer, plan: Plan) -> RunTests:
    """The groups a look tested, with what it says of them."""
    kind = DETECTORS[next(one.detector for one in plan.looks if one.name == look.detector)]
    return RunTests(look.detector, look.embedder, kind.kind, kind.family, scorer.groups)


def ran(
    plan: Plan,
    encoders: Mapping[str, Encoder | Outcome],
    stopped: Mapping[RunKey, Outcome],
    scorers: Mapping[RunKey, Scorer],
    seconds: Mapping[RunKey, float],
) -> tuple[Run, ...]:
    """How every look of the plan ended, in the plan's order."""
    runs = []
    for one in plan.looks:
        for name in one.on:
            encoder = encoders[name]
            look = RunKey(one.name, name, "" if isinstance(encoder, Outcome) else encoder.digest)
            end = stopped.get(look) or (None if look in scorers else Outcome(Status.FAILED, "it never finished"))
            status, reason = (Status.COMPLETED, "") if end is None else (end.status, end.reason)
            runs.append(Run(one.name, name, status, reason, round(seconds.get(look, 0.0), 3)))
    return tuple(runs)
