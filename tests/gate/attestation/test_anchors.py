"""What was seen of a log is kept outside of its folder, never forgotten by accident, and never in the way."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from attested import NOW, Workshop, group

from foretaste.errors import DataError, PlanError
from foretaste.gate.attestation import anchors, signing
from foretaste.gate.attestation import log as ledger

POISON = {"verdict": "failed", "reason": "poison", "groups": [group()], "counts": {"backdoor": 12}}
HOUR = timedelta(hours=1)


def own() -> Path:
    return Path(str(anchors.own(ledger.path())))


def other_data(workshop: Workshop) -> None:
    """Other bytes under the same names."""
    shutil.copy(workshop.data / "b.parquet", workshop.data / "a.parquet")


def test_an_audit_that_is_logged_is_remembered_outside_of_the_folder(workshop):
    workshop.sign(ended=NOW - HOUR)
    other_data(workshop)
    workshop.sign()
    [anchor] = anchors.of(ledger.path())
    assert (anchor.entries, anchor.log) == (2, os.path.realpath(ledger.path()))
    assert [line.entry.number for line in anchor.newest] == [1, 2]
    assert not own().is_relative_to(Path(ledger.path()).parent)
    assert os.stat(own().parent).st_mode & 0o077 == 0
    assert anchors.parse(anchors.written(anchor), anchor.place) == anchor


def test_a_gate_remembers_what_it_reads_and_says_so_once(workshop):
    workshop.sign()
    own().unlink()
    (note,) = workshop.decide().notes
    assert note == (
        f"{ledger.path()}: is read here for the first time, so it would not show if its last entries had been deleted"
    )
    assert workshop.decide().notes == ()
    assert anchors.of(ledger.path())[0].entries == 1


def test_a_gate_that_may_not_remember_says_so_and_goes_on(workshop, monkeypatch):
    workshop.sign()
    monkeypatch.setenv("FORETASTE_STATE", str(workshop.data / "a.parquet"))
    found = workshop.decide()
    assert found.allowed
    assert found.notes[0].endswith("Not a directory")
    workshop.sign()  # a writer warns
    monkeypatch.delenv("FORETASTE_STATE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # a user without a home
    assert anchors.folder() is None
    found = workshop.decide()
    assert found.allowed
    assert found.notes[0].endswith("; nor will it next time, there is no home folder")


def test_without_a_log_nothing_is_known_of_newer_audits(workshop, monkeypatch):
    attestation = workshop.sign(logged=False)
    found = workshop.decide(attestation=attestation)
    assert found.allowed
    assert "there is no log of attestations here" in found.notes[0]
    workshop.sign()
    shutil.rmtree(Path(ledger.path()).parent)
    shutil.copytree(Path(own()).parent, workshop.folder / "copy")
    kept = workshop.folder / "kept.json"
    monkeypatch.setenv("FORETASTE_STATE", str(workshop.folder / "nothing"))
    workshop.sign(logged=False)
    shutil.copy(workshop.sign(logged=False), kept)
    assert workshop.decide(attestation=str(kept)).allowed


def test_a_log_that_was_deleted_is_begun_anew_and_its_audits_still_count(workshop):
    kept = workshop.folder / "kept.json"
    shutil.copy(workshop.sign(ended=NOW - 2 * HOUR), kept)
    workshop.sign(ended=NOW - HOUR, **POISON)
    shutil.rmtree(Path(ledger.path()).parent)
    other = workshop.decide(attestation=str(kept))
    assert any("a newer audit of these bytes" in one for one in other.reasons)
    assert f"the log of attestations is gone, {own()} has seen 2 of its entries" in other.notes[0]
    before = (workshop.data / "a.parquet").read_bytes()
    other_data(workshop)
    workshop.sign()  # other bytes
    assert workshop.decide().allowed
    assert anchors.of(ledger.path())[0].entries == 1
    (workshop.data / "a.parquet").write_bytes(before)
    assert any("a newer audit of these bytes" in one for one in workshop.refused(attestation=str(kept)))
    workshop.sign(ended=NOW)
    assert workshop.refused() == ()  # an audit that is newer still


def test_nothing_is_appended_to_a_log_that_was_rolled_back(workshop):
    workshop.sign()
    workshop.sign()
    log = Path(ledger.path())
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    Path(f"{log}.head").unlink()
    with pytest.raises(DataError, match=f"the last ones were deleted since {own()} was written"):
        workshop.sign()
    with pytest.raises(DataError, match="the last ones were deleted"):
        signing.prepare(workshop.private)


def test_a_log_that_was_begun_anew_elsewhere_is_named_with_what_to_do(workshop):
    workshop.sign()
    workshop.sign()
    seen = own().read_bytes()
    shutil.rmtree(Path(ledger.path()).parent)
    workshop.sign()
    workshop.sign()
    own().write_bytes(seen)  # as on another machine
    assert any(one.endswith("begun anew on purpose, remove that file") for one in workshop.refused())
    own().unlink()
    assert workshop.refused() == ()


def test_an_anchor_that_the_user_names(workshop, monkeypatch):
    place = workshop.folder / "disk" / "anchor.json"
    monkeypatch.setenv("FORETASTE_ANCHOR", str(place))
    with pytest.raises(PlanError, match="FORETASTE_ANCHOR must name a file in a folder that can be written"):
        signing.prepare(workshop.private)
    place.mkdir(parents=True)
    with pytest.raises(DataError, match="Is a directory"):
        signing.prepare(workshop.private)
    place.rmdir()
    for beside in ("ledger.jsonl", "ledger.jsonl.head", "anchor.json", "deep/anchor.json"):
        monkeypatch.setenv("FORETASTE_ANCHOR", str(workshop.folder / "audits" / beside))
        with pytest.raises(PlanError, match="must name a file outside of the folder of the log"):
            signing.prepare(workshop.private)
    monkeypatch.setenv("FORETASTE_ANCHOR", str(place))
    workshop.sign()
    workshop.sign()
    assert json.loads(place.read_bytes())["entries"] == 2
    assert os.listdir(place.parent) == ["anchor.json"]
    shutil.rmtree(os.environ["FORETASTE_STATE"])
    before = place.read_bytes()
    assert workshop.decide().notes == ()
    assert place.read_bytes() == before  # a gate only reads it


def test_anchors_of_others_and_of_other_keys_decide_nothing(workshop, tmp_path, monkeypatch):
    kept = workshop.folder / "kept.json"
    shutil.copy(workshop.sign(ended=NOW - HOUR), kept)
    from foretaste.gate.attestation import keys

    keys.generate(tmp_path / "other")
    workshop.sign(key=str(tmp_path / "other" / "key.pem"), **POISON)
    monkeypatch.setenv("FORETASTE_LEDGER", str(workshop.folder / "new" / "ledger.jsonl"))
    assert workshop.refused(attestation=str(kept)) == ()


def test_many_at_once_forget_nothing(workshop):
    """Gates that read an older state of the log never take back what an audit has written meanwhile."""
    workshop.sign()
    write = f"""
from datetime import UTC, datetime
from foretaste.gate.attestation import keys, log
from foretaste.types.digests import Digest
key = keys.signer({workshop.private!r})
for n in range(15):
    log.append(log.path(), attestation="x.json", envelope=b"{{}}", dataset=Digest("dirHash1", "a" * 64),
               root="/d", result="PASSED", ended=datetime.now(UTC), key=key)
"""
    gate = f"""
from foretaste.gate.require import decide
for n in range(15):
    found = decide({str(workshop.data)!r}, key={workshop.public!r})
    assert found.allowed, found.reasons
"""
    many = [subprocess.Popen([sys.executable, "-c", code]) for code in (write, gate, write, gate)]
    assert [one.wait() for one in many] == [0, 0, 0, 0]
    assert anchors.of(ledger.path())[0].entries == 31
    assert workshop.decide().allowed
