"""How often a plan fails clean data: measured on datasets in which nothing was planted.

false_alarms.jsonl beside this file has a line for each series of whole audits, written by benchmarks.images.calibration
--record. It speaks for the plan that was measured, every setting alike, and for the code that was, and for no other.
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
    """Whole audits of datasets of one kind in which nothing was planted."""

    plan: str  # digest
    code: str  # digest of the sources that decided
    release: str  # of foretaste
    kind: str  # of data
    first: int  # seed of the first; the others follow
    audits: int
    failed: int
    warned: int
    rows: int
    accused: int  # rows, of an attack

    def line(self) -> str:
        """How it stands in the file."""
        return json.dumps(asdict(self)) + "\n"


# Whatever decides a verdict. How it is explained, reported and signed decides none.
DECIDES = (
    *("types", "stats", "dataset", "image", "text", "embedders", "detectors", "decide"),
    *("pipeline.fit", "pipeline.cross_fitting", "pipeline.sweep", "pipeline.scoring", "pipeline.decision"),
)


def code() -> str:
    """Digest of the sources that decide a verdict."""
    return str(sources(*(f"{HOME}.{name}" for name in DECIDES)))


def recorded() -> Iterator[Series]:
    """All that was measured."""
    for line in files("foretaste.pipeline").joinpath("false_alarms.jsonl").read_text(encoding="utf-8").splitlines():
        yield Series(**{"code": "", **json.loads(line)})  # older lines do not say by which code they were measured


def false_alarms(plan: Plan) -> Mapping[str, Any]:
    """What whole audits with this plan made of clean datasets; empty where nobody measured it.

    kinds of data, the releases measured, numbers of audits, of those failed and warned, of rows and of rows accused,
    and `at_most`, the share of such datasets that fail with 95 % confidence (Clopper & Pearson, Biometrika 1934).
    """
    named, now = str(plan_digest(plain(plan.describe()))), code()
    mine = [one for one in recorded() if (one.plan, one.code) == (named, now)]
    if not mine:
        return {}
    sums = {name: sum(getattr(one, name) for one in mine) for name in ("audits", "failed", "warned", "rows", "accused")}
    return {
        "kinds": list(dict.fromkeys(one.kind for one in mine)),
        "releases": list(dict.fromkeys(one.release for one in mine)),
        **sums,
        "at_most": at_most(sums["failed"], sums["audits"]),
    }


def at_most(failed: int, audits: int) -> float:
    """The upper end of the one-sided interval for the share of datasets that fail."""
    return float(beta.ppf(CONFIDENCE, failed + 1, audits - failed)) if failed < audits else 1.0
