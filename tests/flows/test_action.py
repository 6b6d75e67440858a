"""The GitHub Action's own steps, run by bash as a runner runs them, and the recipes as far as they can be run here."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as Tree

import pytest
import yaml
from attested import Workshop
from places import ROOT
from typer.main import get_command

from foretaste.flows.cli import app

ACTION = yaml.safe_load((ROOT / "flows/action.yml").read_text())
STEP = ACTION["runs"]["steps"][-1]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs/recipes.md").read_text(), re.DOTALL)


def act(folder: Path, inputs: dict[str, str]) -> tuple[int, str, str, str]:
    """Exit code, what was printed, the outputs and the summary page of the gate's step."""
    given = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()} | inputs
    env = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], value)
        for name, value in STEP["env"].items()
    }
    out, page, command = folder / "output", folder / "page.md", folder / "foretaste"
    out.touch()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m foretaste.flows.cli "$@"\n')
    command.chmod(0o755)
    env |= {"GITHUB_OUTPUT": str(out), "GITHUB_STEP_SUMMARY": str(page), "PYTHONPATH": str(ROOT)}
    env |= {"PATH": f"{folder}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    # As GitHub runs `shell: bash`.
    bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", STEP["run"]]
    done = subprocess.run(bash, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr, out.read_text(), page.read_text() if page.exists() else ""


@pytest.fixture
def inputs(workshop: Workshop) -> dict[str, str]:
    return {
        "dataset": str(workshop.data),
        "key": str(workshop.public),
        "ledger": str(workshop.folder / "audits" / "ledger.jsonl"),
    }


def test_no_input_is_part_of_a_script():
    assert all("${{" not in step["run"] for step in ACTION["runs"]["steps"])
    assert set(ACTION["inputs"]) == set(re.findall(r"inputs\.(\w+)", str(ACTION["runs"])))


def test_a_job_goes_on_with_what_passed(workshop, inputs, tmp_path):
    workshop.sign()
    code, said, out, page = act(tmp_path, inputs | {"junit": "gate.xml"})
    assert code == 0, said
    assert "allowed=true\ndataset=" in out
    assert page.startswith("### foretaste gate: allowed")
    assert Tree.parse(tmp_path / "gate.xml").getroot().get("failures") == "0"


def test_a_job_ends_where_the_gate_refuses(inputs, tmp_path):
    code, said, out, page = act(tmp_path, inputs | {"junit": "gate.xml"})
    assert code == 1, said
    assert "allowed=false" in out
    assert "there is no signed audit of these bytes" in page
    assert Tree.parse(tmp_path / "gate.xml").getroot().get("failures") == "1"


@pytest.mark.parametrize("place", ["$(touch broken)", '"; touch broken; "', "--help", "`touch broken`"])
def test_a_hostile_name_is_only_a_name(place, inputs, tmp_path):
    code, said, out, _ = act(tmp_path, inputs | {"dataset": place})
    assert code == 2, said
    assert "no such file" in said
    assert not out
    assert not (tmp_path / "broken").exists()


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "yaml"], ids=lambda text: text[:20].strip())
def test_yaml_is_yaml(text):
    assert isinstance(yaml.safe_load(text), dict)


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "python"])
def test_python_is_python(text):
    ast.parse(text)


def test_the_action_has_the_inputs_that_the_recipe_gives():
    (recipe,) = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml" and "uses:" in text)
    (step,) = (one for one in recipe["jobs"]["train"]["steps"] if "foretaste" in one.get("uses", ""))
    assert set(step["with"]) <= set(ACTION["inputs"])


def test_every_command_has_the_options_that_it_is_given():
    lines = [line for _, text in BLOCKS for line in re.findall(r"foretaste gate [^\n\">]+", text)]
    lines += [
        " ".join(re.findall(r"[^\[\], ]+", line)) for _, text in BLOCKS for line in re.findall(r"\[foretaste.*", text)
    ]
    assert len(lines) == 4
    command = get_command(app).commands["gate"]  # type: ignore[attr-defined]
    for line in lines:
        command.make_context("gate", shlex.split(line)[2:])


def test_the_hook_answers_as_the_gate_decides(workshop, tmp_path, monkeypatch):
    (text,) = (text for kind, text in BLOCKS if kind == "python" and "def judge" in text)
    monkeypatch.chdir(tmp_path)
    place = "f\"s3://{event['repository_id']}/{event['source_ref']}/train\""
    assert place in text
    text = text.replace(place, repr(str(workshop.data))).replace("/etc/foretaste/key.pub", str(workshop.public))
    hook: dict[str, object] = {}
    exec(text, hook)
    judge = hook["judge"]
    assert callable(judge)
    assert judge({})[0] == 412
    workshop.sign()
    assert judge({}) == (200, "passed")
