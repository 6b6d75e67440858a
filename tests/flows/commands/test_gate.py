"""`foretaste keygen`, `audit`, `gate`, `verify` and `attest` as people and machines call them, with a real audit."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from xml.etree import ElementTree as Tree

import pyarrow.parquet as pq
import pytest
from attested import Workshop, annotated, report
from places import DATA

from foretaste.flows.cli import main

PLAN = """
[embedders.grey]
kind = "pixels"
[detectors.spectral-signature]
[decide]
content = "grey"
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with the clean digits as its training data, and a user without keys."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORETASTE_LEDGER")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "train").mkdir()
    shutil.copy(DATA / "digits.parquet", tmp_path / "train")
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "any.toml").write_text('plans = ["any"]')
    return tmp_path


ANY = ("--policy", "any.toml")


def audit(*options: str) -> int:
    return main(["audit", "train", "--plan", "plan.toml", *options])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda table: table.take(list(reversed(range(len(table))))),
            "same rows in another order, 1,796 of them moved",
        ),
        (lambda table: table.slice(1), "of its rows 1 removed"),
        (lambda table: table.replace_schema_metadata({"a": "b"}), "same rows in the same order, written otherwise"),
    ],
)
def test_a_refusal_says_what_became_of_the_rows(here, capsys, change, said):
    assert main(["keygen"]) == 0
    assert audit("--out", "audits/1") == 0
    path = here / "train" / "digits.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    capsys.readouterr()
    assert main(["gate", "train"]) == 1
    out = capsys.readouterr().out
    assert "digits.parquet: its bytes changed since the audit" in out
    assert said in out


def test_a_refusal_does_without_a_manifest_and_without_parquet(here, capsys):
    assert main(["keygen"]) == 0
    assert audit("--out", "audits/1") == 0
    (here / "train" / "digits.parquet").write_bytes(b"PAR1 no more PAR1")
    assert main(["gate", "train"]) == 1
    assert "its rows cannot be compared with those that were audited" in capsys.readouterr().out
    (here / "audits/1/rows.parquet").unlink()
    assert main(["gate", "train"]) == 1
    assert "its bytes changed since the audit" in capsys.readouterr().out


