"""Whole audits of the sample datasets: what they find, and the files they leave."""

from __future__ import annotations

import html.parser
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from places import DATA

import foretaste
from foretaste.errors import DataError, PlanError
from foretaste.gate.attestation import statement
from foretaste.gate.facts import contradictions
from foretaste.gate.policy import DEFAULT
from foretaste.types import tables
from foretaste.types.findings import Kind, Verdict

PLANTED, CLEAN = "digits_badnets", "digits"

# One cheap view and one small probe, where the default plan is not the point.
QUICK = """
[embedders.grey]
kind = "pixels"
[embedders.probe]
epochs = 1
width = 8
[detectors.spectral-signature]
on = ["grey"]
[detectors.label-issue]
on = ["probe"]
[decide]
content = "grey"
"""


@pytest.fixture
def quick(tmp_path: Path) -> str:
    path = tmp_path / "quick.toml"
    path.write_text(QUICK, encoding="utf-8")
    return str(path)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORETASTE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digits(name: str = PLANTED) -> str:
    return str(DATA / f"{name}.parquet")


def poisoned() -> np.ndarray:
    return pq.read_table(DATA / "truth" / f"{PLANTED}.parquet")["is_poisoned"].to_numpy()


# What is found


def test_planted_rows_are_found(audited):
    run = audited(PLANTED)
    samples = pl.read_parquet(run.folder / "samples.parquet")
    backdoor = samples["kinds"].list.contains(str(Kind.BACKDOOR)).to_numpy()
    assert backdoor[poisoned()].mean() >= 0.95
    assert not backdoor[~poisoned()].any()
    assert samples["flagged"].to_numpy()[~poisoned()].mean() <= 0.01  # labels that a probe of two epochs doubts
    assert (run.report["verdict"], run.report["flagged"]) == ("failed", samples["flagged"].sum())
    assert [(group["kind"], group["label"]) for group in run.report["groups"] if group["kind"] == "backdoor"] == [
        ("backdoor", "3")
    ]


def test_risk_ranks_planted_rows_first(audited):
    risk = pl.read_parquet(audited(PLANTED).folder / "samples.parquet")["risk"].to_numpy()
    below = (risk[poisoned()][:, None] > risk[~poisoned()][None, :]).mean()
    assert below >= 0.99  # AUROC, ties counted against it


def test_clean_data_passes(audited):
    run = audited(CLEAN)
    assert run.report["verdict"] == "passed"
    assert run.report["flagged"] <= 0.005 * run.report["rows"]
    assert not [group for group in run.report["groups"] if group["kind"] == "backdoor"]


def test_a_table_of_measurements_passes_or_warns(audited):
    run = audited("breast_cancer", "--label", "label")
    assert run.report["roles"]["modality"] == "features"
    assert len(run.report["roles"]["payload"]) == 30
    assert (run.code, run.report["verdict"]) in [(0, "passed"), (0, "warned")]
    assert run.report["flagged"] <= 0.03 * run.report["rows"]  # a few diagnoses that look wrong
    silent = {one["detector"]: one["reason"] for one in run.report["runs"] if one["status"] != "completed"}
    assert silent == {
        "flipped-labels": "needs labels of more than 3 classes, which calibrate each other",
        "flipped-pairs": "needs labels of 4 to 32 classes, whose pairs calibrate each other",
    }


# The files


@pytest.fixture(params=[PLANTED, CLEAN])
def run(request, audited):
    return audited(request.param)


def test_an_audit_is_these_files(run):
    assert sorted(os.listdir(run.folder)) == [
        "atlas.parquet",
        "flagged.parquet",
        "report.html",
        "report.json",
        "rows.parquet",
        "samples.parquet",
        "scores.parquet",
    ]


def test_what_is_signed_of_an_audit_contradicts_nothing(run):
    now = datetime.now(UTC)
    body = statement.statement(run.report, policy=DEFAULT, started=now, ended=now)
    assert contradictions(statement.facts(body)) == ()


def test_every_row_is_in_samples_once(run):
    samples = pq.read_table(run.folder / "samples.parquet")
    assert samples.schema.equals(tables.samples(pa.int64()))
    given = pq.read_table(digits(run.folder.name))
    assert samples["row"].to_pylist() == list(range(given.num_rows))
    assert samples["id"].to_pylist() == given["id"].to_pylist()
    assert samples["label"].to_pylist() == list(map(str, given["label"].to_pylist()))
    assert set(samples["file"].to_pylist()) == {f"{run.folder.name}.parquet"}


