"""The map to the frameworks: every id has its edition, and an audit speaks to what it found and did."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from places import DATA
from stored import store

import foretaste
from foretaste.flows.cli import main
from foretaste.report.governance import FACTS, entries, facts, mapped
from foretaste.types.findings import Kind


def document(**changes: object) -> dict[str, object]:
    runs = [{"status": "completed"}]
    return {"runs": runs, "dataset": {"digest": "dirHash1:00"}, "notes": [], "groups": [], "counts": {}} | changes


def test_every_entry_is_one_id_in_one_edition() -> None:
    assert all(one.id and one.name and one.framework.edition and one.framework.date for one in entries())
    ids = [(one.framework.title, one.framework.edition, one.id) for one in entries()]
    assert len(set(ids)) == len(ids)
    table = tomllib.loads((Path(foretaste.__file__).parent / "report" / "governance.toml").read_text(encoding="utf-8"))
    assert {one["framework"] for one in table["entries"]} == set(table["frameworks"])


def test_every_kind_and_fact_has_a_place() -> None:
    assert {name for one in entries() for name in one.covers} == {*map(str, Kind), *FACTS}


def test_ids_that_later_editions_renamed_are_not_mapped() -> None:
    assert not {"AML.T0019", "AML.T0058", "AML.T0104"} & {one.id for one in entries()}


def test_a_finding_speaks_to_attacks_and_a_clean_audit_does_not() -> None:
    clean = mapped(document())
    assert {line["because"] for line in clean} == {"fact"}
    assert "AML.T0020" not in {line["id"] for line in clean}
    found = mapped(document(counts={"backdoor": 36}))
    (line,) = [one for one in found if one["id"] == "AML.T0020"]
    assert (line["of"], line["rows"], line["edition"]) == ("backdoor", 36, "5.6.0")
    assert {"Art. 15(5)", "LLM04:2025", "1.3.1"} <= {one["id"] for one in found if one["because"] == "finding"}


def test_an_audit_in_which_nothing_completed_detected_nothing() -> None:
    broken = document(runs=[{"status": "failed"}, {"status": "not applicable"}])
    assert facts(broken, attested=False) == {"provenance", "limits"}
    assert "AML.M0007" not in {line["id"] for line in mapped(broken)}


def test_only_a_signed_audit_is_called_attested() -> None:
    assert "AML.M0014" not in {line["id"] for line in mapped(document())}
    assert "AML.M0014" in {line["id"] for line in mapped(document(), attested=True)}


def test_ids_from_secondary_sources_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = DATA / "digits.parquet"
    audit = str(store([str(data)], tmp_path / "audit", {3: "backdoor"}))
    assert main(["show", audit, "--governance"]) == 0
    out = capsys.readouterr().out
    assert "AML.M0007" in out
    assert "LLM05:2026 *" in out
    assert "* from a secondary source" in out
    (tmp_path / "audit/attestation.json").write_text("{}")
    assert main(["show", audit, "--governance", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {line["id"]: line["verified"] for line in found["entries"]}["LLM05:2026"] is False
    assert "attested" in {line["of"] for line in found["entries"]}
    assert main(["show", audit, "--governance", "--csv"]) == 2