def test_from_nothing_to_a_training_job_that_starts_or_does_not(here, capsys):
    assert main(["gate", "train"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("REFUSED  train (1 file, ")
    assert "run: foretaste keygen && foretaste audit train\n" in out

    assert main(["keygen"]) == 0
    out, err = capsys.readouterr()
    assert out.split() == [str(here / "config/foretaste/key.pem"), str(here / "config/foretaste/key.pub")]
    assert "key.pem signs and stays here" in err
    assert main(["keygen"]) == 2
    assert "a key is never replaced" in capsys.readouterr().err

    assert audit("--out", "audits/0") == 0
    assert "signed as failed: the audit followed the plan sha256:" in capsys.readouterr().err
    assert audit("--out", "audits/1", *ANY) == 0
    assert "signed" not in capsys.readouterr().err
    assert main(["gate", "train"]) == 1
    assert "name it in plans of gate.toml" in capsys.readouterr().out
    assert main(["gate", "train", *ANY]) == 0
    assert capsys.readouterr().out.startswith("ALLOWED  train (1 file, ")
    assert main(["verify", "audits/1/attestation.json", "train"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said] == ["ok"] * 4
    assert said[-1] == "ok   the audit says passed"

    shutil.copy(DATA / "digits_badnets.parquet", "train/digits.parquet")
    assert main(["gate", "train"]) == 1
    assert "  - digits.parquet: its bytes changed since the audit\n" in capsys.readouterr().out
    assert main(["verify", "audits/1/attestation.json", "train"]) == 1
    assert "NOT  digits.parquet: its bytes changed since the audit\n" in capsys.readouterr().out
    assert audit("--out", "audits/2") == 1
    assert main(["gate", "train"]) == 1
    assert "  - the audit failed: " in capsys.readouterr().out
    assert main(["verify", "audits/2/attestation.json", "train"]) == 0
    assert "the audit says failed" in capsys.readouterr().out
    sent = json.loads(Path("audits/ledger.jsonl").read_text().splitlines()[2])["entry"]
    assert (sent["attestation"], sent["result"], sent["root"]) == ("2/attestation.json", "FAILED", str(here / "train"))


def test_an_audit_without_a_key_says_so_once_and_only_where_it_matters(here, capsys, monkeypatch):
    assert audit("--out", "1") == 0
    assert capsys.readouterr().err.count("not signed, so no gate will open for it: run foretaste keygen") == 1
    assert "attestation.json" not in os.listdir("1")
    monkeypatch.setenv("FORETASTE_KEY", "")
    assert audit("--out", "2") == 0
    assert "signed" not in capsys.readouterr().err
    monkeypatch.delenv("FORETASTE_KEY")
    shutil.copy(DATA / "digits_badnets.parquet", "train/digits.parquet")
    assert audit("--out", "3") == 1
    assert "signed" not in capsys.readouterr().err
    assert not (here / "audits").exists()


def test_a_key_that_cannot_sign_stops_the_audit_before_it_begins(here, capsys):
    assert main(["keygen", "--out", "keys"]) == 0
    os.chmod("keys/key.pem", 0o644)
    assert audit("--key", "keys/key.pem", "--out", "1") == 2
    assert "others can read this private key" in capsys.readouterr().err
    assert audit("--policy", "gate.toml", "--out", "1") == 2
    assert "which needs a key" in capsys.readouterr().err
    Path("gate.toml").write_text("max_agee = '7d'")
    os.chmod("keys/key.pem", 0o600)
    assert audit("--key", "keys/key.pem", "--policy", "gate.toml", "--out", "1") == 2
    assert "did you mean 'max_age'?" in capsys.readouterr().err
    assert not (here / "1").exists()


def test_an_audit_that_its_policy_refuses_says_so(here, capsys):
    main(["keygen"])
    Path("gate.toml").write_text('required = ["label-issue"]')
    assert audit("--policy", "gate.toml", "--out", "1") == 0
    err = capsys.readouterr().err
    assert "signed as failed: the policy requires label-issue, which the audit did not run\n" in err
    assert main(["gate", "train"]) == 1
    assert "signed as failed by the policy it ran under" in capsys.readouterr().out
    assert sorted(os.listdir(here / "audits")) == ["ledger.jsonl", "ledger.jsonl.head"]


@pytest.mark.usefixtures("here")
def test_an_audit_of_chosen_columns_says_what_the_gate_must_be_told(capsys):
    main(["keygen"])
    assert audit("--out", "1", "--label", "label", *ANY) == 0
    assert "signed; say to the gate what the job reads: foretaste gate … --image image --label label" in (
        capsys.readouterr().err
    )
    assert main(["gate", "train", *ANY]) == 1
    assert "somebody chose that the audit read label = label" in capsys.readouterr().out
    assert main(["gate", "train", "--image", "image", "--label", "label", *ANY]) == 0
    assert main(["gate", "train", "--label", "id", *ANY]) == 1


@pytest.mark.usefixtures("here")
def test_signing_afterwards(capsys):
    assert audit("--out", "1") == 0
    assert main(["attest", "1"]) == 2
    assert "signing needs a private key" in capsys.readouterr().err
    main(["keygen"])
    shutil.copytree("1", "2")
    assert main(["attest", "1", *ANY]) == 0
    assert main(["attest", "1"]) == 2
    assert "is signed already" in capsys.readouterr().err
    assert main(["gate", "train"]) == 1
    assert "not signed when it ran but later" in capsys.readouterr().out
    Path("gate.toml").write_text('afterwards = "allow"\nplans = ["any"]')
    assert main(["gate", "train", "--policy", "gate.toml"]) == 0
    shutil.copy(DATA / "digits_badnets.parquet", "train/digits.parquet")
    assert main(["attest", "2"]) == 2
    assert "digits.parquet: changed since it was audited" in capsys.readouterr().err
    assert "attestation.json" not in os.listdir("2")


@pytest.mark.parametrize("seconds", [1e15, -1e15, 1e300, float("inf")])
def test_a_report_of_no_year_is_not_signed(seconds, workshop: Workshop, capsys, monkeypatch):
    audit = workshop.folder / "unsigned"
    audit.mkdir()
    (audit / "report.json").write_text(json.dumps(report(str(workshop.data))))
    monkeypatch.setattr(os.path, "getmtime", lambda _: seconds)
    assert main(["attest", str(audit), "--key", workshop.private]) == 2
    assert "report.json must have a time of the years 1 to 9999, run touch on it" in capsys.readouterr().err
    assert os.listdir(audit) == ["report.json"]


@pytest.fixture
def small(workshop: Workshop, monkeypatch):
    monkeypatch.chdir(workshop.folder)
    monkeypatch.setenv("FORETASTE_PUBLIC_KEY", workshop.public)
    return workshop


def test_json(small, capsys):
    path = small.sign()
    assert main(["gate", "data", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["allowed"], found["reasons"], found["attestation"]) == (True, [], path)
    assert found["audit"]["verdict"] == "passed"
    (small.data / "b.parquet").unlink()
    assert main(["gate", "data", "--json", "--attestation", path]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["allowed"], found["reasons"]) == (False, ["b.parquet: was removed since the audit"])
    assert list(found["files"]) == ["a.parquet"]


def test_junit(small, capsys):
    small.sign()
    assert main(["gate", "data", "--junit"]) == 0
    suite = Tree.fromstring(capsys.readouterr().out)
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    (small.data / "b.parquet").unlink()
    assert main(["gate", "data", "--junit"]) == 1
    suite = Tree.fromstring(capsys.readouterr().out)
    assert suite.get("failures") == "1"
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "b.parquet: was removed since the audit"
    assert main(["gate", "data", "--json", "--junit"]) == 2


def test_a_summary_for_a_job(small, monkeypatch, capsys):
    page = small.folder / "summary.md"
    page.write_text("# before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    small.sign(verdict="failed", reason="a|b `c`\n# <script>")
    assert main(["gate", "data"]) == 1
    text = page.read_text()
    assert text.startswith("# before\n### foretaste gate: refused\n")
    assert "- `` the audit failed: a\\|b `c`\\n# <script> ``\n" in text
    assert "- the audit failed: a|b `c`\\n# <script>\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["gate", "nowhere"],
        ["gate", "data", "--policy", "nowhere.toml"],
        ["gate", "data", "--attestation", "nowhere.json"],
        ["gate", "data", "--attestation", "data/a.parquet"],
        ["gate", "data", "--key", "keys/key.pem"],
        ["verify", "nowhere.json", "data"],
        ["verify", "data/a.parquet", "data"],
        ["attest", "data"],
    ],
)
def test_what_cannot_be_read_is_2(arguments, small, capsys):
    small.sign()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("foretaste: ")
    assert err.count("\n") == 1


def test_verify_tells_an_edited_report(small, capsys):
    path = small.sign(verdict="failed", reason="poison")
    assert main(["verify", path, "data"]) == 0
    report = Path(path).with_name("report.json")
    report.write_text(report.read_text().replace('"failed"', '"passed"'))
    capsys.readouterr()
    assert main(["verify", path, "data"]) == 1
    assert f"NOT  {report}: was changed since the audit was signed\n" in capsys.readouterr().out


def test_verify_asks_for_the_signature_first(small, capsys, tmp_path):
    path = small.sign()
    main(["keygen", "--out", str(tmp_path / "other")])
    capsys.readouterr()
    assert main(["verify", path, "data", "--key", str(tmp_path / "other" / "key.pub")]) == 1
    assert capsys.readouterr().out.startswith(f"NOT  {path}: was signed with another key")


def test_verify_tells_facts_that_contradict_each_other(small, capsys):
    path = annotated(small, rows=0)
    assert main(["verify", path, "data"]) == 1
    said = "NOT  the attestation contradicts itself: the audit passed, and it has looked at no row\n"
    assert said in capsys.readouterr().out


def test_a_name_that_is_not_utf8_is_one_sentence_everywhere(small, capsys):
    shutil.copy(small.data / "a.parquet", os.fsencode(small.data) + b"/c\xff.parquet")
    for command in (["audit", "data"], ["gate", "data"], ["diff", "data", "data"], ["drill", "data"]):
        assert main(command) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "a file name must be UTF-8, and it is not; rename the file" in err
