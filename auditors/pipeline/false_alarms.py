"""The false alarm rate of a plan, measured by audits of datasets in which nothing was planted.

false_alarms.jsonl beside this file has a line for each series of audits, written by benchmarks.images.calibration
--record. It is valid only for exactly the plan (all settings) and the code that were measured.
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
    """A series of audits of clean datasets of one kind."""

    plan: str  # digest
    code: str  # digest of the sources that determine a verdict
    release: str  # of foretaste
    kind: str  # of data
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
        yield Series(**{"code": "", **json.loads(line)})  # older lines do not have the digest of the code


def false_alarms(plan: Plan) -> Mapping[str, Any]:
    """The results of audits of clean datasets with this plan and code; empty where it was not measured.

    The kinds of data, the releases, the numbers of audits, of failed and warned ones, of rows and of accused rows, and
    `at_most`, the upper 95 % confidence limit of the share of failed audits (Clopper & Pearson, Biometrika 1934).
    """
    key = str(plan_digest(plain(plan.describe()))), code()
    measured = [series for series in recorded() if (series.plan, series.code) == key]
    if not measured:
        return {}
    names = ("audits", "failed", "warned", "rows", "accused")
    sums = {name: sum(getattr(series, name) for series in measured) for name in names}
    return {
        "kinds": list(dict.fromkeys(series.kind for series in measured)),
        "releases": list(dict.fromkeys(series.release for series in measured)),
        **sums,
        "at_most": at_most(sums["failed"], sums["audits"]),
    }


def at_most(failed: int, audits: int) -> float:
    """The upper limit of the one-sided confidence interval for the share of failed audits."""
    return float(beta.ppf(CONFIDENCE, failed + 1, audits - failed)) if failed < audits else 1.0
