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
    clean, rows = numbers.plural(measured["audits"], "clean dataset"), numbers.plural(measured["rows"], "row")
    yield (
        f"Measured: of {clean} ({', '.join(measured['kinds'])}) this plan failed {measured['failed']} and warned of "
        f"{measured['warned']}, so it fails at most {100 * measured['at_most']:.1f} % of such with 95 % confidence; of "
        f"their {rows} it accused {numbers.count(measured['accused'])}."
    )


def _rate(share: Any) -> str:
    return f"{100 * share:g} %" if isinstance(share, (int, float)) else "unknown"
