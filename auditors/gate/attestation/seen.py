"""The audits of a dataset that are known here: those in the log, and those that an anchor has seen."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from foretaste.errors import DataError, Refused
from foretaste.gate.attestation import anchors, log
from foretaste.gate.attestation.anchors import Anchor
from foretaste.gate.attestation.entry import Entry, located
from foretaste.gate.attestation.keys import verifier
from foretaste.types.digests import Digest


@dataclass(frozen=True)
class Audit:
    """An entry of a log, and the path of its attestation."""

    entry: Entry
    place: str

    @property
    def order(self) -> tuple[datetime, int]:
        """Audits that ended in the same second have the order of the log."""
        return self.entry.ended, self.entry.number


@dataclass(frozen=True)
class Audits:
    """The audits of one dataset that were signed with one key, oldest first.

    logged    those in the log
    anchored  those that only an anchor has seen
    notes     what cannot be known here
    """

    logged: tuple[Audit, ...]
    anchored: tuple[Audit, ...]
    notes: tuple[str, ...]

    def after(self, sha256: str, ended: datetime) -> Audit | None:
        """The newest audit after the one whose attestation has this hash and ended then; None where there is none."""
        own = [audit.order for audit in (*self.logged, *self.anchored) if audit.entry.sha256 == sha256]
        begin = max(own, default=(ended, 0))
        others = [audit for audit in (*self.logged, *self.anchored) if audit.entry.sha256 != sha256]
        return max((audit for audit in others if audit.order > begin), key=lambda audit: audit.order, default=None)


NONE = Audits((), (), ())


def audits(place: str, key: str, dataset: Digest, others: Sequence[Anchor] = ()) -> Audits:
    """The audits of a dataset in the log at `place`, and in all anchors; this user's anchor is brought up to the log.

    others  anchors of this log that are no files

    Raises Refused where the log or an anchor is damaged, since audits may be missing, PlanError for an unusable key.
    """
    try:
        named = anchors.named()
        if named is not None and not os.path.lexists(named):
            raise Refused(f"{named}: FORETASTE_ANCHOR must name a file that an audit has written, and there is none")
        public = verifier(key)
        whole, before = log.lines(place), (*anchors.of(place), *others)
        for anchor in others if whole else ():
            anchor.check(whole, place)
        lines = log.signed(place, whole, public)
        failed = anchors.keep(place, whole, lines) if whole else ""
        logged = [Audit(line.entry, located(place, line.entry)) for line in lines if line.entry.dataset == dataset]
        hashes = {audit.entry.sha256 for audit in logged}
        anchored = [
            Audit(line.entry, located(anchor.log, line.entry))
            for anchor in (*anchors.everywhere(), *others)
            for line in anchor.newest
            if line.entry.dataset == dataset and line.entry.sha256 not in hashes and line.verified_by(public)
        ]
    except DataError as error:
        raise Refused(str(error)) from None
    ordered = [tuple(sorted(found, key=lambda audit: audit.order)) for found in (logged, anchored)]
    return Audits(ordered[0], ordered[1], _notes(place, bool(whole), before, failed))


def _notes(place: str, logged: bool, before: tuple[Anchor, ...], failed: str) -> tuple[str, ...]:
    if not logged and before:
        return (
            f"{place}: the log of attestations is gone, {before[0].place} has seen {before[0].entries} of its entries",
        )
    if not logged and not Path(place).exists():
        return (f"{place}: there is no log of attestations here, so a newer audit of these bytes may be unknown",)
    if before:
        return ()
    said = f"{place}: is read here for the first time, so it would not show if its last entries had been deleted"
    return (said + (f"; nor will it next time, {failed}" if failed else ""),)
