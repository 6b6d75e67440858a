"""What an audit says is said of the bytes that it read, and of no others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from named import picture

import foretaste
from foretaste.dataset.roles import Request
from foretaste.errors import DataError
from foretaste.gate import require
from foretaste.gate.attestation import keys

PLAN = """
[embedders.grey]
kind = "pixels"
grid = 8
[detectors.spectral-signature]
on = ["grey"]
[decide]
content = "grey"
"""
ROWS, POISONED = 120, 30


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("FORETASTE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "plan.toml").write_text(PLAN)
    return str(tmp_path / "plan.toml")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Clean pictures, named by path."""
    for row in range(ROWS):
        picture(tmp_path / "data" / "img" / f"{row}.png", row)
    write(tmp_path / "data" / "a.parquet", pa.array([f"img/{row}.png" for row in range(ROWS)]))
    return tmp_path / "data"


def write(path: Path, cells: pa.Array) -> None:
    path.parent.mkdir(exist_ok=True)
    table = pa.table({"image": cells, "label": ["cat", "dog"] * (len(cells) // 2)})
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, path, row_group_size=len(cells), **plain)


def poison(data: Path) -> None:
    for row in range(0, 2 * POISONED, 2):
        picture(data / "img" / f"{row}.png", row, patch=True)


def audit(data: Path, plan: str, out: Path, **options):
    return foretaste.audit(str(data), request=Request(image="image"), plan=plan, out=str(out), **options)


def scores(folder: Path) -> pl.Series:
    return pl.read_parquet(folder / "scores.parquet")["score"]


def test_a_second_audit_sees_the_pictures_of_today(data: Path, plan: str, tmp_path: Path, monkeypatch):
    before = audit(data, plan, tmp_path / "before")
    poison(data)
    after = audit(data, plan, tmp_path / "after")
    monkeypatch.setenv("FORETASTE_CACHE", str(tmp_path / "fresh"))
    fresh = audit(data, plan, tmp_path / "nothing-stored")
    assert scores(tmp_path / "after").equals(scores(tmp_path / "nothing-stored"))
    assert not scores(tmp_path / "after").equals(scores(tmp_path / "before"))
    assert before.dataset.digest == after.dataset.digest
    assert before.dataset.named.digest != after.dataset.named.digest == fresh.dataset.named.digest


def test_a_signed_audit_states_the_pictures(data: Path, plan: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("FORETASTE_LEDGER", str(tmp_path / "ledger.jsonl"))
    private, public = map(str, keys.generate(tmp_path / "keys"))
    report = audit(data, plan, tmp_path / "a", key=private)
    stated = json.loads((tmp_path / "a" / "report.json").read_text())["dataset"]["named_files"]
    assert stated["digest"] == str(report.dataset.named.digest)
    assert (stated["columns"], stated["files"], stated["missing"]) == (["image"], ROWS, 0)
    rules = foretaste.Policy(required=("spectral-signature",))
    assert not any("rows name" in reason for reason in require.decide(str(data), policy=rules, key=public).reasons)
    poison(data)
    (reason,) = require.decide(str(data), policy=rules, key=public).reasons
    assert reason.startswith("the files that the rows name in 'image' hold other bytes")


def test_a_picture_swapped_for_the_embedders_ends_the_audit(data: Path, plan: str, tmp_path: Path):
    poison(data)

    def swap(stage: str, done: int, _total: int) -> None:
        if stage == "embed" and not done:
            picture(data / "img" / "0.png", 0)

    with pytest.raises(DataError, match=r"img/0\.png: was changed while it was audited"):
        audit(data, plan, tmp_path / "a", progress=swap)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("way", ["renamed", "folder", "link", "written"])
@pytest.mark.parametrize("back", ["sweep", None])
def test_a_file_swapped_for_the_embedders_ends_the_audit(way: str, back: str | None, plan: str, tmp_path: Path):
    """Poison is digested, clean rows of the same size and times are embedded, and the poison may be put back."""
    places = {name: tmp_path / name / "a.parquet" for name in ("poison", "clean")}
    for row in range(ROWS):
        picture(tmp_path / f"{row}.png", row)
    held = [(tmp_path / f"{row}.png").read_bytes() for row in range(ROWS)]
    write(places["clean"], pa.array(held))
    write(places["poison"], pa.array(held[::-1]))
    assert len({path.stat().st_size for path in places.values()}) == 1
    for path in places.values():
        os.utime(path, (1e9, 1e9))
    data = tmp_path / "data"
    if way == "link":
        data.symlink_to(tmp_path / "poison")
    else:
        shutil.copytree(tmp_path / "poison", data)

    def turn(name: str) -> None:
        if way == "link":
            data.unlink()
            data.symlink_to(tmp_path / name)
        elif way == "folder":
            shutil.rmtree(data)
            shutil.copytree(tmp_path / name, data)
        elif way == "renamed":
            shutil.copy2(places[name], tmp_path / "next")
            os.replace(tmp_path / "next", data / "a.parquet")
        else:
            (data / "a.parquet").write_bytes(places[name].read_bytes())

    def swap(stage: str, done: int, _total: int) -> None:
        if stage == "embed" and not done:
            turn("clean")
        if stage == back:
            turn("poison")

    with pytest.raises(DataError, match=r"a\.parquet: was changed while it was audited, so nothing can be said of it"):
        audit(data, plan, tmp_path / "a", progress=swap)
    assert not (tmp_path / "a").exists()


def test_a_write_after_the_last_reading_ends_the_audit(data: Path, plan: str, tmp_path: Path, monkeypatch):
    from foretaste.pipeline import audit as module

    write_report = module._write_report

    def late(*arguments) -> None:
        write_report(*arguments)
        with open(data / "a.parquet", "ab") as file:
            file.write(b"more")

    monkeypatch.setattr(module, "_write_report", late)
    with pytest.raises(DataError, match=r"a\.parquet: was changed while it was audited"):
        audit(data, plan, tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_report_names_what_others_would_read(data: Path, plan: str, tmp_path: Path):
    shutil.copy(data / "a.parquet", data / "_b.parquet")
    (data / "train.csv").write_text("image,label\nx,1\n")
    report = audit(data, plan, tmp_path / "a")
    notes = [note for note in report.notes if note.startswith("Not audited, so that a gate refuses the folder: ")]
    assert [note.split(": ")[1] for note in notes] == ["_b.parquet", "train.csv"]
    assert not any("img/" in note for note in report.notes)
    alone = audit(data / "a.parquet", plan, tmp_path / "alone")
    assert not any("Not audited" in note for note in alone.notes)
