"""A signed statement may say anything: every field of it is replaced by what does not belong there."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from attested import NOW, Workshop, group, report

from foretaste.errors import Refused
from foretaste.gate import policy, render
from foretaste.gate.attestation import fields, keys, log, statement, strict_json
from foretaste.gate.attestation.entry import Line
from foretaste.gate.attestation.verify import differences
from foretaste.gate.decision import GateDecision
from foretaste.gate.times import moment, stamp
from foretaste.types.digests import Digest, canonical

NONSENSE: list[Any] = [None, [], {}, [None], {"a": []}, 10**30, -1, 1.5, True, "", "x", "\ud800", "a\x00b"]
GONE = object()
DIGEST = Digest("dirHash1", "a" * 64)


def places(of: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON document."""
    if path:
        yield path
    inner = of.items() if isinstance(of, dict) else enumerate(of) if isinstance(of, list) else ()
    for name, value in inner:
        yield from places(value, (*path, name))


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(body)
    inside = changed
    for name in path[:-1]:
        inside = inside[name]
    if value is GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return changed


def read(body: Any, files: dict[str, Digest]) -> None:
    """What a gate and `verify` do with a statement once its signature is verified."""
    differing = differences(body, files)
    facts = statement.facts(body)
    statement.resources(body)
    reasons = (*differing, *policy.decide(policy.DEFAULT, facts, NOW))
    decision = GateDecision(not reasons, reasons, ("data",), DIGEST, files, 1, DIGEST, "attestation.json", facts)
    assert render.lines(decision)
    assert render.document(decision)
    assert render.junit(decision)
    assert render.markdown(decision)


@pytest.mark.parametrize("value", [*NONSENSE, GONE], ids=[*(repr(value)[:9] for value in NONSENSE), "gone"])
def test_nonsense_in_any_field_is_refused_or_harms_nothing(value: Any, workshop: Workshop):
    document = report(
        str(workshop.data), verdict="failed", groups=[group(), group("integrity")],
        counts={"backdoor": 12, "integrity": 12}, notes=["x"],
    )  # fmt: skip
    body = statement.statement(document, policy=policy.DEFAULT, started=NOW, ended=NOW + timedelta(minutes=2))
    files = statement.subjects(body)[1]
    read(body, files)
    tried = [replaced(body, path, value) for path in places(body)]
    assert len(tried) > 80
    for changed in tried:
        with suppress(Refused):
            read(changed, files)


@pytest.mark.parametrize("value", [*NONSENSE, GONE], ids=[*(repr(value)[:9] for value in NONSENSE), "gone"])
def test_nonsense_in_any_field_of_an_entry_of_the_log_is_refused(value: Any, workshop: Workshop):
    workshop.sign()
    line = json.loads(Path(log.path()).read_bytes())
    for path in places(line):
        changed = replaced(line, path, value)
        if changed != line and path[-1] != "keyid":  # of a signature, that is only a hint
            with suppress(ValueError):
                assert not Line.parse(canonical(changed)).verified_by(keys.verifier(workshop.public))


def test_a_field_of_its_type():
    said = {"text": "x", "rows": 3, "rate": 1, "yes": True, "names": ["a"], "parts": [{}], "of": {}, "hash": "0" * 64}
    assert fields.text(said, "text") == "x"
    assert fields.count(said, "rows") == 3
    assert fields.rate(said, "rate") == 1.0
    assert fields.flag(said, "yes") is True
    assert fields.texts(said, "names") == ["a"]
    assert fields.tables(said, "parts") == [{}]
    assert fields.table(said, "of") == {}
    assert fields.sha256(said, "hash") == "0" * 64


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', "an object says 'c' twice"),
        ("NaN", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "Exceeds the limit"),
        ("", "Expecting value"),
    ],
)
def test_json_has_one_reading(text, said):
    with pytest.raises(ValueError, match=said):
        strict_json.loads(text)
    assert strict_json.loads('{"a": [1, 2.5, null, "x"]}') == {"a": [1, 2.5, None, "x"]}


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_outside_of_all_years(text):
    with pytest.raises(ValueError, match="a time must lie in the years 1 to 9999 of UTC"):
        moment(text)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00Z", "2027-03-01T12:00:00Z", "9999-12-31T23:59:59Z"])
def test_a_time_is_written_as_it_is_read(text):
    assert stamp(moment(text)) == text
    assert moment(text).tzinfo is UTC
    assert isinstance(moment(text), datetime)
