"""A log that cannot grow is as it was, and grows again when there is room."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attested import NOW, Workshop, report

from foretaste.errors import PlanError
from foretaste.gate.attestation import keys, signing
from foretaste.gate.attestation import log as ledger
from foretaste.gate.policy import DEFAULT


@contextmanager
def room(size: int) -> Iterator[None]:
    """No file can have more bytes than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("more", [0, 1, 300])
@pytest.mark.parametrize("entries", [0, 2])
def test_an_entry_is_written_whole_or_not_at_all(workshop: Workshop, entries: int, more: int) -> None:
    for _ in range(entries):
        workshop.sign()
    place = Path(ledger.path())
    before = place.read_bytes() if entries else b""
    workshop.sign(logged=False)
    with pytest.raises(PlanError, match="the log of attestations cannot be written: File too large"):
        append_within(workshop, len(before) + more)
    assert place.read_bytes() == before
    workshop.sign()
    assert len(ledger.read(str(place), workshop.public)) == entries + 1


def append_within(workshop: Workshop, size: int) -> None:
    made = signing.Signing(keys.signer(workshop.private), DEFAULT, NOW)
    with room(size):
        signing.log(str(Path(workshop.folder) / "audits" / str(workshop.count)), report(str(workshop.data)), made)
