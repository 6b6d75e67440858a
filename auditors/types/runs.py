"""One check of the plan on one embedder: its key, and the outcome of a run that gave no result."""

from __future__ import annotations

from dataclasses import dataclass

from foretaste.errors import NotApplicable
from foretaste.types.findings import Status


@dataclass(frozen=True)
class Outcome:
    """Why a run gave no result."""

    status: Status
    reason: str


def ended(error: Exception) -> Outcome:
    """The outcome of a run that raised an exception, which never counts as a clean result."""
    if isinstance(error, NotApplicable):
        return Outcome(Status.NOT_APPLICABLE, str(error))
    return Outcome(Status.FAILED, f"{type(error).__name__}: {error}"[:500])


@dataclass(frozen=True)
class RunKey:
    """One check of the plan on one embedder's vectors; `digest` is the encoder's identity, part of file names."""

    check: str
    embedder: str
    digest: str
