"""The README and the program say the same."""

import re

import pytest
from places import ROOT

from foretaste.detectors.contract import DETECTORS
from foretaste.embedders.contract import EMBEDDERS
from foretaste.pipeline.plan import parse

README = (ROOT / "README.md").read_text(encoding="utf-8")
DETECTORS.scan()
EMBEDDERS.scan()


def table(heading):
    section = README.split(f"### {heading}\n")[1].split("\n#")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.M))


def test_every_detector_has_the_first_line_of_its_docstring():
    assert table("Detectors") == {name: one.__doc__.strip().splitlines()[0] for name, one in DETECTORS.items()}


def test_every_embedder_is_listed():
    assert set(table("Embedders")) == set(EMBEDDERS)


def test_the_plans_are_plans():
    import tomllib

    own, whole = (parse(tomllib.loads(text)) for text in re.findall(r"```toml\n(.+?)```", README, re.S))
    assert own.embedders["mine"][0] == "checkpoint"
    assert whole.decide.content == "grey64"


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^foretaste (\w+)", README, re.M))))
def test_every_command_is_one(command):
    from foretaste.flows.cli import main

    assert main([command, "--help"]) == 0


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m (benchmarks[\w.]+)", README))))
def test_every_benchmark_is_there(module):
    assert (ROOT / f"{module.replace('.', '/')}.py").exists()


def test_every_path_is_there():
    named = set(re.findall(r"(?:data|auditors|benchmarks|\.ci)/[\w./]+", README))
    assert {name for name in named if not (ROOT / name).exists() and "train" not in name} == set()
