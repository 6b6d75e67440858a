"""A pass is about every byte that a job reads: files that rows name, files beside the data, and copies of both."""

from __future__ import annotations

import mmap
import os
import shutil
import sys
from pathlib import Path

import named
import pyarrow.parquet as pq
import pytest
from attested import Workshop, report

import foretaste
from benchmarks.readers import parquet
from foretaste.dataset.parquet import open_dataset
from foretaste.errors import PlanError, Refused
from foretaste.gate.attestation import bound_files
from foretaste.gate.attestation.verify import compared
from foretaste.report.document import named_files

BYTES = "the files that the rows name in 'image' hold other bytes than when they were audited"


def signed(workshop: Workshop, **changed: object) -> str:
    """Sign an audit of pictures that rows name."""
    data = report(str(workshop.data))["dataset"]
    held = named_files(open_dataset([str(workshop.data)]).named)
    roles = {"modality": "image", "payload": ["image"], "label": "label", "id": None, "source": None}
    return workshop.sign(dataset=data | {"named_files": held} | changed, roles=roles)


@pytest.fixture
def pictures(workshop: Workshop) -> Workshop:
    shutil.rmtree(workshop.data)
    named.dataset(workshop.data, files=2)
    return workshop


# Files that rows name


def overwrite(data: Path) -> None:
    named.picture(data / "img" / "3.png", 99)


def exchange(data: Path) -> None:
    shutil.move(data / "img" / "0.png", data / "x")
    shutil.move(data / "img" / "1.png", data / "img" / "0.png")
    shutil.move(data / "x", data / "img" / "1.png")


def append(data: Path) -> None:
    with open(data / "img" / "5.png", "ab") as file:
        file.write(b"\0")


def link(data: Path) -> None:
    named.picture(data.parent / "other.png", 77)
    (data / "img" / "2.png").unlink()
    (data / "img" / "2.png").symlink_to(data.parent / "other.png")


@pytest.mark.parametrize("change", [overwrite, exchange, append, link])
def test_pictures_that_changed_since_the_audit_are_refused(change, pictures):
    attestation = signed(pictures)
    assert pictures.refused() == pictures.refused(attestation=attestation) == ()
    change(pictures.data)
    assert pictures.refused() == pictures.refused(attestation=attestation) == (BYTES,)
    for options in ({}, {"snapshot": str(pictures.folder / "copy")}):
        with pytest.raises(Refused, match="hold other bytes than when they were audited"):
            foretaste.require(str(pictures.data), key=pictures.public, **options)
    assert not (pictures.folder / "copy").exists()
    _, different = compared(attestation, [str(pictures.data)], pictures.public)
    assert different == (BYTES,)


def test_pictures_that_are_gone_are_refused(pictures):
    signed(pictures)
    for row in (1, 4):
        (pictures.data / "img" / f"{row}.png").unlink()
    said = "2 of 6 files that the rows name in 'image' cannot be read, and it was 0 when they were audited"
    assert pictures.refused() == (said,)


def test_pictures_that_were_missing_may_stay_missing(pictures):
    (pictures.data / "img" / "1.png").unlink()
    signed(pictures)
    assert pictures.refused() == ()
    named.picture(pictures.data / "img" / "1.png", 1)
    assert pictures.refused() == (BYTES,)


def test_an_attestation_that_does_not_state_them(pictures):
    pictures.sign()  # as a release before
    (reason,) = pictures.refused()
    assert reason.startswith("the rows name files in 'image', and the attestation, of an earlier release, does not say")


def test_an_attestation_that_does_not_state_them_of_data_that_names_none(workshop):
    workshop.sign()
    assert workshop.refused() == ()


def test_data_that_names_no_files_costs_no_pyarrow(workshop):
    workshop.sign(dataset=report(str(workshop.data))["dataset"] | {"named_files": None})
    code = f"""
import sys
from foretaste.gate.require import decide, require
assert decide({str(workshop.data)!r}, key={workshop.public!r}).allowed
require({str(workshop.data)!r}, key={workshop.public!r}).close()
assert not {{"pyarrow", "torch", "numpy", "yaml"}} & set(sys.modules)
"""
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "entry",
    [
        {"annotations": {}},
        {"annotations": {"columns": "image", "recipe": "r", "files": 1, "missing": 0, "size": 0}},
        {"annotations": {"columns": ["image"], "recipe": "r", "files": -1, "missing": 0, "size": 0}},
    ],
)
def test_what_is_stated_wrongly_is_refused(entry, pictures):
    from foretaste.gate.attestation import statement

    body = statement.verified(Path(signed(pictures)).read_bytes(), pictures.public)
    [stated] = [one for one in body["predicate"]["configuration"] if one["name"] == bound_files.NAME]
    stated |= entry
    path = pictures.folder / "odd.json"
    path.write_bytes(statement.sign(body, pictures.private))
    assert "lacks what an audit says" in pictures.refused(attestation=str(path))[0]


