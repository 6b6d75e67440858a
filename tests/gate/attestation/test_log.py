"""The log of attestations: whole, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from attested import NOW, Workshop

from foretaste.errors import DataError, PlanError
from foretaste.gate.attestation import anchors, keys
from foretaste.gate.attestation import log as ledger
from foretaste.types.digests import canonical


@pytest.fixture
def log(workshop: Workshop) -> Path:
    """Three audits of the same bytes, a day apart."""
    for days in (2, 1, 0):
        workshop.sign(ended=NOW - timedelta(days=days))
    return Path(ledger.path())


def lines(log: Path) -> list[bytes]:
    return log.read_bytes().splitlines(keepends=True)


def test_what_was_appended_is_read(workshop, log):
    entries = ledger.read(str(log), workshop.public)
    assert [entry.number for entry in entries] == [1, 2, 3]
    assert [entry.ended for entry in entries] == [NOW - timedelta(days=days) for days in (2, 1, 0)]
    assert [entry.attestation for entry in entries] == [f"{n}/attestation.json" for n in (1, 2, 3)]
    assert all(os.path.exists(ledger.located(str(log), entry)) for entry in entries)
    assert entries == ledger.read(str(log))


def test_there_is_no_log_yet(tmp_path):
    assert ledger.read(str(tmp_path / "none.jsonl")) == ()


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_deleted_entry_shows(number, log):
    kept = lines(log)
    del kept[number]
    log.write_bytes(b"".join(kept))
    with pytest.raises(DataError, match=r"does not follow the one before|must have 3, the last ones were deleted"):
        ledger.read(str(log))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_an_altered_entry_shows(number, log):
    changed = lines(log)
    changed[number] = changed[number].replace(b"PASSED", b"FAILED")
    log.write_bytes(b"".join(changed))
    with pytest.raises(DataError, match="was altered"):
        ledger.read(str(log))


def test_swapped_entries_show(log):
    one, two, three = lines(log)
    log.write_bytes(two + one + three)
    with pytest.raises(DataError, match="entry 1 does not follow"):
        ledger.read(str(log))


def rechained(log: Path, kept: list[bytes]) -> None:
    """What somebody without the key can do: number and chain the lines anew, and write the head that fits."""
    previous, out = ledger.START, []
    for number, line in enumerate(kept, 1):
        found = json.loads(line)
        found["entry"] |= {"number": number, "previous": previous}
        out.append(canonical(found))
        previous = hashlib.sha256(out[-1]).hexdigest()
    log.write_bytes(b"".join(line + b"\n" for line in out))
    head(log, len(out), previous)


def head(log: Path, entries: object, last: str = "") -> None:
    Path(f"{log}.head").write_text(json.dumps({"entries": entries, "last": last}))


def forget() -> None:
    """What this user has seen, as on a machine that never saw the log."""
    shutil.rmtree(os.environ["FORETASTE_STATE"], ignore_errors=True)


def test_a_chain_that_was_made_anew_shows_by_its_signatures(workshop, log):
    rechained(log, [lines(log)[0], lines(log)[2]])
    with pytest.raises(DataError, match="has 2 entries and must have 3, the last ones were deleted since"):
        ledger.read(str(log))
    forget()
    assert len(ledger.read(str(log))) == 2
    with pytest.raises(DataError, match="entry 2 was altered, its signature does not fit"):
        ledger.read(str(log), workshop.public)


def test_entries_of_others_are_not_ours(workshop, log, tmp_path):
    keys.generate(tmp_path / "other")
    workshop.sign(key=str(tmp_path / "other" / "key.pem"))
    assert [entry.number for entry in ledger.read(str(log), workshop.public)] == [1, 2, 3]
    assert [entry.number for entry in ledger.read(str(log), tmp_path / "other" / "key.pub")] == [4]
    assert len(ledger.read(str(log))) == 4


def test_a_lost_head_shows_unless_it_was_the_first(log):
    os.remove(f"{log}.head")
    with pytest.raises(DataError, match=r"\.head is missing"):
        ledger.read(str(log))
    log.write_bytes(lines(log)[0])
    with pytest.raises(DataError, match="must have 3"):
        ledger.read(str(log))
    forget()
    assert len(ledger.read(str(log))) == 1


def test_a_kill_between_the_entry_and_the_head_is_no_damage(workshop, log):
    before = Path(f"{log}.head").read_bytes()
    workshop.sign()
    Path(f"{log}.head").write_bytes(before)
    assert len(ledger.read(str(log), workshop.public)) == 4
    workshop.sign()
    assert len(ledger.read(str(log), workshop.public)) == 5


@pytest.mark.parametrize(
    "text", [b"{}\n", b"[" * 99_999 + b"\n", b"\xff\n", b'{"entry": {}, "signatures": []}\n', b"x"]
)
def test_what_is_no_log_is_refused(text, log):
    log.write_bytes(text)
    with pytest.raises(DataError, match=r"entry 1 was altered, it cannot be read|last line is not whole"):
        ledger.read(str(log))


def test_nothing_is_appended_to_a_broken_log(workshop, log):
    log.write_bytes(b"".join(lines(log)[:2]))
    before = log.read_bytes()
    with pytest.raises(DataError, match="the last ones were deleted"):
        workshop.sign()
    assert log.read_bytes() == before


def test_a_log_that_cannot_be_written(workshop, monkeypatch):
    monkeypatch.setenv("FORETASTE_LEDGER", str(workshop.data / "a.parquet" / "ledger.jsonl"))
    with pytest.raises((PlanError, DataError), match="cannot be"):
        workshop.sign()


def test_many_at_once_lose_nothing(workshop):
    code = f"""
from datetime import UTC, datetime
from foretaste.gate.attestation import anchors, keys
from foretaste.gate.attestation import log as ledger
from foretaste.types.digests import Digest
key = keys.signer({workshop.private!r})
for n in range(10):
    ledger.append(ledger.path(), attestation="x.json", envelope=b"{{}}", dataset=Digest("dirHash1", "a" * 64),
                  root="/d", result="PASSED", ended=datetime.now(UTC), key=key)
"""
    many = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3)]
    assert [one.wait() for one in many] == [0, 0, 0]
    assert len(ledger.read(ledger.path(), workshop.public)) == 30


def test_a_process_killed_between_its_line_and_the_head_twice_leaves_a_log_that_goes_on(workshop, monkeypatch):
    place = Path(ledger.path())
    workshop.sign()
    Path(f"{place}.head").unlink()
    keep = anchors.keep_head

    def killed(log, lines):
        if len(lines) == 2:
            raise KeyboardInterrupt
        keep(log, lines)

    with monkeypatch.context() as patched:
        patched.setattr(anchors, "keep_head", killed)
        with pytest.raises(KeyboardInterrupt):
            workshop.sign()
    assert len(ledger.read(str(place), workshop.public)) == 2
    workshop.sign()
    assert len(ledger.read(str(place), workshop.public)) == 3


def test_a_log_that_cannot_be_written_is_told_before_the_audit(tmp_path, monkeypatch):
    ledger.check(str(tmp_path / "audits" / "ledger.jsonl"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(PlanError, match="must be writable"):
        ledger.check(str(tmp_path / "audits" / "ledger.jsonl"))
