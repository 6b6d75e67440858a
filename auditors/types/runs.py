"""One check of the plan on one embedder: what names it, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

from foretaste.errors import NotApplicable
from foretaste.types.findings import Status


@dataclass(frozen=True)
class Outcome:
    """How a run ended that came to no result, and why."""

    status: Status
    reason: str


def ended(error: Exception) -> Outcome:
    """The status of a run that raised: an exception never becomes a clean result."""
    if isinstance(error, NotApplicable):
        return Outcome(Status.NOT_APPLICABLE, str(error))
    return Outcome(Status.FAILED, f"{type(error).__name__}: {error}"[:500])


@dataclass(frozen=True)
class RunKey:
    """One check of the plan on one embedder's vectors; `digest` is the encoder's identity, which names stored files."""

    check: str
    embedder: str
    digest: str
