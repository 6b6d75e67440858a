"""The card, read as a Markdown reader does: what is said is text, and nothing of it acts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import EVIL
from markdown_it import MarkdownIt

from foretaste.flows.cli import main
from foretaste.gate.policy import Policy
from foretaste.report.document import document, text
from foretaste.report.formats.model_card import FILES, card
from foretaste.types.findings import Report

PLAN = "sha256:" + "12" * 32
NASTY = (
    "| a | b |\n\n# heading\n- item",
    "`code` **bold** _it_ ~~no~~ $x$",
    "[link](http://evil.example) ![x](http://evil.example/x.png) <http://evil.example> www.evil.example",
    "</td></table><script>alert(1)</script> &lt; &#64;",
    "```\nfence",
    EVIL,
)


def read(source: str) -> list[tuple[str, str]]:
    """(type, content) of everything a reader makes of the Markdown, tables included."""
    out = []
    for block in MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(source):
        out.append((block.type, block.content if block.type != "inline" else ""))
        out += [(one.type, one.content) for one in block.children or ()]
    return out


def plain(report: Report) -> list[tuple[str, str]]:
    return read(card(document(report), plan=PLAN))


def test_a_card_says_what_was_tested_how_and_what_was_found(report: Report) -> None:
    said = card(document(report), plan=PLAN)
    for words in (
        "**Failed.**",
        "dirHash1:" + "cd" * 32,
        "sha256:" + "ab" * 32,
        PLAN,
        "foretaste 0.1.0",
        "| backdoor | cat | 30 |",
        "tokens on text: not applicable, the rows are pictures",
        "nothing was planted",
    ):
        assert words in said
    headings = [line for line in said.splitlines() if line.startswith("#")]
    assert len(headings) == 6


def test_the_error_rate_is_the_plans(report: Report) -> None:
    decide = {"fdr": 0.02, "watch": 0.1, "posterior": 0.5}
    said = card(document(replace(report, plan={"decide": decide})), plan=PLAN)
    assert "false discovery rate of 2 %" in said


@pytest.mark.parametrize("name", NASTY)
def test_hostile_names_are_text(report: Report, name: str) -> None:
    innocent = [kind for kind, _ in plain(dressed(report, "cat"))]
    found = plain(dressed(report, name))
    texts = ("text", "text_special", "code_inline")
    assert [kind for kind, _ in found if kind not in texts] == [kind for kind in innocent if kind not in texts]
    # Some readers make links of bare addresses.
    assert not re.search(r"https?://|www\.\w", card(document(dressed(report, name)), plan=PLAN))
    assert not [kind for kind, _ in found if kind in ("html_inline", "html_block", "link_open", "image", "fence")]


def dressed(report: Report, name: str) -> Report:
    """The report with `name` wherever a dataset can put a name."""
    data, (file,) = report.dataset, report.dataset.files
    (group,) = report.groups
    return replace(
        report,
        reason=name,
        notes=(name,),
        dataset=replace(
            data,
            files=(replace(file, name=name),),
            classes=(name,),
            roles=replace(data.roles, payload=(name,), label=name),
        ),
        groups=(replace(group, label=name, reason=name),),
        runs=tuple(replace(run, reason=name) for run in report.runs),
    )


def test_a_card_stays_short(report: Report) -> None:
    (file,) = report.dataset.files
    many = tuple(replace(file, name=f"{one:04d}.parquet") for one in range(1000))
    long = replace(dressed(report, "x" * 100_000), dataset=replace(report.dataset, files=many))
    said = card(document(long), plan=PLAN)
    assert len(said) < 10_000
    assert f"and {1000 - FILES} more files" in said


def test_the_plan_is_named_as_an_attestation_names_it(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from datetime import UTC, datetime

    from foretaste.gate.attestation.statement import statement

    looks = {run.detector: {"kind": "spectral-signature", "on": [run.embedder]} for run in report.runs}
    embedders = {run.embedder: {"kind": "pixels"} for run in report.runs}
    plan = {
        "embedders": embedders,
        "detectors": looks,
        "decide": {"fdr": 0.01, "watch": 0.1, "posterior": 0.5},
        "seed": 0,
    }
    found = document(replace(report, plan=plan))
    (tmp_path / "report.json").write_text(text(found), encoding="utf-8")
    assert main(["show", str(tmp_path), "--card"]) == 0
    now = datetime.now(UTC)
    body = statement(json.loads(text(found)), policy=Policy(), started=now, ended=now)
    (named,) = [one for one in body["predicate"]["configuration"] if one["name"] == "plan"]
    assert re.findall(r"Plan: `(\S+)`", capsys.readouterr().out) == [f"sha256:{named['digest']['sha256']}"]
