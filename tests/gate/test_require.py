"""The gate: untouched bytes pass, and everything else is refused for a reason of its own."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attested import NOW, group, held, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import foretaste
from foretaste.dataset.files import Found
from foretaste.errors import DataError, PlanError, Refused
from foretaste.gate import policy, require
from foretaste.gate.attestation import keys
from foretaste.gate.attestation import log as ledger
from foretaste.gate.policy import DEFAULT, Policy, Waiver
from foretaste.gate.verified_file import VerifiedFile
from foretaste.types.digests import Digest
from foretaste.types.findings import Kind

HOUR = timedelta(hours=1)


def flip(path: Path, place: int = 1000) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def in_order(path: Path, rows: list[int]) -> None:
    pq.write_table(pq.read_table(path).take(pa.array(rows)), path, row_group_size=25)


def swap(one: Path, other: Path) -> None:
    one.rename(one.with_suffix(".moved"))
    other.rename(one)
    one.with_suffix(".moved").rename(other)


# What an audit of these very bytes does not speak for


TAMPERED = [
    (lambda data: flip(data / "a.parquet"), ["a.parquet: its bytes changed since the audit"]),
    (lambda data: shutil.copy(data / "a.parquet", data / "c.parquet"),
     ["c.parquet: was added since the audit, with the bytes of a.parquet"]),
    (lambda data: pq.write_table(pa.table({"id": [1]}), data / "c.parquet"), ["c.parquet: was added since the audit"]),
    (lambda data: (data / "b.parquet").unlink(), ["b.parquet: was removed since the audit"]),
    (lambda data: in_order(data / "b.parquet", [1, 0, *range(2, 100)]),
     ["b.parquet: its bytes changed since the audit"]),
    (lambda data: swap(data / "a.parquet", data / "b.parquet"),
     ["a.parquet and b.parquet: have swapped their names since the audit"]),
    (lambda data: (data / "b.parquet").rename(data / "z.parquet"),
     ["b.parquet: was removed since the audit", "z.parquet: was added since the audit, with the bytes of b.parquet"]),
    (lambda data: shutil.copy(data / "a.parquet", data / "b.parquet"),
     ["b.parquet: its bytes changed since the audit, they are those of a.parquet"]),
]  # fmt: skip


def test_untouched_bytes_pass(workshop):
    attestation = workshop.sign()
    for found in (workshop.decide(), workshop.decide(attestation=attestation)):
        assert (found.allowed, found.reasons, found.notes) == (True, (), ())
        assert found.attestation == attestation
        assert (found.policy, found.size) == (
            DEFAULT.digest,
            sum(path.stat().st_size for path in workshop.data.iterdir()),
        )
    shutil.copytree(workshop.data, workshop.folder / "elsewhere")
    assert require.decide(str(workshop.folder / "elsewhere"), key=workshop.public).allowed


@pytest.mark.parametrize(("tamper", "said"), TAMPERED)
def test_other_bytes_are_refused_and_the_file_is_named(tamper, said, workshop):
    attestation = workshop.sign()
    tamper(workshop.data)
    assert list(workshop.refused(attestation=attestation)) == said
    *reasons, advice = workshop.refused()
    assert reasons == said
    assert advice.startswith("since it was audited at ")
    assert advice.endswith(f"run: foretaste audit {workshop.data}")


@given(which=st.sampled_from(["a.parquet", "b.parquet"]), place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_flipped_bit_of_any_file_is_refused(which, place, bit, workshop):
    attestation = str(workshop.folder / "audits" / "1" / "attestation.json")
    if not os.path.exists(attestation):
        workshop.sign()
    path = workshop.data / which
    before = path.read_bytes()
    after = bytearray(before)
    after[place % len(after)] ^= 1 << bit
    path.write_bytes(after)
    try:
        assert workshop.refused(attestation=attestation) == (f"{which}: its bytes changed since the audit",)
    finally:
        path.write_bytes(before)
    assert workshop.refused(attestation=attestation) == ()


def test_no_attestation(workshop, monkeypatch):
    where = ledger.path()
    missing = f"there is no signed audit of these bytes in {where}; run: "
    assert workshop.refused() == (f"{missing}foretaste audit {workshop.data}",)
    assert require.decide(str(workshop.data)).reasons == (
        f"{missing}foretaste keygen && foretaste audit {workshop.data}",
    )
    workshop.sign()
    monkeypatch.setenv("FORETASTE_LEDGER", str(workshop.folder / "empty.jsonl"))
    assert "no signed audit" in workshop.refused()[0]


def test_what_cannot_be_read_is_no_refusal(workshop, tmp_path):
    with pytest.raises(PlanError, match="no such file or folder"):
        require.decide(str(tmp_path / "nowhere"), key=workshop.public)
    attestation = Path(workshop.sign())
    with pytest.raises(DataError, match="cannot be read: No such file"):
        workshop.decide(attestation=str(tmp_path / "none.json"))
    with pytest.raises(PlanError, match="needs a public key"):
        require.decide(str(workshop.data))
    with pytest.raises(PlanError, match="policy cannot be read"):
        workshop.decide(policy="nowhere.toml")
    attestation.write_text("{")
    with pytest.raises(DataError, match="is JSON, and this is not"):
        workshop.decide(attestation=str(attestation))


# What an audit says that does not satisfy the policy


@pytest.mark.parametrize(
    ("changed", "rules", "said"),
    [
        ({"verdict": "failed", "reason": "poison"}, DEFAULT, "the audit failed: poison"),
        ({"runs": [run("labels")]}, DEFAULT, "requires spectral-signature, which the audit did not run"),
        (
            {"runs": [run(status="failed", reason="out of memory")], "verdict": "failed", "reason": "x"},
            DEFAULT,
            "requires spectral-signature, which did not complete: failed, out of memory",
        ),
        ({"ended": NOW - timedelta(days=40)}, DEFAULT, "the audit is 40d old"),
        ({"afterwards": True}, DEFAULT, "not signed when it ran but later"),
        ({"policy": Policy(max_age=HOUR, warned="refuse"), "verdict": "warned"}, DEFAULT, "signed as failed"),
        ({"verdict": "warned", "reason": "odd"}, Policy(warned="refuse"), "the audit warned"),
    ],
)
def test_the_policy_is_obeyed(changed, rules, said, workshop):
    attestation = workshop.sign(**changed)
    for options in ({}, {"attestation": attestation}):
        reasons = workshop.refused(policy=rules, **options)
        assert any(said in reason for reason in reasons), reasons


def test_a_waiver_from_the_file_and_its_end(workshop):
    workshop.sign(verdict="failed", reason="poison", groups=[group()], counts={"backdoor": 12})
    path = workshop.folder / "gate.toml"
    text = '[[waiver]]\ngroup = {kind = "backdoor", label = "cat"}\nby = "ada"\nwhy = "video"\nuntil = %s\n'
    path.write_text(text % f"{NOW + timedelta(days=1):%Y-%m-%d}")
    assert workshop.refused(policy=str(path)) == ()
    path.write_text(text % f"{NOW - timedelta(days=1):%Y-%m-%d}")
    said = "the waiver of ada for the backdoor group labelled cat expired"
    assert any(said in one for one in workshop.refused(policy=str(path)))


# Forged, replaced and older attestations


def test_an_edited_attestation(workshop):
    path = Path(workshop.sign(verdict="failed", reason="poison"))
    sealed = json.loads(path.read_bytes())
    said = base64.b64decode(sealed["payload"]).replace(b'"FAILED"', b'"PASSED"').replace(b'"failed"', b'"passed"')
    path.write_text(json.dumps(sealed | {"payload": base64.b64encode(said).decode()}))
    assert workshop.refused(attestation=str(path))[0].endswith(
        "was edited since it was signed, its signature does not fit what it says now"
    )
    assert "is not the attestation that the log names" in workshop.refused()[0]
    path.unlink()
    assert "that the log names cannot be read" in workshop.refused()[0]


def test_another_key(workshop, tmp_path):
    keys.generate(tmp_path / "other")
    attestation = workshop.sign(key=str(tmp_path / "other" / "key.pem"))
    assert "was signed with another key" in workshop.refused(attestation=attestation)[0]
    (reason,) = workshop.refused()
    assert "were signed with another key (" in reason


def test_the_newest_audit_counts_whatever_the_order_of_the_log(workshop):
    workshop.sign(ended=NOW - HOUR, verdict="failed", reason="poison")
    older = workshop.sign(ended=NOW - 2 * HOUR)
    assert any("the audit failed: poison" in one for one in workshop.refused())
    reasons = workshop.refused(attestation=older)
    assert any(one.startswith("a newer audit of these bytes (") and "poison" in one for one in reasons)


def test_an_audit_repeated_until_it_passes_is_noted(workshop):
    workshop.sign(ended=NOW - HOUR, verdict="failed", reason="poison")
    workshop.sign()
    found = workshop.decide()
    assert found.allowed
    assert found.notes[0].startswith("1 earlier audit of these same bytes failed, the last on ")


def test_a_log_that_is_not_whole_refuses(workshop):
    attestation = workshop.sign()
    workshop.sign(verdict="failed", reason="poison")
    log = Path(ledger.path())
    log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
    for options in ({}, {"attestation": attestation}):
        assert "the last ones were deleted" in workshop.refused(**options)[0]


def test_a_statement_that_contradicts_itself(workshop):
    from foretaste.gate.attestation import statement

    body = statement.verified(Path(workshop.sign()).read_bytes(), workshop.public)
    body["subject"][0]["digest"]["sha256"] = "0" * 64
    path = workshop.folder / "odd.json"
    path.write_bytes(statement.sign(body, workshop.private))
    assert workshop.refused(attestation=str(path)) == (
        "the attestation contradicts itself, its files do not make up its dataset",
    )


# require


def test_require_lets_go_on(workshop):
    attestation = workshop.sign()
    with foretaste.require(str(workshop.data), key=workshop.public) as data:
        assert data.paths == [str(workshop.data / name) for name in ("a.parquet", "b.parquet")]
        assert data.decision.attestation == attestation
        assert [pq.read_table(file).num_rows for file in data.files()] == [100, 100]
    assert all(file.closed for file in data.files())


def test_require_refuses_with_every_reason(workshop):
    workshop.sign()
    flip(workshop.data / "a.parquet")
    (workshop.data / "b.parquet").unlink()
    handles = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(Refused) as caught:
        foretaste.require(str(workshop.data), key=workshop.public)
    assert [reason.partition(":")[0] for reason in caught.value.reasons[:2]] == ["a.parquet", "b.parquet"]
    if handles is not None:
        assert len(os.listdir("/proc/self/fd")) == handles


def test_a_file_that_is_replaced_after_the_check_cannot_be_read(workshop):
    workshop.sign()
    data = foretaste.require(str(workshop.data), key=workshop.public)
    wanted = [pq.read_table(path) for path in data.paths]
    pq.write_table(pa.table({"id": [666]}), workshop.data / "x.parquet")
    os.replace(workshop.data / "x.parquet", workshop.data / "a.parquet")
    (workshop.data / "b.parquet").unlink()
    assert [pq.read_table(file) for file in data.files()] == wanted
    with pytest.raises(Refused, match=r"a\.parquet: was replaced after it was checked"):
        data.check()
    data.close()


def test_a_file_that_is_written_to_after_the_check_is_refused(workshop):
    workshop.sign()
    data = foretaste.require(str(workshop.data), key=workshop.public)
    path = workshop.data / "a.parquet"
    before = path.stat()
    with open(path, "r+b") as file:  # the same inode
        file.seek(500)
        file.write(b"\xff" * 8)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises((Refused, OSError), match="was changed after it was checked"):
        pq.read_table(data.files()[0])
    with pytest.raises(Refused, match="was changed after it was checked"):
        data.check()
    data.close()


def test_a_file_that_is_only_touched_is_still_what_it_was(workshop):
    workshop.sign()
    with foretaste.require(str(workshop.data), key=workshop.public) as data:
        os.utime(workshop.data / "a.parquet")
        os.link(workshop.data / "a.parquet", workshop.folder / "another-name")
        assert pq.read_table(data.files()[0]).num_rows == 100


def test_leaving_checks_again(workshop):
    workshop.sign()

    def training():
        with foretaste.require(str(workshop.data), key=workshop.public):
            shutil.copy(workshop.data / "a.parquet", workshop.folder / "same")
            os.replace(workshop.folder / "same", workshop.data / "a.parquet")

    with pytest.raises(Refused, match="was replaced"):
        training()


def test_a_snapshot_is_what_was_hashed(workshop):
    workshop.sign()
    copy = workshop.folder / "scratch" / "1"
    data = foretaste.require(str(workshop.data), key=workshop.public, snapshot=str(copy))
    flip(workshop.data / "a.parquet")
    assert data.paths == [str(copy / "a.parquet"), str(copy / "b.parquet")]
    assert [pq.read_table(path)["id"][0].as_py() for path in data.paths] == [0, 100]
    data.check()
    data.close()
    with pytest.raises(PlanError, match="must be new or empty"):
        foretaste.require(str(workshop.data), key=workshop.public, snapshot=str(copy))


def test_a_refused_snapshot_leaves_nothing(workshop):
    workshop.sign()
    flip(workshop.data / "a.parquet")
    (workshop.folder / "scratch").mkdir()
    with pytest.raises(Refused):
        foretaste.require(str(workshop.data), key=workshop.public, snapshot=str(workshop.folder / "scratch" / "1"))
    assert os.listdir(workshop.folder / "scratch") == []


def test_data_behind_a_url_needs_a_snapshot(workshop):
    import fsspec

    workshop.sign()
    memory = fsspec.filesystem("memory")
    try:
        for path in workshop.data.iterdir():
            memory.pipe(f"/lake/{path.name}", path.read_bytes())
        assert require.decide("memory://lake", key=workshop.public).allowed
        with pytest.raises(PlanError, match="give snapshot=FOLDER"):
            foretaste.require("memory://lake", key=workshop.public)
        with foretaste.require("memory://lake", key=workshop.public, snapshot=str(workshop.folder / "s")) as data:
            assert [len(pq.read_table(path)) for path in data.paths] == [100, 100]
    finally:
        memory.rm("/lake", recursive=True)


def test_rows_are_the_attested_ones_and_no_others(workshop):
    workshop.sign()
    rows = foretaste.require(str(workshop.data), key=workshop.public).rows(["id"])
    assert [row["id"] for row in rows] == list(range(200))
    assert (len(rows), rows[-1]) == (200, {"id": 199})
    for outside in (200, -201):
        with pytest.raises(IndexError, match="is none of the 200 attested rows"):
            rows[outside]
    seen = [one for batch in DataLoader(rows, batch_size=32, shuffle=True) for one in batch["id"].tolist()]  # type: ignore[arg-type]
    assert sorted(seen) == list(range(200))
    with pytest.raises(Refused, match="column ids was not audited, only id, label were"):
        foretaste.require(str(workshop.data), key=workshop.public).rows(["id", "ids"])
    assert foretaste.require(str(workshop.data), key=workshop.public).rows()[0] == {"id": 0, "label": "cat"}


def test_what_the_job_reads_must_be_what_was_audited(workshop):
    roles = {"modality": "features", "payload": ["id"], "label": "label", "id": None, "source": None}
    workshop.sign(roles=roles | {"chosen": ["label"], "unread": []})
    of = {"key": workshop.public}
    with pytest.raises(Refused, match=r"somebody chose that the audit read label = label: say what the job reads"):
        foretaste.require(str(workshop.data), **of)
    with pytest.raises(Refused, match="the job reads label = fold, and the audit label = label"):
        foretaste.require(str(workshop.data), label="fold", **of)
    assert len(foretaste.require(str(workshop.data), label="label", **of).rows()) == 200
    rules = workshop.folder / "gate.toml"
    rules.write_text('[reads]\nfeatures = ["id"]\nlabel = "label"\n', encoding="utf-8")
    assert foretaste.require(str(workshop.data), policy=str(rules), **of).decision.allowed
    with pytest.raises(PlanError, match="name different columns"):
        foretaste.require(str(workshop.data), policy=str(rules), label="fold", **of)


def test_forked_readers_do_not_move_each_other(workshop):
    file = held(workshop.data / "a.parquet")
    file.seek(10)
    os.lseek(file._handle, 77, os.SEEK_SET)  # as a forked process would that reads through the same handle
    assert file.read(4) == (workshop.data / "a.parquet").read_bytes()[10:14]
    file.close()


def test_a_held_file_is_a_file(workshop):
    path = workshop.data / "a.parquet"
    content, file = path.read_bytes(), held(path)
    assert (file.read(), file.tell(), file.read(1)) == (content, len(content), b"")
    assert file.seek(-8, os.SEEK_END) == len(content) - 8
    assert file.read() == content[-8:]
    assert (file.seek(0), file.readable(), file.seekable(), file.writable()) == (0, True, True, False)
    with pytest.raises(ValueError, match="no place before the first byte"):
        file.seek(-1)
    file.close()
    file.close()


def test_too_many_files_to_hold(workshop, monkeypatch):
    import resource

    workshop.sign()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (65, 65))
    with pytest.raises(PlanError, match="2 files must be held open and the system allows 65, run ulimit -n 258"):
        foretaste.require(str(workshop.data), key=workshop.public)


def test_the_first_line_of_a_training_job_is_quick():
    """The import, without Python's own start; signatures load when there is one to check."""
    code = "import time; t = time.perf_counter(); import foretaste; foretaste.require; print(time.perf_counter() - t)"
    took = min(
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)
        for _ in range(3)
    )
    assert took < 0.5


def test_a_waiver_can_name_the_dataset(workshop):
    workshop.sign(verdict="failed", reason="poison", groups=[group(rows=3)], counts={"backdoor": 3})
    digest = workshop.decide().digest
    waiver = Waiver("ada", "looked at each row", NOW + HOUR, digest)
    assert workshop.refused(policy=Policy(waivers=(waiver,))) == ()
    other = replace(waiver, dataset=Digest("dirHash1", "0" * 64))
    assert workshop.refused(policy=Policy(waivers=(other,)))
    assert policy.DEFAULT.limits[Kind.BACKDOOR].rows == 0


def test_a_file_that_became_a_pipe_since_it_was_found_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.parquet")
    with pytest.raises(OSError, match="not a regular file"):
        VerifiedFile(Found("a.parquet", str(tmp_path / "a.parquet")))
