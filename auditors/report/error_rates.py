"""Sentences on error rates: those at which the tests are run, and the false alarms measured on clean data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from foretaste.report import numbers


def certainty(document: Mapping[str, Any]) -> Iterator[str]:
    """One sentence for each rate; `document` is report.json."""
    decide = document.get("plan", {}).get("decide", {})
    if "fdr" not in decide:
        yield "Not recorded."
        return
    yield (
        f"Classes are called suspicious at a false discovery rate of {_rate(decide['fdr'])} over all classes and all "
        f"looks at them; up to {_rate(decide.get('watch'))} a class is worth a warning, and no row of it is accused."
    )
    yield (
        f"In a suspicious class a row is accused from a posterior probability of {_rate(decide.get('posterior'))} on."
    )
    measured = document.get("false_alarms")
    if not measured:
        yield "How often this very plan fails clean data was not measured: these rates are what its tests aim at."
        return
    clean, origins = numbers.plural(measured["audits"], "clean dataset"), numbers.plural(measured["origins"], "origin")
    rows, accused = numbers.plural(measured["rows"], "row"), numbers.count(measured["accused"])
    yield (
        f"Measured: of {clean} from {origins} this plan failed {measured['failed']} and warned of "
        f"{measured['warned']}; it accused {accused} of their {rows}."
    )
    whose, which = ("aside", "kept aside while settings were chosen") if measured["aside"] else ("origins", "measured")
    yield (
        f"Of the {numbers.plural(measured[whose], 'origin')} {which} it failed {measured[f'failed_{whose}']}, so it "
        f"fails clean data of at most {100 * measured['at_most']:.1f} % of other origins with 95 % confidence."
    )


def _rate(share: Any) -> str:
    return f"{100 * share:g} %" if isinstance(share, (int, float)) else "unknown"
