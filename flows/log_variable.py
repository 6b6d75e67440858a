"""The anchor of a log in a variable of the Prefect server.

Scheduled audits write it and the gate flow reads it, so that a flow on any machine refuses a log that was rolled back.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

from prefect.variables import Variable

from foretaste.gate.attestation import anchors
from foretaste.gate.attestation.anchors import Anchor
from foretaste.types.digests import canonical

LONGEST = 4_900  # characters of JSON, of the 5,000 that a variable can hold


def name(log: str) -> str:
    """Name of the variable of the log at this path."""
    return f"foretaste_log_{hashlib.sha256(os.fsencode(os.path.realpath(log))).hexdigest()[:16]}"


def publish(log: str) -> None:
    """Write what this user has seen of a log, with as many of its newest entries as the variable can hold.

    Raises what Prefect's client raises.
    """
    for anchor in anchors.of(log)[:1]:
        newest = sorted(anchor.newest, key=lambda line: line.entry.ended)
        while newest and len(anchors.written(replace(anchor, newest=tuple(newest)))) > LONGEST:
            del newest[0]
        Variable.set(name(log), json.loads(anchors.written(replace(anchor, newest=tuple(newest)))), overwrite=True)


def published(log: str) -> tuple[Anchor, ...]:
    """What the server says was seen of a log. Raises DataError where the variable holds something else."""
    found = Variable.get(name(log))
    return () if found is None else (anchors.parse(canonical(found), f"the Prefect variable {name(log)}"),)
