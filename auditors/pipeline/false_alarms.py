"""The false alarm rate of a plan, measured by audits of datasets in which nothing was planted.

false_alarms.jsonl beside this file has a line for each series of audits of draws from one origin, written by
benchmarks.clean.audits and benchmarks.images.calibration with --record. It is valid only for exactly the plan (all
settings) and the code that were measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from scipy.stats import beta

from foretaste.pipeline.plan import Plan
from foretaste.registry import HOME
from foretaste.report.document import plain
from foretaste.types.digests import plan_digest
from foretaste.types.sources import sources

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Series:
    """A series of audits of clean datasets drawn from one origin in one way."""

    plan: str  # digest
    code: str  # digest of the sources that determine a verdict
    release: str  # of foretaste
    origin: str  # whose data
    kind: str  # how it was drawn
    aside: bool  # whether the origin was kept aside: no setting was chosen with its data
    first: int  # seed of the first; the others follow
    audits: int
    failed: int
    warned: int
    rows: int
    accused: int  # rows, of an attack

    def line(self) -> str:
        """The line of false_alarms.jsonl."""
        return json.dumps(asdict(self)) + "\n"


# The modules that determine a verdict. Explaining, reporting and signing do not affect it.
DECIDES = (
    *("types", "stats", "dataset", "image", "text", "embedders", "detectors", "decide"),
    *("pipeline.fit", "pipeline.cross_fitting", "pipeline.sweep", "pipeline.scoring", "pipeline.decision"),
)


def code() -> str:
    """Digest of the sources that determine a verdict."""
    return str(sources(*(f"{HOME}.{name}" for name in DECIDES)))


def recorded() -> Iterator[Series]:
    """All measured series."""
    for line in files("foretaste.pipeline").joinpath("false_alarms.jsonl").read_text(encoding="utf-8").splitlines():
        yield Series(**json.loads(line))


def false_alarms(plan: Plan) -> Mapping[str, Any]:
    """The results of audits of clean datasets with this plan and code; empty where it was not measured.

    origins, failed_origins  number of origins, and of those of which a draw failed
    aside, failed_aside      the same of the origins that were kept aside while settings were chosen
    audits, failed, warned   number of audits
    rows, accused            number of rows
    kinds, releases          how the datasets were drawn, and the releases that were measured
    at_most                  upper 95 % confidence limit of the share of origins of which a draw fails, from the origins
                             kept aside, or from all if none was (Clopper & Pearson, Biometrika 1934)
    """
    key = str(plan_digest(plain(plan.describe()))), code()
    measured = [series for series in recorded() if (series.plan, series.code) == key]
    if not measured:
        return {}
    names = ("audits", "failed", "warned", "rows", "accused")
    origins, failed = ({one.origin for one in part} for part in (measured, [one for one in measured if one.failed]))
    aside = {one.origin for one in measured if one.aside}
    unseen = aside or origins
    return {
        "origins": len(origins),
        "failed_origins": len(failed),
        "aside": len(aside),
        "failed_aside": len(failed & aside),
        **{name: sum(getattr(series, name) for series in measured) for name in names},
        "kinds": list(dict.fromkeys(series.kind for series in measured)),
        "releases": list(dict.fromkeys(series.release for series in measured)),
        "at_most": at_most(len(failed & unseen), len(unseen)),
    }


def at_most(failed: int, number: int) -> float:
    """The upper limit of the one-sided confidence interval for a share of which `failed` of `number` were seen."""
    return float(beta.ppf(CONFIDENCE, failed + 1, number - failed)) if failed < number else 1.0