def test_a_row_can_be_traced_to_the_users_file(run):
    file = pq.ParquetFile(digits(run.folder.name))
    found = pq.read_table(run.folder / "samples.parquet").to_pylist()
    for row in found[:: len(found) // 11]:
        group = file.read_row_group(row["row_group"])
        assert group["id"][row["row_in_group"]].as_py() == row["id"]


def test_samples_hold_together(run):
    samples = pl.read_parquet(run.folder / "samples.parquet")
    assert samples["risk"].is_between(0, 1).all()
    assert samples["p_value"].is_between(0, 1).all()
    assert (samples["flagged"] == (samples["kinds"].list.len() > 0)).all()
    assert set(samples["kinds"].explode().drop_nulls()) <= set(map(str, Kind))
    assert (samples.filter("flagged")["reason"] != "").all()
    assert (samples["flagged"] | (samples["risk"] <= 0.5)).all()
    assert (~samples["flagged"] | (samples["risk"] >= 0.5)).all()
    planned = set(run.report["plan"]["detectors"])
    assert set(samples["detectors"].explode().drop_nulls()) <= planned


def test_flagged_are_the_flagged_samples_most_suspicious_first(run):
    flagged = pl.read_parquet(run.folder / "flagged.parquet")
    samples = pl.read_parquet(run.folder / "samples.parquet")
    assert pq.read_schema(run.folder / "flagged.parquet").equals(tables.samples(pa.int64()))
    assert flagged.equals(samples.filter("flagged").sort("risk", "row", descending=[True, False]))
    assert run.report["flagged"] == len(flagged)


def test_scores_are_long(run):
    scores = pq.read_table(run.folder / "scores.parquet")
    assert scores.schema.equals(tables.SCORES)
    frame = pl.from_arrow(scores)
    looks = {(one["detector"], one["embedder"]) for one in run.report["runs"] if one["status"] == "completed"}
    seen = frame.group_by("detector", "embedder").agg(pl.len(), pl.col("row").n_unique().alias("rows"))
    assert set(seen.select("detector", "embedder").rows()) == looks
    assert set(seen["len"]) == set(seen["rows"]) == {run.report["rows"]}
    assert frame["score"].is_finite().all()
    assert frame["p_value"].is_between(0, 1).all()
    for text in frame["evidence"].drop_nulls().head(20):
        assert all(value is None or isinstance(value, (int, float)) for value in json.loads(text).values())


def test_report_json_has_what_other_tools_read(run):
    report = run.report
    promised = {"verdict", "rows", "flagged", "dataset", "roles", "runs", "groups", "power", "versions", "seconds"}
    assert promised <= report.keys()
    assert report["false_alarms"] == {}  # nobody measured this plan
    assert report["rows"] == 1797
    roles = {"modality": "image", "payload": ["image"], "label": "label", "id": "id", "source": None}
    assert report["roles"] == roles | {"chosen": [], "unaudited": {}, "unread": []}
    file = report["dataset"]["files"][0]
    card = (DATA / "README.md").read_text(encoding="utf-8")
    assert file["digest"].removeprefix("sha256:") in card
    assert report["dataset"]["digest"].startswith("dirHash1:")
    for one in report["runs"]:
        assert list(one) == ["detector", "embedder", "status", "reason", "seconds", "rows"]
        assert one["status"] == "completed"
    for group in report["groups"]:
        assert list(group) == ["kind", "label", "rows", "p_value", "detectors", "reason", "evidence"]
    assert report["versions"].keys() >= {"code", "python", "foretaste", "torch", "pyarrow", "polars"}
    assert all(seconds >= 0 for seconds in report["seconds"].values())


class Page(html.parser.HTMLParser):
    """The elements of a page, what it fetches, and its words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "srcset", "href", "action") and value]

    def handle_data(self, data):
        self.words += data


def test_report_html_stands_alone(run):
    page = Page((run.folder / "report.html").read_text(encoding="utf-8"))
    assert not [place for place in page.fetched if not place.startswith(("data:", "#"))]
    assert run.report["reason"][1:] in page.words  # as a sentence, with a capital
    assert ("img" in page.tags) == (run.report["flagged"] > 0)


# Again, elsewhere, interrupted


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """300 of the digits."""
    path = tmp_path_factory.mktemp("few") / "few.parquet"
    pq.write_table(pq.read_table(digits()).slice(0, 300), path, row_group_size=100)
    return str(path)


def stored(folder: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_ino for entry in os.scandir(folder) if entry.name.endswith(".sealed")}


def test_the_same_audit_again_reuses_every_embedding(few, quick, own_cache, tmp_path):
    foretaste.audit(few, plan=quick, out=str(tmp_path / "a"))
    before = stored(own_cache)
    foretaste.audit(few, plan=quick, out=str(tmp_path / "b"))
    assert len(before) == 3  # two embedders, and the rows that cannot be read
    assert stored(own_cache) == before
    for name in ("samples.parquet", "scores.parquet", "flagged.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_seed_trains_another_probe(few, quick, own_cache, tmp_path):
    foretaste.audit(few, plan=quick, out=str(tmp_path / "a"))
    before = stored(own_cache)
    foretaste.audit(few, plan=quick, out=str(tmp_path / "b"), seed=1)
    assert len(stored(own_cache).keys() - before.keys()) == 1


def test_the_place_of_a_dataset_does_not_matter(few, quick, own_cache, tmp_path):
    foretaste.audit(few, plan=quick, out=str(tmp_path / "a"))
    before = stored(own_cache)
    (tmp_path / "moved").mkdir()
    os.symlink(few, tmp_path / "moved" / "few.parquet")
    foretaste.audit(str(tmp_path / "moved"), plan=quick, out=str(tmp_path / "b"))
    assert stored(own_cache) == before
    assert (tmp_path / "a" / "samples.parquet").read_bytes() == (tmp_path / "b" / "samples.parquet").read_bytes()


def test_an_audit_that_breaks_leaves_nothing(few, quick, tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("foretaste.pipeline.audit.page", full)
    with pytest.raises(OSError, match="no space"):
        foretaste.audit(few, plan=quick, out=str(tmp_path / "results" / "a"))
    assert not (tmp_path / "results").exists()


def test_results_may_lie_beside_a_file(few, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(few, "here.parquet")
    report = foretaste.audit("here.parquet", plan=quick)
    assert Path(report.folder).parent == tmp_path / "audits"


def test_results_must_not_lie_in_a_folder_of_data(few, quick, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink(few, "here.parquet")
    with pytest.raises(PlanError, match=r"must not lie inside the dataset \."):
        foretaste.audit(".", plan=quick)
    assert not (tmp_path / "audits").exists()


def test_from_python(few, quick, tmp_path):
    """What the README shows: a Report comes back, and Prefect is never needed."""
    code = f"""
import sys, foretaste
report = foretaste.audit({few!r}, plan={quick!r}, out={str(tmp_path / "a")!r})
assert callable(foretaste.audit)
print(report.rows, "prefect" in sys.modules, "foretaste.flows" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["300", "False", "False"]
    assert done.stderr == ""  # a library does not talk unasked


def test_a_detector_that_breaks_is_never_clean(few, quick, tmp_path, monkeypatch):
    from foretaste.detectors.spectral_signature import SpectralSignature

    def broken(*_):
        raise RuntimeError("ups")

    monkeypatch.setattr(SpectralSignature, "begin", broken)
    report = foretaste.audit(few, plan=quick, out=str(tmp_path / "a"))
    assert report.verdict is Verdict.FAILED
    assert "spectral-signature on grey did not complete" in report.reason
    assert {run.detector: str(run.status) for run in report.runs} == {
        "spectral-signature": "failed",
        "label-issue": "completed",
    }


def test_a_report_says_what_was_not_looked_at(few, quick, tmp_path):
    """Without labels no class can be compared with others, and a verdict must not hide that."""
    report = foretaste.audit(few, request=foretaste.Request(label=""), plan=quick, out=str(tmp_path / "a"))
    assert any("no labels" in note for note in report.notes)
    assert {run.detector: str(run.status) for run in report.runs}["label-issue"] == "not applicable"
    samples = pq.read_table(Path(report.folder) / "samples.parquet")
    assert samples["label"].null_count == len(samples) == report.rows


def test_what_changes_during_an_audit_is_noticed(few, quick, tmp_path):
    path = tmp_path / "few.parquet"
    shutil.copy(few, path)

    def grow(stage, done, _total):
        if stage == "embed" and done == 0:
            with open(path, "ab") as file:
                file.write(b"more")

    with pytest.raises(DataError, match="changed while it was audited"):
        foretaste.audit(str(path), plan=quick, out=str(tmp_path / "a"), progress=grow)
    assert not (tmp_path / "a").exists()