def test_a_snapshot_holds_what_rows_name(pictures):
    signed(pictures)
    copy = pictures.folder / "copy"
    data = foretaste.require(str(pictures.data), key=pictures.public, snapshot=str(copy))
    shutil.rmtree(pictures.data)
    assert sorted(path.name for path in (copy / "img").iterdir()) == [f"{row}.png" for row in range(6)]
    assert {row["image"] for row in data.rows()} == {f"img/{row}.png" for row in range(6)}
    data.check()
    (copy / "img" / "3.png").unlink()
    named.picture(copy / "img" / "3.png", 99)
    with pytest.raises(Refused, match=BYTES):
        data.check()
    shutil.rmtree(copy / "img")
    with pytest.raises(Refused, match="6 of 6 files"):
        data.check()
    data.close()


def test_leaving_looks_at_what_rows_name(pictures):
    signed(pictures)

    def training() -> None:
        with foretaste.require(str(pictures.data), key=pictures.public):
            overwrite(pictures.data)

    with pytest.raises(Refused, match=BYTES):
        training()


def test_pictures_are_no_strays(pictures):
    signed(pictures)
    named.picture(pictures.data / "img" / "train.png", 7)
    (reason,) = pictures.refused()
    assert reason.startswith(
        "img/train.png: datasets may read it instead of the Parquet files, and no audited row names"
    )


# Files beside the data


@pytest.mark.parametrize("name", ["_c.parquet", ".c.parquet", "_x/c.parquet", "train.csv", "README.md"])
def test_files_that_readers_take_in_are_refused(name, workshop):
    attestation = workshop.sign()
    path = workshop.data / name
    if name == "README.md":
        path.write_text("---\nconfigs:\n- data_files: ../evil.parquet\n---\n")
    elif name.endswith(".csv"):
        path.write_text("id,label\n1,cat\n")
    else:
        parquet(path)
    for options in ({}, {"attestation": attestation}):
        (reason,) = workshop.refused(**options)
        assert reason.startswith(f"{name}: ")
        assert "datasets" in reason or "polars" in reason
    with pytest.raises(Refused, match="was not audited"):
        foretaste.require(str(workshop.data), key=workshop.public)
    files = [str(workshop.data / file) for file in ("a.parquet", "b.parquet")]
    foretaste.require(files, key=workshop.public).close()


def test_every_reason_is_given_at_once(workshop):
    workshop.sign(verdict="failed", reason="poison")
    parquet(workshop.data / "_c.parquet")
    first, second = workshop.refused()
    assert first.startswith("_c.parquet: ")
    assert second == "the audit failed: poison"


# Copies that nobody else can write to


def mapped(path: Path) -> mmap.mmap:
    """A writer that has the file in its memory, and has written to it before."""
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 0)
    memory[500:501] = memory[500:501]
    return memory


def test_a_mapping_made_before_escapes_the_handles_but_not_check(workshop):
    workshop.sign()
    writer = mapped(workshop.data / "a.parquet")
    data = foretaste.require(str(workshop.data), key=workshop.public)
    writer[500] ^= 1
    with pytest.raises(Refused, match="was changed after it was checked"):
        data.check()
    data.close()


def test_copies_in_memory_are_proof_against_it(workshop):
    workshop.sign()
    writer = mapped(workshop.data / "a.parquet")
    with foretaste.require(str(workshop.data), key=workshop.public, in_memory=True) as data:
        wanted = [file.readall() for file in data.files()]
        assert [content[:4] for content in wanted] == [b"PAR1"] * 2
        writer[500] ^= 1
        (workshop.data / "b.parquet").unlink()
        for path, file, content in zip(data.paths, data.files(), wanted, strict=True):
            assert content == Path(path).read_bytes()
            file.seek(0)
            assert file.readall() == content
        assert [pq.read_table(path).num_rows for path in data.paths] == [100, 100]
        assert len(data.rows(["id"])) == 200
    assert data.files()[0].closed


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux")
def test_nobody_writes_to_sealed_memory(workshop):
    workshop.sign()
    with foretaste.require(str(workshop.data), key=workshop.public, in_memory=True) as data:
        with pytest.raises(OSError, match="not permitted"):
            os.truncate(data.paths[0], 0)
        with open(data.paths[0], "r+b", buffering=0) as file, pytest.raises(OSError, match="not permitted"):
            file.write(b"x")


def test_without_sealed_memory_the_copy_has_no_name(workshop, monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    workshop.sign()
    with foretaste.require(str(workshop.data), key=workshop.public, in_memory=True) as data:
        assert [pq.read_table(file).num_rows for file in data.files()] == [100, 100]
        assert [os.fstat(os.open(path, os.O_RDONLY)).st_nlink for path in data.paths] == [0, 0]


def test_refused_copies_are_given_back(workshop):
    workshop.sign(verdict="failed", reason="poison")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None
    with pytest.raises(Refused, match="poison"):
        foretaste.require(str(workshop.data), key=workshop.public, in_memory=True)
    if before is not None:
        assert len(os.listdir("/proc/self/fd")) == before


def test_one_kind_of_copies(workshop, pictures):
    signed(pictures)
    with pytest.raises(PlanError, match="a snapshot or in memory, got both"):
        foretaste.require(str(workshop.data), key=workshop.public, in_memory=True, snapshot=str(workshop.folder / "s"))
    with pytest.raises(PlanError, match="rows name files, which need a copy as well, give snapshot=FOLDER"):
        foretaste.require(str(pictures.data), key=pictures.public, in_memory=True)
