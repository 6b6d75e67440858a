"""What a Prefect server was told of the log of attestations, and a gate that asks it."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from attested import NOW, Workshop, group

from foretaste.errors import DataError, Refused
from foretaste.gate.attestation import anchors
from foretaste.gate.attestation import log as ledger

POISON = {"verdict": "failed", "reason": "poison", "groups": [group()], "counts": {"backdoor": 12}}


def elsewhere() -> None:
    """As on a machine that never saw the log."""
    shutil.rmtree(os.environ["FORETASTE_STATE"])


@pytest.mark.usefixtures("server")
def test_a_flow_on_any_machine_refuses_a_log_that_was_rolled_back(workshop: Workshop):
    from prefect import flow
    from prefect.variables import Variable

    from foretaste.flows import log_variable
    from foretaste.flows.gate import gate
    from foretaste.flows.scheduling import deployment

    @flow
    def training(attestation: str | None = None) -> None:
        gate([str(workshop.data)], key=workshop.public, attestation=attestation)

    place = ledger.path()
    log_variable.publish(place)
    assert log_variable.published(place) == ()
    passed = workshop.sign(ended=NOW - timedelta(hours=2))
    elsewhere()
    training()
    failed = workshop.sign(ended=NOW - timedelta(hours=1), **POISON)
    deployment._anchor(str(Path(failed).parent))  # as a scheduled audit does
    [told] = log_variable.published(place)
    assert (told.entries, told.last, told.newest) == (2, ledger.lines(place)[1].sha256, anchors.of(place)[0].newest)

    log = Path(place)
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    Path(f"{log}.head").unlink()
    elsewhere()
    with pytest.raises(Refused, match="has 1 entries and must have 2, the last ones were deleted since the Prefect"):
        training()
    log.unlink()
    with pytest.raises(Refused, match="a newer audit of these bytes"):
        training(passed)
    Variable.set(log_variable.name(place), "hello", overwrite=True)
    with pytest.raises(DataError, match="the Prefect variable foretaste_log_"):
        training(passed)


@pytest.mark.usefixtures("server")
def test_a_variable_holds_the_newest_entries_that_fit(workshop: Workshop):
    from foretaste.flows import log_variable

    for number in range(12):
        (workshop.data / "b.parquet").write_bytes(f"PAR1{number}PAR1".encode())
        workshop.sign(ended=NOW - timedelta(hours=12 - number))
    log_variable.publish(ledger.path())
    [told] = log_variable.published(ledger.path())
    assert told.entries == 12
    assert len(anchors.of(ledger.path())[0].newest) == 12
    numbers = [line.entry.number for line in told.newest]
    assert 2 <= len(numbers) < 12
    assert numbers == list(range(13 - len(numbers), 13))
